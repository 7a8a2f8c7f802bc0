"""Plans evaluated thousands at a time: the same figures as Problem.total, one plan at a time."""

from __future__ import annotations

import numpy as np
import pytest

import hwopt.search.tables as tables_module
from hwopt.choice import KEEP
from hwopt.estimate import Estimate, Source
from hwopt.scope import NOTHING, Price, Problem, Scope
from hwopt.search import Budget
from hwopt.search.arrays import arrays, steps_that_matter
from hwopt.search.problem import objective_value
from hwopt.search.tables import Tables, figures_of, front, score
from tests.search.random_problems import choice, every_plan, random_budget, random_price, random_problem


@pytest.mark.parametrize("seed", range(40))
def test_figures_equal_the_problems_own_totals(seed: int) -> None:
    problem = random_problem(seed)
    tables, plans = Tables(problem), every_plan(problem)
    figures = tables.evaluate(tables.encode(plans))
    for number, plan in enumerate(plans):
        price = problem.total(plan)
        assert figures.possible[number] == (price is not None)
        if price is not None:
            assert figures.latency_us[number] == pytest.approx(price.latency_us.value, rel=1e-12)
            assert figures.damage[number] == pytest.approx(price.damage, abs=1e-12)
            assert figures.peak_bytes[number] == price.peak_bytes
            assert figures.weight_bytes[number] == price.weight_bytes
            assert figures.macs[number] == price.macs


def test_scopes_with_too_many_joint_values_for_an_array_are_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables_module, "DENSE", 1)
    for seed in range(10):
        problem = random_problem(seed)
        tables, plans = Tables(problem), every_plan(problem)
        figures = tables.evaluate(tables.encode(plans))
        totals = figures_of([problem.total(plan) for plan in plans])
        assert (figures.possible == totals.possible).all()
        fit = figures.possible
        assert (figures.peak_bytes[fit] == totals.peak_bytes[fit]).all()
        assert np.allclose(figures.latency_us[fit], totals.latency_us[fit])


@pytest.mark.parametrize("seed", range(20))
def test_the_score_says_what_the_budget_says(seed: int) -> None:
    problem = random_problem(seed)
    budget = random_budget(problem, seed)
    tables, plans = Tables(problem), every_plan(problem)
    violation, objective = score(tables.evaluate(tables.encode(plans)), budget)
    for number, plan in enumerate(plans):
        price = problem.total(plan)
        if price is None:
            assert violation[number] == objective[number] == np.inf
        else:
            assert (violation[number] > 0) == bool(budget.violations(price))
            assert objective[number] == pytest.approx(objective_value(price, budget.objective))


def test_the_violation_adds_relative_excesses_up() -> None:
    price = Price(Estimate(30.0, 0.0, Source.PREDICTED), weight_bytes=10, live=((0, 8),), damage=0.25)
    budget = Budget(latency_us=20.0, weight_bytes=8, peak_bytes=100, damage=0.0)
    violation, _ = score(figures_of([price, None]), budget)
    assert violation.tolist() == [pytest.approx(0.5 + 0.25 + 0.25), np.inf]


@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_what_nothing_beats(seed: int) -> None:
    problem = random_problem(seed)
    tables = Tables(problem)
    figures = tables.evaluate(tables.encode(every_plan(problem)))
    points = np.column_stack((figures.latency_us, figures.damage, figures.footprint_bytes))
    expected = [
        i
        for i in range(len(points))
        if figures.possible[i]
        and not any(
            (points[j] <= points[i]).all() and ((points[j] < points[i]).any() or j < i)
            for j in np.flatnonzero(figures.possible)
        )
    ]
    found = front(figures).tolist()
    assert sorted(found) == expected
    assert found == sorted(found, key=lambda i: float(figures.latency_us[i]))


def test_codes_lead_back_to_their_assignments() -> None:
    problem = random_problem(5)
    tables = Tables(problem)
    for plan in every_plan(problem):
        kept = {c: name for c, name in plan.items() if name != KEEP}
        assert tables.decode(tables.encode([plan])[0]) == kept
    assert not tables.knows({"c0": "no such value"})
    assert not tables.knows({"no such choice": "v0"})
    with pytest.raises(KeyError):
        tables.encode([{"c0": "no such value"}])


def test_steps_that_never_hold_the_peak_are_left_out() -> None:
    low, high, twin = ((0, 5), (1, 50)), ((0, 60), (1, 100)), ((2, 100), (3, 100))
    held: dict[tuple[str, ...], tuple[tuple[int, int], ...]] = {
        (KEEP,): (*low, *twin),
        ("v0",): (*high, *twin),
    }
    table = {key: Price(NOTHING.latency_us, live=live) for key, live in held.items()}
    problem = Problem((choice(0, 1),), (Scope("s", ("c0",), table),), NOTHING)
    whole = arrays(problem)
    assert [whole.steps[number] for number in steps_that_matter(whole)] == [2]


def test_a_problem_without_choices_has_one_plan() -> None:
    price = random_price(np.random.default_rng(1))
    tables = Tables(Problem((), (), price))
    figures = tables.evaluate(tables.encode([{}]))
    assert figures.peak_bytes.tolist() == [price.peak_bytes]
    assert len(tables.evaluate(tables.encode([]))) == 0
