"""Damage that was measured once is read back, equal to the last bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from hwopt.calibration.data import Arrays, from_source
from hwopt.choice import Risk
from hwopt.damage.harm import Harm
from hwopt.damage.measure import Damage
from hwopt.errors import BadInput
from hwopt.find import find_choices
from hwopt.registry import all_passes
from hwopt.repair.reference import Reference
from hwopt.settings import AccuracyLimit
from hwopt.target import read_target
from tests.graphs import classifier

TARGETS = Path(__file__).parents[1] / "targets"


def test_a_second_look_gives_the_same_damage_without_a_repair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HWOPT_CACHE", str(tmp_path))
    model = classifier()
    x = np.random.default_rng(0).standard_normal((40, 3, 16, 16)).astype(np.float32)
    reference = Reference(model, from_source(Arrays({"x": x}), np.arange(40) % 10))
    target = read_target(TARGETS / "edge-npu")
    choices, _ = find_choices(model, all_passes(), target, frozenset({Risk.LOSSY}))
    values = [choice.values[0] for choice in choices[:1]]
    assignment = {value.choice: value.name for value in values}
    harm = Harm(model, reference, AccuracyLimit("max_drop", 0.1), seed=0)
    price, plan = harm.of_values(values), harm.of_plan(choices, assignment)
    assert price > 0
    assert plan.drop is not None

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr("hwopt.damage.harm.price_damage", refuse)
    monkeypatch.setattr("hwopt.damage.harm.cross_fitted", refuse)
    assert harm.of_values(values) == price
    assert harm.of_plan(choices, assignment) == plan
    with pytest.raises(AssertionError, match="measured again"):
        Harm(model, reference, AccuracyLimit("max_drop", 0.1), seed=1).of_values(values)


def test_the_beginning_of_a_plan_is_known_to_whoever_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a bisection does, and a run with --rewrite-limit: the figure belongs to the values alone."""
    monkeypatch.setenv("HWOPT_CACHE", str(tmp_path))
    model = classifier()
    x = np.random.default_rng(0).standard_normal((20, 3, 16, 16)).astype(np.float32)
    reference = Reference(model, from_source(Arrays({"x": x})))
    target = read_target(TARGETS / "edge-npu")
    choices, _ = find_choices(model, all_passes(), target, frozenset({Risk.LOSSY}))
    whole = {choice.id: choice.values[0].name for choice in choices[:2]}
    first = {choices[0].id: whole[choices[0].id]}
    asked: list[ir.Model] = []

    def measure(reference: Reference, changed: ir.Model, **options: object) -> Damage:
        asked.append(changed)
        return Damage("kl", 0.1, None, None, None, None, None, 20, (0.1,))

    monkeypatch.setattr("hwopt.damage.harm.cross_fitted", measure)
    limit = AccuracyLimit("max_divergence", 0.1)
    for listed, assignment in (
        (choices, whole), (choices, first), (choices[:1], first), (choices[:2], whole)
    ):  # fmt: skip
        Harm(model, reference, limit, seed=0).of_plan(listed, assignment)
    assert len(asked) == 2


def test_a_drop_that_nobody_can_see_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWOPT_CACHE", str(tmp_path))
    model = classifier()
    x = np.random.default_rng(0).standard_normal((20, 3, 16, 16)).astype(np.float32)
    reference = Reference(model, from_source(Arrays({"x": x})))
    harm = Harm(model, reference, AccuracyLimit("max_drop", 0.1), seed=0)
    with pytest.raises(BadInput, match="--max-divergence"):
        harm.of_plan([], {})
