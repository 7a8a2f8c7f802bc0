"""Small random problems whose best plan brute force finds."""

from __future__ import annotations

from itertools import product

import numpy as np

from hwopt.choice import KEEP, Choice, Kind, Risk, Stage, Value
from hwopt.estimate import Estimate, Source
from hwopt.scope import Price, Problem, Scope
from hwopt.search import Budget, Objective

STEPS = 12
_LIMITS = ("latency_us", "peak_bytes", "weight_bytes", "footprint_bytes", "damage")


def choice(number: int, values: int) -> Choice:
    """A choice with that many values besides *keep*; nothing is ever rewritten."""
    made = tuple(
        Value(f"c{number}", Kind.FORM, f"v{v}", "test", Risk.EXACT, Stage.FORM, (), lambda model: None)
        for v in range(values)
    )
    return Choice(f"c{number}", Kind.FORM, made)


def random_price(rng: np.random.Generator) -> Price:
    """A price alive over some steps of the schedule; some are free of damage, some unpriced."""
    first, length = int(rng.integers(0, STEPS)), int(rng.integers(0, 5))
    held = {step: int(rng.integers(0, 500)) for step in range(first, min(first + length, STEPS))}
    held[STEPS] = int(rng.integers(1, 500))
    return Price(
        Estimate(float(rng.integers(1, 100)), 0.0, Source.PREDICTED),
        int(rng.integers(0, 50)),
        tuple(held.items()),
        int(rng.integers(0, 1000)),
        float(rng.random() if rng.random() < 0.5 else 0.0),
        ("x",) * int(rng.random() < 0.1),
    )


def random_problem(seed: int, choices: int = 4) -> Problem:
    """Scopes over one to three of the choices, pairs and singles inside of triples among them; with gaps."""
    rng = np.random.default_rng(seed)
    made = tuple(choice(i, int(rng.integers(1, 4))) for i in range(choices))
    scopes = []
    for number in range(int(rng.integers(2, 7))):
        members = sorted(rng.choice(choices, size=int(rng.integers(1, 4)), replace=False).tolist())
        names = [[KEEP, *(v.name for v in made[i].values)] for i in members]
        table = {
            key: random_price(rng)
            for key in product(*names)
            if set(key) == {KEEP} or rng.random() > 0.15
        }  # fmt: skip
        scopes.append(Scope(f"s{number}", tuple(f"c{i}" for i in members), table))
    return Problem(made, tuple(scopes), random_price(rng))


def random_budget(problem: Problem, seed: int) -> Budget:
    """An objective, and up to three limits of every kind around the unchanged model's figures."""
    rng = np.random.default_rng(1000 + seed)
    base = problem.total({})
    assert base is not None
    factor = rng.uniform(0.6, 1.1, size=5)
    figures = (base.latency_us.value, base.peak_bytes, base.weight_bytes, base.peak_bytes + base.weight_bytes)
    limits = {name: f * figure for name, f, figure in zip(_LIMITS, factor, figures, strict=False)}
    limits["damage"] = 1.3 * factor[4] * base.damage
    chosen = rng.choice(_LIMITS, size=int(rng.integers(0, 4)), replace=False).tolist()
    whole = {n: limits[n] if n in ("latency_us", "damage") else int(limits[n]) for n in chosen}
    return Budget(list(Objective)[seed % len(Objective)], **whole)


def every_plan(problem: Problem) -> list[dict[str, str]]:
    """All assignments, the impossible ones among them; *keep* written out."""
    names = [[KEEP, *(v.name for v in c.values)] for c in problem.choices]
    return [dict(zip((c.id for c in problem.choices), joint, strict=True)) for joint in product(*names)]
