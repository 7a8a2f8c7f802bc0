"""Dominated values go before the search, and no plan is worse for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwopt.candidate_plans import mildest, restricted
from hwopt.choice import KEEP, Choice, Risk
from hwopt.estimate import Estimate, Source
from hwopt.scope import NOTHING, Price, Problem, Scope
from hwopt.search import Budget, Objective
from hwopt.search.curate import Dropped, curate
from hwopt.search.tables import Figures, figures_of, score
from tests.search.random_problems import choice, every_plan, random_budget, random_price, random_problem


def all_of(problem: Problem) -> Figures:
    return figures_of([problem.total(plan) for plan in every_plan(problem)])


def optimum(figures: Figures, budget: Budget) -> float:
    violation, objective = score(figures, budget)
    return float(objective[violation == 0].min(initial=np.inf))


@pytest.mark.parametrize("seed", range(60))
def test_the_best_plan_stays_for_every_objective_and_budget(seed: int) -> None:
    problem = random_problem(seed, choices=3)
    before, after = all_of(problem), all_of(curate(problem).problem)
    for number in range(2 * len(Objective)):
        budget = random_budget(problem, number)
        assert optimum(after, budget) == pytest.approx(optimum(before, budget))


def test_random_problems_do_have_values_to_drop() -> None:
    assert sum(len(curate(random_problem(seed, choices=3)).dropped) for seed in range(60)) > 20


def price(latency: float, size: int = 0, held: tuple[int, ...] = (), damage: float = 0.0) -> Price:
    return Price(Estimate(latency, 0.0, Source.PREDICTED), size, tuple(enumerate(held)), 0, damage)


def single(*prices: Price, owner: Choice | None = None) -> Problem:
    """One choice whose values, *keep* first, cost this."""
    owner = owner or choice(0, len(prices) - 1)
    names = [KEEP, *(v.name for v in owner.values)]
    table: dict[tuple[str, ...], Price] = {(name,): p for name, p in zip(names, prices, strict=True)}
    return Problem((owner,), (Scope("s", (owner.id,), table),), NOTHING)


@pytest.mark.parametrize(
    "better",
    [price(4, 5, (5, 5), 0.5), price(5, 4, (5, 5), 0.5), price(5, 5, (4, 4), 0.5), price(5, 5, (5, 5), 0.4)],
)
def test_one_better_figure_saves_a_value_only_from_those_without_it(better: Price) -> None:
    usual = price(5, 5, (5, 5), 0.5)
    assert curate(single(usual, better)).dropped == ()
    assert curate(single(better, usual)).dropped == (Dropped("c0", "v0", KEEP),)


def test_of_equal_values_the_first_stays() -> None:
    curated = curate(single(price(9), price(5), price(5)))
    assert curated.dropped == (Dropped("c0", "v1", "v0"),)
    assert [value.name for value in curated.problem.choices[0].values] == ["v0"]
    assert set(curated.problem.scopes[0].table) == {(KEEP,), ("v0",)}


def test_a_value_is_not_dropped_for_one_that_is_impossible_beside_it() -> None:
    pair = (choice(0, 2), choice(1, 1))
    table: dict[tuple[str, ...], Price] = {
        (KEEP, KEEP): price(9),
        (KEEP, "v0"): price(9),
        ("v0", KEEP): price(1),  # not with v0 of the other
        ("v1", KEEP): price(5),
        ("v1", "v0"): price(3),
    }
    problem = Problem(pair, (Scope("s", ("c0", "c1"), table),), NOTHING)
    assert all(d.choice != "c0" for d in curate(problem).dropped)


def test_scopes_count_together() -> None:
    first, second = single(price(9, 9), price(10, 1)), single(price(5), price(1))
    problem = replace(first, scopes=(*first.scopes, replace(second.scopes[0], id="t")))
    assert curate(problem).dropped == ()  # v0 is better in sum
    assert curate(first).dropped == ()
    costly = replace(problem, scopes=(first.scopes[0], *single(price(5), price(4, 9)).scopes))
    assert curate(costly).dropped == (Dropped("c0", "v0", KEEP),)  # 14 and 9 against 14 and 10


def test_what_is_pinned_stays() -> None:
    problem = single(price(5), price(9))
    assert curate(problem, frozenset({("c0", "v0")})).problem == problem
    for pinned in (replace(problem, start={"c0": "v0"}), replace(problem, wishes=(("c0", "v0"),))):
        assert curate(pinned).problem == pinned


def test_the_dominating_value_is_still_there() -> None:
    for seed in range(60):
        curated = curate(random_problem(seed, choices=3))
        left = {(c.id, v.name) for c in curated.problem.choices for v in c.values}
        assert all(d.by == KEEP or (d.choice, d.by) in left for d in curated.dropped)


def with_retrain(seed: int) -> Problem:
    """A problem where the last value of every choice needs training, and damage tables do not know it."""
    problem = random_problem(seed, choices=3)
    choices = tuple(
        replace(c, values=(*c.values[:-1], replace(c.values[-1], risk=Risk.RETRAIN))) for c in problem.choices
    )
    rng = np.random.default_rng(seed)
    damage = []
    for owner in choices:
        table: dict[tuple[str, ...], Price] = {(KEEP,): NOTHING}
        for value in owner.values[:-1]:
            table[value.name,] = replace(NOTHING, damage=random_price(rng).damage)
        damage.append(Scope(f"damage:{owner.id}", (owner.id,), table))
    return replace(problem, choices=choices, scopes=(*problem.scopes, *damage))


@pytest.mark.parametrize("seed", range(30))
def test_candidates_that_need_training_are_found_as_before(seed: int) -> None:
    problem = with_retrain(seed)
    curated = curate(problem).problem
    base = problem.total({})
    assert base is not None
    budget = Budget(latency_us=0.8 * base.latency_us.value)
    before, after = mildest(problem, budget, 0), mildest(curated, budget, 0)
    assert (before is None) == (after is None)
    if before is not None and after is not None:
        assert after.predicted.damage == pytest.approx(before.predicted.damage, abs=1e-6)
        assert after.predicted.latency_us.value == pytest.approx(before.predicted.latency_us.value)
    ordinary = optimum(all_of(restricted(problem, {})), budget)
    assert optimum(all_of(restricted(curated, {})), budget) == pytest.approx(ordinary)


def test_a_value_that_only_one_in_need_of_training_wants_stays() -> None:
    first, second = choice(0, 1), choice(1, 1)
    second = replace(second, values=(replace(second.values[0], risk=Risk.RETRAIN),))
    table: dict[tuple[str, ...], Price] = {
        (KEEP, KEEP): price(9),
        ("v0", KEEP): price(10),
        (KEEP, "v0"): price(8),
        ("v0", "v0"): price(1),
    }
    known: dict[tuple[str, ...], Price] = {(KEEP,): NOTHING}
    scopes = (Scope("s", ("c0", "c1"), table), Scope("damage:c1", ("c1",), known))
    problem = Problem((first, second), scopes, NOTHING)
    assert curate(problem).dropped == ()
    assert curate(restricted(problem, {})).dropped == (Dropped("c0", "v0", KEEP),)
