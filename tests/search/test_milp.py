"""The mixed-integer program against brute force on small random problems."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from hwopt.choice import KEEP, Choice, Kind, Risk, Stage, Value
from hwopt.estimate import Estimate, Source
from hwopt.scope import Price, Problem, Scope
from hwopt.search import Budget, Objective
from hwopt.search.milp import solve
from hwopt.search.problem import objective_value


def choice(number: int, values: int) -> Choice:
    """A choice with that many values besides *keep*; nothing is ever rewritten."""
    made = tuple(
        Value(f"c{number}", Kind.FORM, f"v{v}", "test", Risk.EXACT, Stage.FORM, (), lambda model: None)
        for v in range(values)
    )
    return Choice(f"c{number}", Kind.FORM, made)


def random_problem(seed: int) -> Problem:
    """Four choices; scopes over one to three of them, with gaps in their tables."""
    rng = np.random.default_rng(seed)
    choices = tuple(choice(i, int(rng.integers(1, 4))) for i in range(4))
    scopes = []
    for number in range(int(rng.integers(2, 6))):
        members = sorted(rng.choice(4, size=int(rng.integers(1, 4)), replace=False).tolist())
        names = [[KEEP, *(v.name for v in choices[i].values)] for i in members]
        table = {}
        for key in product(*names):
            if set(key) == {KEEP} or rng.random() > 0.15:
                table[key] = random_price(rng)
        scopes.append(Scope(f"s{number}", tuple(f"c{i}" for i in members), table))
    return Problem(choices, tuple(scopes), random_price(rng))


def random_price(rng: np.random.Generator) -> Price:
    latency = Estimate(float(rng.integers(1, 100)), 0.0, Source.PREDICTED)
    size, peak, damage = rng.integers(1, 50), rng.integers(1, 1000), rng.random()
    held = ((int(rng.integers(0, 3)), int(peak)), (3, int(rng.integers(1, 500))))
    return Price(latency, int(size), held, 0, float(damage))


def brute_force(problem: Problem, budget: Budget) -> float | None:
    names = [[KEEP, *(v.name for v in c.values)] for c in problem.choices]
    best: float | None = None
    for joint in product(*names):
        price = problem.total(dict(zip((c.id for c in problem.choices), joint, strict=True)))
        if price is None or budget.violations(price):
            continue
        figure = objective_value(price, budget.objective)
        best = figure if best is None else min(best, figure)
    return best


def random_budget(problem: Problem, seed: int) -> Budget:
    """An objective and one or two limits around the unchanged model's figures."""
    rng = np.random.default_rng(1000 + seed)
    base = problem.total({})
    assert base is not None
    factor = rng.uniform(0.6, 1.1, size=4)
    limits = {
        "latency_us": float(base.latency_us.value * factor[0]),
        "weight_bytes": int(base.weight_bytes * factor[1]),
        "peak_bytes": int(base.peak_bytes * factor[2]),
        "footprint_bytes": int((base.peak_bytes + base.weight_bytes) * factor[3]),
    }
    chosen = rng.choice(sorted(limits), size=int(rng.integers(0, 3)), replace=False)
    objective = list(Objective)[int(rng.integers(0, 5))]
    return Budget(objective, **{name: limits[name] for name in chosen.tolist()})  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(60))
def test_it_finds_what_brute_force_finds(seed: int) -> None:
    problem = random_problem(seed)
    budget = random_budget(problem, seed)
    expected = brute_force(problem, budget)
    outcome = solve(problem, budget)
    if expected is None:
        assert outcome.assignment is None
        return
    assert outcome.assignment is not None
    price = problem.total(outcome.assignment)
    assert price is not None
    assert not budget.violations(price)
    assert objective_value(price, budget.objective) == pytest.approx(expected, rel=2e-4)


def test_between_equals_the_plan_with_fewer_rewrites_wins() -> None:
    same = Price(Estimate(10.0, 0.0, Source.PREDICTED))
    problem = Problem((choice(0, 2),), (Scope("s", ("c0",), {(n,): same for n in (KEEP, "v0", "v1")}),), same)
    assert solve(problem, Budget()).assignment == {}


def test_a_cut_forbids_one_plan_and_no_other() -> None:
    problem = random_problem(3)
    first = solve(problem, Budget())
    assert first.assignment is not None
    second = solve(problem, Budget(), cuts=[dict(first.assignment)])
    assert second.assignment is not None
    assert second.assignment != first.assignment
