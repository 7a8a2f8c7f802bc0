"""The greedy walk: optimal where it must be, bounded where theory bounds it, near brute force elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import linprog

from hwopt.choice import KEEP
from hwopt.estimate import Estimate, Source
from hwopt.scope import Assignment, Price, Problem, Scope
from hwopt.search import Budget, Objective
from hwopt.search.greedy import search
from hwopt.search.problem import Task
from hwopt.search.tables import figures_of, score
from tests.search.random_problems import choice, every_plan, random_budget, random_problem


def price(latency: float, damage: float = 0.0, live: tuple[tuple[int, int], ...] = ()) -> Price:
    return Price(Estimate(latency, 0.0, Source.PREDICTED), 0, live, 0, damage)


def separable(seed: int, choices: int = 12, values: int = 4) -> Problem:
    """One table per choice: nothing depends on anything else."""
    rng = np.random.default_rng(seed)
    made = tuple(choice(number, values) for number in range(choices))
    scopes = []
    for one in made:
        table: dict[tuple[str, ...], Price] = {(KEEP,): price(20.0)}
        for value in one.values:
            table[value.name,] = price(float(rng.uniform(0, 25)), float(rng.uniform(0.0, 1.0)))
        scopes.append(Scope(one.id, (one.id,), table))
    return Problem(made, tuple(scopes), price(5.0))


def latency(problem: Problem, assignment: Assignment | None) -> float:
    assert assignment is not None
    found = problem.total(assignment)
    assert found is not None
    return found.latency_us.value


@pytest.mark.parametrize("seed", range(5))
def test_without_limits_what_is_separable_is_solved(seed: int) -> None:
    problem = separable(seed)
    best = 5.0 + sum(min(p.latency_us.value for p in scope.table.values()) for scope in problem.scopes)
    assert latency(problem, search(Task(problem, Budget())).assignment) == pytest.approx(best)


def relaxed(problem: Problem, limit: float) -> float:
    """The linear relaxation of the multiple-choice knapsack: no plan is faster."""
    rows = [[(p.latency_us.value, p.damage) for p in scope.table.values()] for scope in problem.scopes]
    costs = [cost for row in rows for cost, _ in row]
    harms = [harm for row in rows for _, harm in row]
    ones = np.zeros((len(rows), len(costs)))
    starts = np.cumsum([0, *(len(row) for row in rows)])
    for number, (first, last) in enumerate(pairwise(starts)):
        ones[number, first:last] = 1.0
    solved = linprog(costs, A_ub=[harms], b_ub=[limit], A_eq=ones, b_eq=np.ones(len(rows)))
    assert solved.fun is not None
    return float(solved.fun) + 5.0


@pytest.mark.parametrize("seed", range(10))
def test_under_one_limit_it_is_less_than_one_value_from_the_relaxation(seed: int) -> None:
    """Sinha and Zoltners, 1979: the walk along the hulls leaves at most one fractional value."""
    problem, limit = separable(seed), 1.5
    outcome = search(Task(problem, Budget(damage=limit)))
    bound, found = relaxed(problem, limit), latency(problem, outcome.assignment)
    largest = max(20.0 - min(p.latency_us.value for p in s.table.values()) for s in problem.scopes)
    assert bound - 1e-6 <= found <= bound + largest
    start = latency(problem, {})
    assert (start - found) / (start - bound) > 0.92


def test_it_is_close_to_brute_force_on_problems_of_every_kind() -> None:
    """Scopes that overlap, joint values that are impossible, limits of all kinds at once."""
    same, worse, missed = 0, 0, 0
    for seed in range(80):
        problem = random_problem(seed)
        budget = random_budget(problem, seed)
        figures = figures_of([problem.total(plan) for plan in every_plan(problem)])
        violation, objective = score(figures, budget)
        outcome = search(Task(problem, budget))
        if violation.min() > 0:
            assert outcome.assignment is None
        elif outcome.assignment is None:
            missed += 1
        else:
            found = score(figures_of([problem.total(outcome.assignment)]), budget)
            assert found[0][0] == 0
            best = bool(found[1][0] <= objective[violation == 0].min() * (1 + 1e-6) + 1e-12)
            same, worse = same + best, worse + (not best)
    assert same > 40
    assert worse <= 6
    assert missed <= 2


def shared_peak(steps: int) -> Problem:
    """Each choice lightens one step of the schedule, and all steps hold the peak together."""
    made = tuple(choice(number, 1) for number in range(steps))
    scopes = tuple(
        Scope(c.id, (c.id,), {(KEEP,): price(10.0, 0.0, ((n, 100),)), ("v0",): price(11.0, 0.0, ((n, 60),))})
        for n, c in enumerate(made)
    )
    return Problem(made, scopes, price(0.0))


@pytest.mark.parametrize(
    "budget", [Budget(peak_bytes=70), Budget(Objective.MEMORY), Budget(Objective.FOOTPRINT, peak_bytes=99)]
)
def test_a_peak_that_several_steps_share_shrinks(budget: Budget) -> None:
    """No single change lowers the peak; only all of them together do."""
    problem = shared_peak(4)
    outcome = search(Task(problem, budget))
    assert outcome.assignment == {f"c{n}": "v0" for n in range(4)}


def test_limits_that_the_unchanged_model_breaks_are_mended_at_the_least_loss() -> None:
    made = (choice(0, 1), choice(1, 1), choice(2, 1))
    offers = ((5.0, 0.9), (6.0, 0.2), (6.0, 0.3))  # what is left of 10 us, and the damage
    scopes = tuple(
        Scope(c.id, (c.id,), {(KEEP,): price(10.0), ("v0",): price(*offer)})
        for c, offer in zip(made, offers, strict=True)
    )
    problem = Problem(made, scopes, price(0.0))
    outcome = search(Task(problem, Budget(Objective.DAMAGE, latency_us=22.5)))
    assert outcome.assignment == {"c1": "v0", "c2": "v0"}


def test_a_change_beyond_the_limit_is_made_room_for() -> None:
    """The steepest first steps use up the room that one large change needs."""
    made = tuple(choice(number, 1) for number in range(4))
    offers = ((7.0, 0.3), (7.0, 0.3), (7.0, 0.3), (0.5, 1.0))
    scopes = tuple(
        Scope(c.id, (c.id,), {(KEEP,): price(10.0), ("v0",): price(*offer)})
        for c, offer in zip(made, offers, strict=True)
    )
    outcome = search(Task(Problem(made, scopes, price(0.0)), Budget(damage=1.0)))
    assert outcome.assignment == {"c3": "v0"}


class Oracle:
    """Says of one choice the opposite of the tables, and counts what it is asked."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.asked = 0

    def __call__(self, plans: Sequence[Assignment], /) -> list[Price | None]:
        self.asked += len(plans)
        return [self._price(plan) for plan in plans]

    def _price(self, plan: Assignment) -> Price | None:
        found = self.problem.total(plan)
        penalty = 50.0 if "c0" in plan else 0.0
        return None if found is None else price(found.latency_us.value + penalty, found.damage, found.live)


def test_an_oracle_corrects_what_the_tables_say() -> None:
    problem = separable(3)
    oracle = Oracle(problem)
    outcome = search(Task(problem, Budget(), evaluations=60, evaluate=oracle))
    assert outcome.assignment is not None
    assert "c0" not in outcome.assignment
    best = 5.0 + sum(min(p.latency_us.value for p in s.table.values()) for s in problem.scopes[1:]) + 20.0
    assert latency(problem, outcome.assignment) == pytest.approx(best)
    assert oracle.asked <= 60


def test_when_its_best_plan_is_cut_it_looks_around_it() -> None:
    problem = separable(4, choices=5)
    first = search(Task(problem, Budget())).assignment
    assert first is not None
    totals = sorted(
        found.latency_us.value for plan in every_plan(problem) if (found := problem.total(plan)) is not None
    )
    again = search(Task(problem, Budget(), cuts=[first], start=[first])).assignment
    assert latency(problem, again) == pytest.approx(totals[1])
