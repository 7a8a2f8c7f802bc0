"""Evolution: how near it comes to the best, and what its store promises."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count, product
from pathlib import Path

import numpy as np
import pytest

from hwopt.choice import KEEP
from hwopt.errors import BadInput
from hwopt.estimate import Estimate, Source
from hwopt.scope import Assignment, Price, Problem, Scope
from hwopt.search import Budget, greedy, milp
from hwopt.search.evolve import DESCENT, search
from hwopt.search.evolve_store import fingerprint
from hwopt.search.problem import Evaluate, Outcome, Task, objective_value
from tests.search.random_problems import choice, every_plan, random_budget, random_problem

EVALUATIONS = 200


def after(times: int) -> Callable[[], bool]:
    """False so many times, then true: the search asks once after every cohort."""
    asked: Iterator[int] = count()
    return lambda: next(asked) >= times


def task_of(seed: int, choices: int = 12) -> Task:
    problem = random_problem(seed, choices)
    return Task(problem, Budget(damage=2.0), seed, EVALUATIONS)


def figure(task: Task, outcome: Outcome) -> float:
    assert outcome.assignment is not None
    price = task.problem.total(outcome.assignment)
    assert price is not None
    assert not task.budget.violations(price)
    return objective_value(price, task.budget.objective)


def same(one: Outcome, two: Outcome) -> bool:
    """nan is equal to nan here."""
    return repr(one) == repr(two)


@pytest.mark.parametrize("seed", range(10))
def test_it_looks_at_all_of_a_small_space(seed: int) -> None:
    problem = random_problem(seed)
    task = Task(problem, random_budget(problem, seed), seed, 1_000)
    outcome, possible = search(task), [p for p in every_plan(problem) if problem.total(p) is not None]
    assert outcome.evaluations == len(possible)
    proven = milp.search(task)
    assert (outcome.assignment is None) == (proven.assignment is None)
    if outcome.assignment is not None:
        assert figure(task, outcome) == pytest.approx(figure(task, proven))


def chain(length: int, seed: int) -> Problem:
    """Channel widths in a row: a layer costs the product of the two at its ends, narrow ones do damage."""
    rng = np.random.default_rng(seed)
    choices = tuple(choice(i, 4) for i in range(length))
    widths = {KEEP: 1.0, "v0": 0.875, "v1": 0.75, "v2": 0.625, "v3": 0.5}
    scopes = []
    for i in range(length):
        harm = float(rng.lognormal())
        harms: dict[tuple[str, ...], Price] = {
            (n,): Price(estimate(0.0), damage=harm * (1 - w) ** 1.5) for n, w in widths.items()
        }
        scopes.append(Scope(f"d{i}", (f"c{i}",), harms))
    for i in range(length - 1):
        size = float(rng.lognormal(3.0))
        costs: dict[tuple[str, ...], Price] = {
            (a, b): Price(estimate(size * widths[a] * widths[b])) for a, b in product(widths, widths)
        }
        scopes.append(Scope(f"l{i}", (f"c{i}", f"c{i + 1}"), costs))
    return Problem(choices, tuple(scopes), Price(estimate(10.0)))


def estimate(value: float) -> Estimate:
    return Estimate(value, 0.0, Source.PREDICTED)


@pytest.mark.parametrize("limit", [0.5, 3.0])
def test_it_comes_within_a_hundredth_of_the_gain(limit: float) -> None:
    """40 coupled choices, 10^28 plans, 3,000 of them looked at."""
    problem = chain(40, 1)
    task = Task(problem, Budget(damage=limit), evaluations=3_000)
    unchanged, best = problem.total({}), figure(task, milp.search(task))
    assert unchanged is not None
    gain = unchanged.latency_us.value - figure(task, search(task))
    assert gain >= 0.99 * (unchanged.latency_us.value - best)


@pytest.mark.parametrize("seed", range(3))
def test_it_begins_with_the_work_of_greedy(seed: int) -> None:
    """After as many plans as the descent may look at, it is where `greedy` is; none of them is free."""
    task = Task(chain(30, seed), Budget(damage=2.0), seed, DESCENT)
    ours, theirs = search(task), greedy.search(task)
    assert figure(task, ours) <= figure(task, theirs) * (1 + 1e-6)
    assert ours.curve[-1][1] <= theirs.curve[-1][1]
    early = search(replace(task, evaluations=60))
    assert early.evaluations == 60
    assert early.curve == tuple(point for point in ours.curve if point[0] <= 60)


def not_a_sum(problem: Problem) -> Evaluate:
    """A launch of 30 us for every two changes: no table says so."""

    def evaluate(plans: Sequence[Assignment], /) -> list[Price | None]:
        return [priced(plan) for plan in plans]

    def priced(plan: Assignment) -> Price | None:
        price = problem.total(plan)
        if price is None:
            return None
        return replace(price, latency_us=estimate(price.latency_us.value + 30.0 * (len(plan) // 2)))

    return evaluate


def test_with_the_tables_as_a_guide_it_needs_few_questions() -> None:
    """Better than the best plan of the tables is by the figures that count, with 200 of them."""
    problem = chain(30, 2)
    task = Task(problem, Budget(damage=2.0), evaluations=200, evaluate=not_a_sum(problem))
    of_tables = milp.search(task).assignment
    outcome = search(task)
    assert task.evaluate is not None
    assert of_tables is not None
    assert outcome.assignment is not None
    ours, theirs = task.evaluate([outcome.assignment, of_tables])
    assert ours is not None
    assert theirs is not None
    assert ours.latency_us.value < theirs.latency_us.value
    assert outcome.evaluations == 200


def test_where_nothing_can_be_written_it_says_so() -> None:
    def refuse(plans: Sequence[Assignment], /) -> list[Price | None]:
        return [None for _ in plans]

    outcome = search(replace(task_of(1), evaluate=refuse, evaluations=60))
    assert outcome.evaluations == 60
    assert outcome.assignment is None
    assert outcome.closest is None


@pytest.mark.parametrize("evaluated", [False, True])
@pytest.mark.parametrize("cohorts", [1, 3])
def test_stopped_and_resumed_it_finds_what_it_would_have(
    tmp_path: Path, evaluated: bool, cohorts: int
) -> None:
    task = task_of(1)
    if evaluated:
        task = replace(task, evaluate=not_a_sum(task.problem), evaluations=150)
    whole = search(task)
    stored = replace(task, store=tmp_path / "store")
    part = search(replace(stored, stopped=after(cohorts - 1)))
    assert part.stopped
    assert 0 < part.evaluations < whole.evaluations
    assert same(search(stored), whole)
    assert same(search(stored), whole), "a search that was through is read, not searched again"


def test_what_was_asked_is_not_asked_again(tmp_path: Path) -> None:
    task = replace(task_of(2), evaluations=60, store=tmp_path / "store")
    asked: list[Assignment] = []

    def evaluate(plans: Sequence[Assignment], /) -> list[Price | None]:
        asked.extend(plans)
        return [task.problem.total(plan) for plan in plans]

    first = search(replace(task, evaluate=evaluate))
    assert len(asked) == 60
    again = search(replace(task, evaluate=evaluate))
    assert len(asked) == 60
    assert same(first, again)
    more = search(replace(task, evaluate=evaluate, evaluations=90))
    assert len(asked) == more.evaluations == 90
    assert more.curve[: len(first.curve)] == first.curve


def test_given_more_evaluations_it_goes_on(tmp_path: Path) -> None:
    task = task_of(3)
    search(replace(task, evaluations=123, store=tmp_path / "store"))
    assert same(search(replace(task, store=tmp_path / "store")), search(task))


def test_killed_in_the_middle_of_a_cohort_it_goes_on(tmp_path: Path) -> None:
    """The third question for prices never comes back; what was answered before is kept."""
    task = replace(task_of(4), evaluations=120)
    evaluate, calls = not_a_sum(task.problem), count()

    def dying(plans: Sequence[Assignment], /) -> Sequence[Price | None]:
        if next(calls) == 6:
            raise KeyboardInterrupt
        return evaluate(plans)

    store = tmp_path / "store"
    with pytest.raises(KeyboardInterrupt):
        search(replace(task, evaluate=dying, store=store))
    resumed = search(replace(task, evaluate=evaluate, store=store))
    assert same(resumed, search(replace(task, evaluate=evaluate)))


def test_killed_while_it_wrote_it_goes_on(tmp_path: Path) -> None:
    """The file ends anywhere: in a line, in a cohort."""
    task, store = task_of(5), tmp_path / "store"
    whole = search(replace(task, store=store))
    data = store.read_bytes()
    for size in (1, 40, len(data) // 3, len(data) // 2 + 11, len(data) - 1):
        store.write_bytes(data[:size])
        assert same(search(replace(task, store=store)), whole)


def test_another_task_has_its_own_place_in_the_store(tmp_path: Path) -> None:
    store = tmp_path / "store"
    tasks = [task_of(6), replace(task_of(6), seed=7), replace(task_of(6), budget=Budget()), task_of(8)]
    assert len({fingerprint(task) for task in tasks}) == len(tasks)
    alone = [search(task) for task in tasks]
    search(replace(tasks[0], store=store, stopped=after(1)))
    for task, expected in zip([*tasks, *tasks], [*alone, *alone], strict=True):
        assert same(search(replace(task, store=store)), expected)


@pytest.mark.parametrize(
    "content",
    [
        b"hello",
        b"hello\n",
        b"{}\n",
        b"\x08\x07\x12\x04onnx\n\x00",
        b'{"op_code":0}\n',
        b'{"op_code":99}\n\xff\n',
    ],
)
def test_a_foreign_file_is_refused_in_one_line_and_left_alone(tmp_path: Path, content: bytes) -> None:
    store = tmp_path / "mine"
    store.write_bytes(content)
    with pytest.raises(BadInput, match="mine: not a store") as caught:
        search(replace(task_of(1), store=store))
    assert "\n" not in str(caught.value)
    assert store.read_bytes() == content


def test_a_damaged_store_is_refused_in_one_line(tmp_path: Path) -> None:
    task = replace(task_of(1), store=tmp_path / "store")
    assert task.store is not None
    search(task)
    lines = task.store.read_bytes().splitlines(keepends=True)
    plan = next(number for number, line in enumerate(lines) if b'"plan"' in line)
    for broken in (
        b"\x00\xff\n",
        lines[plan].replace(b'"plan":"[', b'"plan":"[9'),
        lines[plan].replace(b"plan", b"plam"),
    ):
        task.store.write_bytes(b"".join([*lines[:plan], broken, *lines[plan + 1 :]]))
        with pytest.raises(BadInput, match="not a store of a search, or damaged") as caught:
            search(task)
        assert "\n" not in str(caught.value)


def test_a_store_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    for store in (tmp_path, tmp_path / "none" / "store"):
        with pytest.raises(BadInput, match="name a file that can be written"):
            search(replace(task_of(1), store=store))


def test_it_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    search(replace(task_of(1), store=tmp_path / "store"))
    assert capfd.readouterr() == ("", "")


def _shared(store: Path, asked: Path, other: Path) -> str:
    """One process of two: what it found, and in `asked` a line for each plan that it was asked for."""
    task = replace(task_of(9), evaluations=150, store=store)
    evaluate = not_a_sum(task.problem)

    def slow(plans: Sequence[Assignment], /) -> Sequence[Price | None]:
        with asked.open("a") as file:
            file.writelines(json.dumps(dict(plan), sort_keys=True) + "\n" for plan in plans)
        while not other.exists():  # until the other has its share, too
            time.sleep(0.02)
        time.sleep(0.002 * len(plans))
        return evaluate(plans)

    return repr(search(replace(task, evaluate=slow)))


def test_two_processes_share_a_store(tmp_path: Path) -> None:
    """Both find what one alone finds; together they ask for fewer plans than two that do not share."""
    alone = _shared(tmp_path / "alone", tmp_path / "asked", tmp_path / "asked")
    one, two = tmp_path / "one", tmp_path / "two"
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        both = [(tmp_path / "store", one, two), (tmp_path / "store", two, one)]
        found = pool.starmap_async(_shared, both, chunksize=1).get(timeout=60)
    assert found == [alone, alone]
    parts = [path.read_text().splitlines() for path in (one, two)]
    assert {line for part in parts for line in part} == set((tmp_path / "asked").read_text().splitlines())
    assert 150 <= len(parts[0]) + len(parts[1]) < 300
    assert min(len(part) for part in parts) > 15
