"""Pins and wishes hold for every strategy; truth is brute force over all plans."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hwopt.choice import KEEP
from hwopt.scope import Price, Problem, Scope
from hwopt.search.obeying import obeying, only
from hwopt.search.possible import possible, supported
from hwopt.search.problem import Budget, Objective, Outcome, Task, objective_value
from hwopt.search.strategies import NAMES, strategy
from tests.search.random_problems import every_plan, random_problem

SEEDS = range(12)


def pinned(problem: Problem, pins: dict[str, str]) -> Problem | None:
    """As hints do it: entries that break a pin leave the tables."""
    return only(problem, pins)


def best_by_brute_force(problem: Problem, objective: Objective, pins: dict[str, str]) -> float:
    figures = [
        objective_value(price, objective)
        for plan in every_plan(problem)
        if all(plan[choice] == name for choice, name in pins.items())
        if (price := problem.total(plan)) is not None
    ]
    return min(figures, default=float("inf"))


def two_pins(problem: Problem) -> dict[str, str]:
    return {choice.id: choice.values[-1].name for choice in problem.choices[:2]}


@pytest.mark.parametrize("seed", SEEDS)
def test_the_best_pinned_plan_is_found(seed: int) -> None:
    problem = random_problem(seed)
    pins = two_pins(problem)
    left = pinned(problem, pins)
    truth = best_by_brute_force(problem, Objective.LATENCY, pins)
    assert (left is None) == (truth == float("inf"))
    if left is None:
        return
    found = strategy("milp")(Task(left, Budget(Objective.LATENCY)))
    assert found.assignment is not None
    assert pins.items() <= found.assignment.items()
    price = problem.total(found.assignment)
    assert price is not None
    assert price.latency_us.value == pytest.approx(truth)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", [0, 3])
def test_every_strategy_keeps_to_pins_and_finds_a_plan(name: str, seed: int) -> None:
    problem = random_problem(seed)
    pins = {problem.choices[0].id: problem.choices[0].values[-1].name}
    left = pinned(problem, pins)
    assert left is not None, "choose another seed: this test needs a pin that is possible"
    found = strategy(name)(Task(left, Budget(Objective.LATENCY), evaluations=300))
    assert found.assignment is not None
    assert pins.items() <= found.assignment.items()
    assert problem.total(found.assignment) is not None
    for point in found.front:
        assert pins.items() <= point.assignment.items()
        assert problem.total(point.assignment) == point.price


def test_a_budget_that_pins_break_has_a_closest_plan_that_obeys() -> None:
    problem = random_problem(0)
    pins = {problem.choices[0].id: problem.choices[0].values[-1].name}
    left = pinned(problem, pins)
    assert left is not None
    found = strategy("random")(Task(left, Budget(latency_us=1.0), evaluations=50))
    assert found.assignment is None
    assert found.closest is not None
    assert pins.items() <= found.closest.items()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_possible_plan_is_found_where_brute_force_finds_one(seed: int) -> None:
    """Some entries of every table are taken away, the unchanged model's among them."""
    problem = random_problem(seed)
    scopes = tuple(
        replace(s, table={k: p for n, (k, p) in enumerate(s.table.items()) if n % 3 != seed % 3})
        for s in problem.scopes
    )
    thin = replace(problem, scopes=scopes)
    truth = [plan for plan in every_plan(thin) if thin.total(plan) is not None]
    found = possible(thin)
    assert (found is not None) == bool(truth)
    if found is not None:
        assert thin.total(found) is not None
    for choice, names in supported(thin).items():
        assert {plan[choice] for plan in truth} <= set(names)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_wish_is_granted_exactly_where_it_costs_no_more_than_allowed(seed: int) -> None:
    problem = random_problem(seed)
    choice = problem.choices[1]
    wish = (choice.id, choice.values[0].name)
    free = best_by_brute_force(problem, Objective.LATENCY, {})
    granted = best_by_brute_force(problem, Objective.LATENCY, dict([wish]))
    for within in (0.0, 0.1, 0.5, 10.0):
        asked = replace(problem, wishes=(wish,), within=within)
        found = strategy("milp")(Task(asked, Budget(Objective.LATENCY)))
        assert found.assignment is not None
        price = problem.total(found.assignment)
        assert price is not None
        if granted <= free * (1 + within):
            assert found.assignment[wish[0]] == wish[1]
            assert price.latency_us.value == pytest.approx(granted)
            assert found.bound == pytest.approx(free, rel=1e-4)  # no plan can be better, wishes or not
        else:
            assert price.latency_us.value == pytest.approx(free)


def test_wishes_never_make_a_budget_impossible_to_meet() -> None:
    problem = random_problem(4)
    base = problem.total({})
    assert base is not None
    budget = Budget(latency_us=base.latency_us.value)
    wishes = tuple((c.id, v.name) for c in problem.choices for v in c.values)
    found = strategy("milp")(Task(replace(problem, wishes=wishes, within=1.0), budget))
    assert found.assignment is not None
    price = problem.total(found.assignment)
    assert price is not None
    assert not budget.violations(price)


def test_an_ordinary_problem_is_handed_on_as_it_is() -> None:
    seen: list[Task] = []

    def search(task: Task, /) -> Outcome:
        seen.append(task)
        return Outcome({}, "test", 1)

    task = Task(random_problem(0), Budget())
    obeying(search)(task)
    assert seen == [task]


def test_a_strategy_is_shown_a_problem_that_may_keep_everything() -> None:
    """With a pin, *keep* stands for the pinned value; cuts, starts and answers are told in true names."""
    problem = random_problem(0)
    pin = (problem.choices[0].id, problem.choices[0].values[-1].name)
    left = pinned(problem, dict([pin]))
    assert left is not None
    asked: list[Task] = []

    def search(task: Task, /) -> Outcome:
        asked.append(task)
        return Outcome({}, "test", 1)

    cut = {**left.start, problem.choices[1].id: problem.choices[1].values[0].name}
    found = obeying(search)(Task(left, Budget(), cuts=[cut]))
    shown = asked[0].problem
    assert shown.total({}) == left.total(left.start)
    assert pin[1] not in [v.name for v in shown.choices[0].values]
    assert dict(asked[0].cuts[0]) == {c: n for c, n in cut.items() if c not in left.start}
    assert found.assignment == dict(left.start)


def test_only_leaves_the_other_choices_alone() -> None:
    table: dict[tuple[str, ...], Price] = {
        (KEEP, KEEP): random_problem(0).fixed,
        ("v0", KEEP): random_problem(1).fixed,
    }
    problem = replace(random_problem(0), scopes=(Scope("s", ("c0", "c1"), table),))
    left = only(problem, {"c0": "v0"})
    assert left is not None
    assert list(left.scopes[0].table) == [("v0", KEEP)]
    assert only(problem, {"c1": "v0"}) is None
