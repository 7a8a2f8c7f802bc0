"""The mixed-integer program against brute force on small random problems."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest

from hwopt.choice import KEEP
from hwopt.estimate import Estimate, Source
from hwopt.scope import NOTHING, Price, Problem, Scope
from hwopt.search import Budget, Objective
from hwopt.search.milp import frontier, search, solve
from hwopt.search.problem import Task, never, objective_value
from hwopt.search.tables import Figures, Tables, figures_of, front, score
from tests.search.random_problems import choice, every_plan, random_budget, random_price, random_problem

SAME = 2e-6  # relative: twice the gap that the solver stops at


def everything(problem: Problem) -> tuple[list[dict[str, str]], Figures]:
    plans = [{c: n for c, n in plan.items() if n != KEEP} for plan in every_plan(problem)]
    return plans, figures_of([problem.total(plan) for plan in plans])


def value_of(problem: Problem, assignment: object, budget: Budget) -> float:
    assert isinstance(assignment, dict)
    price = problem.total(assignment)
    assert price is not None
    assert not budget.violations(price)
    return objective_value(price, budget.objective)


@pytest.mark.parametrize("seed", range(250))
def test_it_finds_what_brute_force_finds(seed: int) -> None:
    problem = random_problem(seed)
    budget = random_budget(problem, seed)
    violation, objective = score(everything(problem)[1], budget)
    outcome = solve(problem, budget)
    if violation.min() > 0:
        assert outcome.assignment is None
        return
    best = objective[violation == 0].min()
    assert value_of(problem, outcome.assignment, budget) == pytest.approx(best, rel=SAME)
    assert outcome.bound <= best * (1 + SAME)
    assert outcome.bound == pytest.approx(best, rel=SAME, abs=1e-9)
    assert outcome.gap <= SAME


@pytest.mark.parametrize("seed", range(60))
def test_where_nothing_fits_it_names_the_plan_that_breaks_the_limits_least(seed: int) -> None:
    problem = random_problem(seed)
    budget = random_budget(problem, seed)
    figures = everything(problem)[1]
    fit = figures.possible
    tight = replace(
        budget,
        latency_us=0.95 * float(figures.latency_us[fit].min()),
        peak_bytes=int(figures.peak_bytes[fit].min()),
        damage=0.0,
    )
    outcome = solve(problem, tight)
    assert outcome.assignment is None
    assert outcome.closest is not None
    assert np.isnan(outcome.bound)
    found = score(figures_of([problem.total(outcome.closest)]), tight)[0][0]
    assert found == pytest.approx(score(figures, tight)[0].min(), rel=1e-5)


@pytest.mark.parametrize("seed", range(40))
def test_cut_plans_do_not_come_back(seed: int) -> None:
    problem = random_problem(seed)
    budget = random_budget(problem, seed)
    plans, figures = everything(problem)
    violation, objective = score(figures, budget)
    cuts: list[dict[str, str]] = [{"c0": "of another problem"}]
    for _ in range(4):
        outcome = solve(problem, budget, cuts=cuts)
        left = [n for n in np.flatnonzero(violation == 0) if plans[n] not in cuts]
        if not left:
            assert outcome.assignment is None
            return
        assert outcome.assignment not in cuts
        value = value_of(problem, outcome.assignment, budget)
        assert value == pytest.approx(objective[left].min(), rel=SAME)
        assert isinstance(outcome.assignment, dict)
        cuts.append(outcome.assignment)


@pytest.mark.parametrize("objective", list(Objective))
@pytest.mark.parametrize("seed", range(6))
def test_a_limit_that_a_plan_just_meets_is_met(seed: int, objective: Objective) -> None:
    problem = random_problem(seed)
    plans, figures = everything(problem)
    rng = np.random.default_rng(seed)
    chosen = int(rng.choice(np.flatnonzero(figures.possible)))
    price = problem.total(plans[chosen])
    assert price is not None
    footprint = price.peak_bytes + price.weight_bytes
    limits = (price.latency_us.value, price.peak_bytes, price.weight_bytes, footprint, price.damage)
    budget = Budget(objective, *limits)
    violation, values = score(figures, budget)
    found = value_of(problem, solve(problem, budget).assignment, budget)
    assert found == pytest.approx(values[violation == 0].min(), rel=SAME)


def test_between_equals_the_plan_with_fewer_rewrites_wins() -> None:
    same = Price(Estimate(10.0, 0.0, Source.PREDICTED))
    table: dict[tuple[str, ...], Price] = {(n,): same for n in (KEEP, "v0", "v1")}
    problem = Problem((choice(0, 2),), (Scope("s", ("c0",), table),), same)
    assert solve(problem, Budget()).assignment == {}
    assert solve(problem, Budget(), cuts=[{}]).assignment in ({"c0": "v0"}, {"c0": "v1"})


def test_a_problem_without_choices_is_what_it_is() -> None:
    price = Price(Estimate(3.0, 0.0, Source.PREDICTED), 5, ((0, 7),))
    outcome = solve(Problem((), (), price), Budget(Objective.FOOTPRINT))
    assert (outcome.assignment, outcome.bound, outcome.gap) == ({}, 12.0, 0.0)
    assert solve(Problem((), (), price), Budget(peak_bytes=6)).assignment is None
    assert solve(Problem((choice(0, 1),), (), NOTHING), Budget()).assignment == {}


def knotted(seed: int) -> Problem:
    """Ten choices of four values, and tables over triples of them: not solved before it is searched."""
    rng = np.random.default_rng(seed)
    choices = tuple(choice(number, 3) for number in range(10))
    scopes = []
    for number in range(12):
        members = sorted(rng.choice(10, size=3, replace=False).tolist())
        keys = product((KEEP, "v0", "v1", "v2"), repeat=3)
        table: dict[tuple[str, ...], Price] = {key: random_price(rng) for key in keys}
        scopes.append(Scope(f"s{number}", tuple(f"c{i}" for i in members), table))
    return Problem(choices, tuple(scopes), NOTHING)


def test_a_search_that_is_stopped_keeps_the_best_plan_it_knows() -> None:
    problem = knotted(0)
    tables = Tables(problem)
    codes = np.random.default_rng(0).integers(0, 4, size=(100, 10))
    figures = tables.evaluate(codes)
    better = tables.decode(codes[int(np.argmin(figures.latency_us))])
    task = Task(problem, Budget(), start=[better, {"c0": "unknown"}], stopped=lambda: True)
    outcome = search(task)
    assert outcome.stopped
    assert value_of(problem, outcome.assignment, Budget()) <= figures.latency_us.min()
    whole = search(replace(task, stopped=never))
    assert not whole.stopped
    assert whole.gap <= SAME
    assert outcome.gap > whole.gap or np.isnan(outcome.gap)
    assert [figure for _, figure in whole.curve] == sorted((f for _, f in whole.curve), reverse=True)
    assert whole.curve[-1][1] == pytest.approx(value_of(problem, whole.assignment, Budget()), rel=SAME)


def test_a_start_does_not_change_what_is_best() -> None:
    for seed in range(10):
        problem = random_problem(seed)
        budget = random_budget(problem, seed)
        starts = every_plan(problem)[::5]
        plain, begun = solve(problem, budget), search(Task(problem, budget, start=starts))
        assert (plain.assignment is None) == (begun.assignment is None)
        if plain.assignment is not None:
            expected = value_of(problem, plain.assignment, budget)
            assert value_of(problem, begun.assignment, budget) == pytest.approx(expected, rel=SAME)


def test_the_same_task_has_the_same_outcome() -> None:
    problem = random_problem(11, choices=6)
    budget = random_budget(problem, 11)
    assert solve(problem, budget) == solve(problem, budget)


@pytest.mark.parametrize("seed", range(10))
def test_the_frontier_is_on_the_true_one_in_latency_and_damage(seed: int) -> None:
    problem = random_problem(seed)
    plans, figures = everything(problem)
    limits = sorted({0.0, *np.quantile(figures.damage[figures.possible], [0.1, 0.3, 0.6, 1.0]).tolist()})
    points = frontier(Task(problem, Budget()), limits)
    for limit in limits:
        within = figures.possible & (figures.damage <= limit)
        if within.any():
            fastest = min(p.price.latency_us.value for p in points if p.price.damage <= limit + 1e-9)
            assert fastest == pytest.approx(figures.latency_us[within].min(), rel=SAME)
            smallest = min(p.price.peak_bytes + p.price.weight_bytes for p in points
                           if p.price.damage <= limit + 1e-9)  # fmt: skip
            assert smallest == pytest.approx(figures.footprint_bytes[within].min(), rel=SAME)
    assert all(a.price.latency_us.value <= b.price.latency_us.value for a, b in pairwise(points))
    codes = Tables(problem).encode([dict(p.assignment) for p in points])
    assert len(front(Tables(problem).evaluate(codes))) == len(points)
    assert all(dict(p.assignment) in plans for p in points)
