"""Seeded mutations of small models: each refused in one line, or taken and treated right.

`python -m bench.fuzz` makes as many as one likes and counts what became of them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.fuzz import outcomes, table
from bench.fuzz_mutate import mutated
from bench.fuzz_run import BUG, REFUSED, VALID, Outcome, Tools, looked_at, placed
from bench.fuzz_seeds import Seed, seeds

_SAMPLE, _ALL = 600, 5000
_WHOLE_SAMPLE, _WHOLE_ALL = 27, 300


def _bugs(count: int, whole: bool, seed: int) -> list[str]:
    rows = list(outcomes(count, seed, whole))
    assert len(rows) == count
    results = {row[3].result for row in rows}
    assert {REFUSED, VALID} <= results, table(rows)
    return [f"{row[0].name} {row[1]}: {row[3].detail}" for row in rows if row[3].result == BUG]


@pytest.mark.parametrize("model", seeds(), ids=lambda seed: seed.name)
def test_the_models_that_mutations_start_from_are_valid(model: Seed, tmp_path: Path) -> None:
    assert looked_at(placed(model, model.data, tmp_path), Tools.loaded()) == Outcome(VALID)


def test_a_mutation_depends_on_its_seed_alone() -> None:
    for model in seeds(figures=False):
        one, two = (mutated(model, np.random.default_rng([3, 5])) for _ in range(2))
        assert one == two


def test_mutations_are_refused_or_right() -> None:
    assert _bugs(_SAMPLE, whole=False, seed=0) == []


def test_mutations_through_the_whole_chain() -> None:
    assert _bugs(_WHOLE_SAMPLE, whole=True, seed=0) == []


@pytest.mark.slow
def test_five_thousand_mutations() -> None:
    assert _bugs(_ALL, whole=False, seed=1) == []


@pytest.mark.slow
def test_hundreds_of_mutations_through_the_whole_chain() -> None:
    assert _bugs(_WHOLE_ALL, whole=True, seed=1) == []
