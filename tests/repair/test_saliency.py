"""The order in which channels are eliminated, against exhaustive search and on whole models."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import onnx_ir as ir
import pytest

from hwopt.calibration.data import Arrays, from_source
from hwopt.nodes import FloatArray
from hwopt.repair.linear import Matrix
from hwopt.repair.reference import Reference
from hwopt.repair.saliency import Reader, activation_strength, annotate, elimination_order
from hwopt.widths import NamedGroup, named_groups, order_of
from tests.channel_nets import random_net
from tests.graphs import classifier

MANY = 10**9  # pixels: so many that nothing is added to what was seen


def rows(count: int = 500, channels: int = 8, seed: int = 0) -> FloatArray:
    rng = np.random.default_rng(seed)
    return np.asarray(rng.normal(size=(count, channels)) @ rng.normal(size=(channels, channels)), np.float32)


def reader(x: FloatArray, weight: Matrix, start: int = 0, pixels: int = MANY) -> Reader:
    centred = x - x.mean(0)
    wide = np.asarray(centred, np.float64)
    return Reader(wide.T @ wide / len(x), np.mean(x.astype(np.float64) ** 2, axis=0), weight, start, pixels)


def loss(x: FloatArray, weight: Matrix, kept: tuple[int, ...]) -> float:
    """Share of the output's variance that the best regression on some channels leaves."""
    centred = x - x.mean(0)
    y = centred @ weight
    best = np.linalg.lstsq(centred[:, kept], y, rcond=None)[0]
    return float(np.sum((centred[:, kept] @ best - y) ** 2) / np.sum(y**2))


def without(*out: int) -> tuple[int, ...]:
    return tuple(c for c in range(8) if c not in out)


def test_the_first_eliminated_channel_is_the_one_of_least_loss() -> None:
    x, weight = rows(), np.random.default_rng(1).normal(size=(8, 3))
    order = elimination_order([reader(x, weight)], 8)
    losses = [loss(x, weight, without(out)) for out in range(8)]
    assert order[int(np.argmin(losses))] == 0
    assert sorted(order) == list(range(8))


def test_greedy_elimination_is_near_the_best_subset() -> None:
    x, weight = rows(seed=4), np.random.default_rng(5).normal(size=(8, 3))
    kept = tuple(int(c) for c in np.flatnonzero(elimination_order([reader(x, weight)], 8) >= 4))
    best = min(loss(x, weight, subset) for subset in combinations(range(8), 4))
    assert loss(x, weight, kept) <= 1.5 * best


def test_one_of_two_equal_channels_goes_and_the_other_stays() -> None:
    x = rows()
    x[:, 3] = x[:, 6]
    weight = np.random.default_rng(2).normal(size=(8, 3)) * 10
    order = elimination_order([reader(x, weight)], 8)
    assert min(order[3], order[6]) == 0
    assert max(order[3], order[6]) > 1


@pytest.mark.parametrize("seed", range(4))
def test_the_losses_of_several_readers_add_up(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Apart enough that the little that is added to the variances decides nothing.
    mixed = [rng.normal(size=(500, 8)) @ (np.eye(8) + 0.2 * rng.normal(size=(8, 8))) for _ in range(2)]
    readers = [
        (np.asarray(mixed[0], np.float32), rng.normal(size=(8, 3))),
        (np.asarray(mixed[1], np.float32), 50 * rng.normal(size=(8, 20))),
    ]
    order = elimination_order([reader(x, weight) for x, weight in readers], 8)
    losses = [sum(loss(x, weight, without(out)) for x, weight in readers) for out in range(8)]
    assert order[int(np.argmin(losses))] == 0


def test_channels_of_another_group_stand_in_but_do_not_go() -> None:
    """A reader behind a Concat: the group is its channels 5 to 7, and 6 is a copy of 1."""
    x = rows()
    x[:, 6] = x[:, 1]
    order = elimination_order([reader(x, np.random.default_rng(2).normal(size=(8, 3)), start=5)], 3)
    assert len(order) == 3
    assert order[1] == 0


def test_scarce_pixels_make_a_rare_channel_with_large_weights_stay() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 8)).astype(np.float32)
    x[:, 2] = 0.0
    x[0, 2] = 0.3  # hardly ever seen
    weight = rng.normal(size=(8, 3))
    weight[2] *= 10
    assert elimination_order([reader(x, weight)], 8)[2] == 0
    assert elimination_order([reader(x, weight, pixels=40)], 8)[2] > 0


def test_activation_strength_is_that_of_the_formula() -> None:
    x, weight = rows(), np.random.default_rng(1).normal(size=(8, 3))
    expected = [np.sqrt(np.mean(x[:, c].astype(float) ** 2)) * np.abs(weight[c]).sum() for c in (5, 6, 7)]
    np.testing.assert_allclose(activation_strength([reader(x, weight, start=5)], 3), expected, rtol=1e-6)


def reference_of(model: ir.Model, size: int) -> Reference:
    x = np.random.default_rng(0).normal(size=(20, 3, size, size)).astype(np.float32)
    return Reference(model, from_source(Arrays({"x": x})), threads=1)


@pytest.mark.parametrize("ranking", ["obs", "activation"])
def test_every_group_of_a_network_is_ranked(ranking: str) -> None:
    for model, size in ((classifier(), 16), (random_net(0), 8), (random_net(7), 8)):
        reference = reference_of(model, size)
        annotate(reference, 0, ranking)
        clone = reference.base.clone()
        found = [g for g in named_groups(clone) if isinstance(g, NamedGroup) and g.group.slots_on("in")]
        assert found
        for group in found:
            order = order_of(clone, group.ref)
            assert order is not None
            assert len(order) == group.group.width


def test_without_data_nothing_is_written_and_unknown_rankings_are_refused() -> None:
    reference = reference_of(classifier(), 16)
    annotate(reference, 0, "magnitude")
    groups = [g for g in named_groups(reference.base) if isinstance(g, NamedGroup)]
    assert all(order_of(reference.base, g.ref) is None for g in groups)
    with pytest.raises(ValueError, match="hessian"):
        annotate(reference, 0, "hessian")
