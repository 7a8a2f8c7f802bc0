"""Bytes of weights and who runs for free: learned where measurements say so, left alone elsewhere."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwopt.cost.dataset import Sample
from hwopt.cost.free import chances, fit_free, free_kinds
from hwopt.cost.raw import table
from hwopt.cost.roofline import stored_weights
from hwopt.cost.stream import fit_stream, stored
from hwopt.cost.training import usable
from hwopt.descriptor import WeightDescriptor
from hwopt.signature import Signature
from hwopt.target import read_target

ETHOS = read_target(Path(__file__).parents[2] / "targets" / "ethos-u55-256")


def layers(count: int, seed: int) -> list[Signature]:
    rng = np.random.default_rng(seed)
    return [_layer(*rng.integers(8, 300, 2).tolist()) for _ in range(count)]


def _layer(ci: int, co: int) -> Signature:
    weight = WeightDescriptor(ci * co, 0.0, "dense", 255, ci * co * 7 // 8)
    return Signature(
        "pointwise", ("Conv",), ((1, ci, 8, 8),), ((1, co, 8, 8),), "int8", (1, 1), (1, 1), weight=weight
    )


def test_padding_of_weights_is_learned() -> None:
    known, new = table(layers(600, 0)), table(layers(60, 1))
    padded = [np.ceil(rows["ci"] / 32) * 32 * rows["co"] for rows in (known, new)]
    stream = fit_stream(known, padded[0], ETHOS)
    error = np.abs(np.log(stored(new, ETHOS, stream) / padded[1]))
    assert np.median(error) < 0.02
    assert np.median(error) < np.median(np.abs(np.log(stored_weights(new, ETHOS) / padded[1]))) / 4


def test_nothing_is_learned_where_nothing_is_told() -> None:
    rows = table(layers(600, 0))
    assert fit_stream(rows, np.zeros(600), ETHOS) is None
    assert fit_stream(rows, rows["weights"], replace(ETHOS, weights_compressed=False)) is None
    assert stored(rows, ETHOS, None) == pytest.approx(stored_weights(rows, ETHOS))


def test_the_chance_to_cost_anything() -> None:
    matrix = np.random.default_rng(0).uniform(size=(400, 3)).astype(np.float32)
    kinds = ["concat"] * 200 + ["conv"] * 200
    cycles = np.where((np.arange(400) < 200) & (matrix[:, 1] < 0.5), 0.0, 100.0)
    booster, words = fit_free(matrix, kinds, cycles), free_kinds(kinds, cycles)
    assert words == ("concat",)
    found = chances(booster, words, matrix, kinds)
    assert ((found > 0.5) == (cycles > 0)).mean() > 0.97
    assert (found[200:] == 1).all()
    assert fit_free(matrix, kinds, np.ones(400)) is None


def test_free_operators_are_data_and_lost_ones_are_not() -> None:
    shape = (1, 8, 4, 4)
    joined = Signature("concat", ("Concat",), (shape, shape), ((1, 16, 4, 4),), "int8")
    rows = [Sample("a", "f", "n", s, 0.0) for s in (joined, _layer(8, 8))]
    assert [row.signature for row in usable(rows)] == [joined]
