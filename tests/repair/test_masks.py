"""Patterns of zeros, and masks chosen on data against masks by magnitude."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwopt.repair.linear import Bounds, Matrix
from hwopt.repair.masks import Sparsity, keep, sparsity_of
from hwopt.repair.masks_fit import choose, solve_sparse
from hwopt.repair.ridge import Problem
from hwopt.repair.support import solve_support


def test_patterns_are_read_from_the_words_of_targets() -> None:
    assert sparsity_of("2:4", 0.9) == Sparsity(0.5, group=4)
    assert sparsity_of("1:4", 0.9) == Sparsity(0.75, group=4)
    assert sparsity_of("block", 0.5) == Sparsity(0.5, block=(4, 4))
    assert sparsity_of("1x4", 0.5) == Sparsity(0.5, block=(1, 4))
    assert sparsity_of("unstructured", 0.3) == Sparsity(0.3)
    assert sparsity_of("channel", 0.3) is None


def test_anywhere_keeps_the_largest_and_settles_ties() -> None:
    scores = np.array([[0.1, 3.0], [2.0, 0.2]])
    np.testing.assert_array_equal(keep(scores, Sparsity(0.5)), [[False, True], [True, False]])
    assert np.count_nonzero(keep(np.ones((5, 4)), Sparsity(0.25))) == 15


@pytest.mark.parametrize(("kept", "taps"), [(2, 1), (1, 1), (2, 9)])
def test_every_group_of_input_channels_keeps_its_largest(kept: int, taps: int) -> None:
    scores = np.random.default_rng(0).random((8 * taps, 5))
    mask = keep(scores, Sparsity(1 - kept / 4, group=4), taps)
    for channel in (0, 4):
        for tap in range(taps):
            rows = [(channel + i) * taps + tap for i in range(4)]
            assert (mask[rows].sum(axis=0) == kept).all()
            least = np.where(mask[rows], scores[rows], np.inf).min(axis=0)
            assert (least > np.where(mask[rows], -np.inf, scores[rows]).max(axis=0)).all()


def test_channels_beyond_the_last_group_stay() -> None:
    assert keep(np.ones((6, 3)), Sparsity(0.5, group=4))[4:].all()


@pytest.mark.parametrize("taps", [1, 9])
def test_blocks_are_kept_or_dropped_whole(taps: int) -> None:
    scores = np.random.default_rng(1).random((16 * taps, 8)).astype(np.float32)
    mask = keep(scores, Sparsity(0.5, block=(2, 4)), taps)
    blocks = mask.reshape(4, 4 * taps, 4, 2).sum(axis=(1, 3))
    assert set(np.unique(blocks)) == {0, 8 * taps}
    assert np.count_nonzero(blocks) == 8


def related(rows: int = 600, features: int = 24, outputs: int = 6, seed: int = 0) -> Problem:
    """A regression whose features are far from independent, as channels of an image are."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(features, features)) * np.logspace(0, -1.5, features)[:, None]
    x = (rng.normal(size=(rows, features)) @ mix).astype(np.float32)
    weight = rng.normal(size=(features, outputs))
    y = (x @ weight + 0.5).astype(np.float32)
    return Problem(x, y, weight, np.arange(rows) % 5 == 0)


def loss(case: Problem, weight: Matrix, bias: Matrix) -> float:
    return float(np.mean((case.x @ weight + bias - case.y) ** 2) / case.y.var())


@pytest.mark.parametrize(
    "sparsity", [Sparsity(0.5), Sparsity(0.75), Sparsity(0.5, group=4), Sparsity(0.5, block=(1, 4))]
)
def test_masks_chosen_on_data_lose_less_than_by_magnitude(sparsity: Sparsity) -> None:
    case = related()
    chosen = solve_sparse(case, sparsity, 1, 0)
    mask = keep(np.abs(case.start), sparsity)
    plain = solve_support(replace(case, start=case.start * mask), 0)
    assert np.count_nonzero(chosen.weight) <= mask.sum()
    assert loss(case, chosen.weight, chosen.bias) < 0.8 * loss(case, plain.weight, plain.bias)


def test_the_mask_is_near_the_best_of_all() -> None:
    """Against every mask of one output with few features, each refitted by least squares."""
    case = related(features=8, outputs=1)
    x = case.x - case.x.mean(0)
    y = x @ case.start[:, 0]
    errors = {}
    for bits in range(256):
        picks = [i for i in range(8) if bits >> i & 1]
        if len(picks) == 4:
            fit, *_ = np.linalg.lstsq(x[:, picks], y, rcond=None)
            errors[tuple(picks)] = float(np.sum((x[:, picks] @ fit - y) ** 2))
    mask, _ = choose(x.T @ x, case.start, Sparsity(0.5), 1)
    rank = sorted(errors.values()).index(errors[tuple(np.flatnonzero(mask[:, 0]))])
    assert rank < 7  # of 70


def test_what_a_clip_hides_need_not_be_fitted() -> None:
    case = related(seed=3)
    bent = replace(case, bounds=Bounds(0.0, 6.0))
    aware, blind = (solve_sparse(c, Sparsity(0.6), 1, 8) for c in (bent, case))

    def clipped(weight: Matrix, bias: Matrix) -> float:
        return float(np.mean((np.clip(case.x @ weight + bias, 0, 6) - np.clip(case.y, 0, 6)) ** 2))

    assert clipped(aware.weight, aware.bias) < 0.97 * clipped(blind.weight, blind.bias)


def test_the_same_data_choose_the_same_mask() -> None:
    case = related()
    one, two = (solve_sparse(case, Sparsity(0.5), 1, 4) for _ in range(2))
    np.testing.assert_array_equal(one.weight, two.weight)
