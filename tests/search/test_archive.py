"""What a search remembers: the best plan, the closest, the front and the curve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

import hwopt.search.archive as archive_module
from hwopt.scope import Assignment, Price
from hwopt.search import Budget
from hwopt.search.archive import Archive
from hwopt.search.problem import Task, objective_value
from hwopt.search.tables import figures_of, front, score
from tests.search.random_problems import every_plan, random_budget, random_problem


def fed(task: Task, plans: Sequence[Assignment], cohort: int = 7) -> Archive:
    archive = Archive(task)
    codes = archive.tables.encode(plans)
    for at in range(0, len(codes), cohort):
        archive.look(codes[at : at + cohort])
    return archive


@pytest.mark.parametrize("seed", range(20))
def test_it_keeps_what_brute_force_would(seed: int) -> None:
    problem = random_problem(seed)
    budget, plans = random_budget(problem, seed), every_plan(problem)
    outcome = fed(Task(problem, budget), plans).outcome("test")
    violation, objective = score(figures_of([problem.total(plan) for plan in plans]), budget)
    fit = violation == 0
    assert (outcome.assignment is not None) == fit.any()
    assert outcome.evaluations == len(plans)
    if outcome.assignment is not None:
        price = problem.total(outcome.assignment)
        assert price is not None
        assert objective_value(price, budget.objective) == pytest.approx(objective[fit].min())
        assert outcome.curve[-1][1] == pytest.approx(objective[fit].min())
        assert [f for _, f in outcome.curve] == sorted((f for _, f in outcome.curve), reverse=True)
        return
    assert outcome.closest is not None
    closest = score(figures_of([problem.total(outcome.closest)]), budget)[0][0]
    assert closest == pytest.approx(violation.min())


def test_its_front_is_that_of_all_it_saw() -> None:
    problem = random_problem(4)
    plans = every_plan(problem)
    whole = figures_of([problem.total(plan) for plan in plans])
    points = fed(Task(problem, Budget()), plans).front()
    assert [p.price.latency_us.value for p in points] == pytest.approx(
        whole.latency_us[front(whole)].tolist()
    )


def test_the_front_is_bounded_and_keeps_its_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = random_problem(4)
    plans = every_plan(problem)
    everything = fed(Task(problem, Budget()), plans).front()
    monkeypatch.setattr(archive_module, "MOST_POINTS", 6)
    few = fed(Task(problem, Budget()), plans).front()
    assert len(few) <= 6 < len(everything)
    assert few[0].assignment == everything[0].assignment


def test_a_cut_is_never_the_best() -> None:
    problem = random_problem(4)
    plans = every_plan(problem)
    first = fed(Task(problem, Budget()), plans).outcome("test").assignment
    assert first is not None
    cuts = [first, {"c0": "of another problem"}]
    archive = fed(Task(problem, Budget(), cuts=cuts), plans)
    again = archive.outcome("test").assignment
    assert again is not None
    assert again != first
    assert all(point.assignment != first for point in archive.front())


def test_no_more_is_looked_at_than_the_task_allows() -> None:
    problem = random_problem(4)
    archive = fed(Task(problem, Budget(), evaluations=10), every_plan(problem))
    assert archive.evaluations == 10
    assert archive.ended
    assert len(archive.look(archive.starts()).figures) == 0


def test_the_tasks_own_figures_stand_in_for_the_tables_and_are_asked_for_once() -> None:
    problem = random_problem(4)
    asked: list[Assignment] = []

    def evaluate(plans: Sequence[Assignment], /) -> list[Price | None]:
        asked.extend(plans)
        return [None if plan.get("c0") else problem.total(plan) for plan in plans]

    plans = every_plan(problem)
    archive = fed(Task(problem, Budget(), evaluate=evaluate), [*plans, *plans])
    best = archive.outcome("test").assignment
    assert len(asked) == len(plans)
    assert archive.evaluations == 2 * len(plans)
    assert best is not None
    assert "c0" not in best


def test_looked_at_plans_are_ordered_by_violation_then_objective() -> None:
    problem = random_problem(2)
    budget = random_budget(problem, 7)
    archive = Archive(Task(problem, budget))
    looked = archive.look(archive.tables.encode(every_plan(problem)))
    pairs = list(zip(looked.violation[looked.order()], looked.objective[looked.order()], strict=True))
    assert pairs == sorted(pairs)
    assert np.isinf(looked.violation[looked.order()[-1]]) == (~looked.figures.possible).any()
