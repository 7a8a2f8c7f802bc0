"""Random plans: what is drawn covers everything, in every density."""

from __future__ import annotations

import numpy as np

from hwopt.scope import Problem
from hwopt.search import Budget
from hwopt.search.problem import Task
from hwopt.search.random_plans import draw, search
from tests.search.random_problems import every_plan, random_price, random_problem


def test_every_value_of_every_choice_is_drawn() -> None:
    sizes = np.array([1, 2, 5, 9])
    plans = draw(np.random.default_rng(0), sizes, 2_000)
    assert [sorted(set(column.tolist())) for column in plans.T] == [list(range(size)) for size in sizes]


def test_plans_have_all_densities() -> None:
    """On a logarithmic scale: as many plans with 1 to 8 changes as with 8 to 64."""
    plans = draw(np.random.default_rng(0), np.full(64, 3), 20_000)
    few = (plans > 0).sum(1) <= 8
    assert 0.45 < few.mean() < 0.58
    assert (plans > 0).sum(1).max() == 64


def test_a_small_problem_is_covered() -> None:
    problem = random_problem(5)
    prices = [problem.total(plan) for plan in every_plan(problem)]
    outcome = search(Task(problem, Budget(), evaluations=5_000))
    assert outcome.assignment is not None
    found = problem.total(outcome.assignment)
    assert found is not None
    assert found.latency_us.value <= min(p.latency_us.value for p in prices if p is not None) * (1 + 1e-6)


def test_more_evaluations_only_add() -> None:
    problem = random_problem(7, choices=8)
    few, many = (search(Task(problem, Budget(), seed=3, evaluations=n)) for n in (200, 1_000))
    assert many.curve[: len(few.curve)] == few.curve
    assert (few.evaluations, many.evaluations) == (200, 1_000)


def test_a_problem_without_choices_is_looked_at() -> None:
    problem = Problem((), (), random_price(np.random.default_rng(0)))
    assert search(Task(problem, Budget(), evaluations=10)).assignment == {}
