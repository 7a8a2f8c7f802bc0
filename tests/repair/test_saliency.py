"""The order in which channels are eliminated, against exhaustive search and on a whole model."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from hwopt.calibration import Arrays, from_source
from hwopt.nodes import FloatArray
from hwopt.repair.linear import Matrix
from hwopt.repair.marks import saliency_of
from hwopt.repair.reference import Reference
from hwopt.repair.saliency import annotate, elimination_order
from tests.graphs import classifier


def rows(count: int = 500, channels: int = 8, seed: int = 0) -> FloatArray:
    rng = np.random.default_rng(seed)
    return np.asarray(rng.normal(size=(count, channels)) @ rng.normal(size=(channels, channels)), np.float32)


def loss(x: FloatArray, weight: Matrix, kept: tuple[int, ...]) -> float:
    """Squared error of the best regression of the full output on some channels."""
    centred = x - x.mean(0)
    y = centred @ weight
    best = np.linalg.lstsq(centred[:, kept], y, rcond=None)[0]
    return float(np.sum((centred[:, kept] @ best - y) ** 2))


def test_the_first_eliminated_channel_is_the_one_of_least_loss() -> None:
    x, weight = rows(), np.random.default_rng(1).normal(size=(8, 3))
    order = elimination_order(x, weight)
    losses = [loss(x, weight, tuple(c for c in range(8) if c != out)) for out in range(8)]
    assert order[int(np.argmin(losses))] == 0
    assert sorted(order) == list(range(8))


def test_greedy_elimination_is_near_the_best_subset() -> None:
    x, weight = rows(seed=4), np.random.default_rng(5).normal(size=(8, 3))
    kept = tuple(int(c) for c in np.flatnonzero(elimination_order(x, weight) >= 4))
    best = min(loss(x, weight, subset) for subset in combinations(range(8), 4))
    assert loss(x, weight, kept) <= 1.5 * best


def test_one_of_two_equal_channels_goes_and_the_other_stays() -> None:
    x = rows()
    x[:, 3] = x[:, 6]
    weight = np.random.default_rng(2).normal(size=(8, 3)) * 10
    order = elimination_order(x, weight)
    assert min(order[3], order[6]) == 0
    assert max(order[3], order[6]) > 1


def test_annotation_stands_on_operators_that_read_alone() -> None:
    x = np.random.default_rng(0).normal(size=(20, 3, 16, 16)).astype(np.float32)
    reference = Reference(classifier(), from_source(Arrays({"x": x})), threads=1)
    annotate(reference, seed=0)
    found = {node.outputs[0].name: saliency_of(node) for node in reference.base.graph}
    known = {name: len(order) for name, order in found.items() if order is not None}
    assert known == {"p": 36, "h": 12, "y": 60}
    assert found["s"] is None  # no matrix over channels: 3x3
    clone = next(node for node in reference.base.clone().graph if node.outputs[0].name == "p")
    assert saliency_of(clone) is not None
