"""Codebooks: the best list of codes, how they are chosen on data, and what a quantiser finds."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from hwopt.descriptor import describe_array
from hwopt.repair.codebook import PEAK, best_codes, clustered, nearest, peaks, scales
from hwopt.repair.codebook_fit import solve_codebook
from hwopt.repair.linear import Matrix
from hwopt.repair.ridge import Problem


def test_codes_are_the_best_of_all_partitions() -> None:
    """Against every way to cut the sorted values into runs."""
    values = np.array([-90, -70, -11, -9, 3, 4, 60, 80], float)[:, None]
    cost = np.array([1, 3, 1, 1, 2, 1, 1, 4], float)[:, None]
    found = best_codes(values, cost, np.zeros(values.shape, np.int64), 3)

    def centres(cuts: tuple[int, ...]) -> Matrix:
        runs = np.split(np.arange(8), cuts)
        return np.array([np.average(values[r, 0], weights=cost[r, 0]) for r in runs])

    def error(codes: Matrix) -> float:
        return float(np.sum(cost * np.min((values - codes) ** 2, axis=1, keepdims=True)))

    best = min((centres(cuts) for cuts in combinations(range(1, 8), 2)), key=error)
    np.testing.assert_array_equal(found, np.rint(best))


def test_nearest_is_nearest() -> None:
    codes = np.array([-127, -30, 0, 40, 127])
    values = np.random.default_rng(0).uniform(-140, 140, (50, 3))
    expected = codes[np.argmin(np.abs(values[..., None] - codes), axis=-1)]
    np.testing.assert_array_equal(nearest(values, codes), expected)


@pytest.mark.parametrize("count", [4, 16, 32])
def test_an_int8_quantiser_finds_the_codes(count: int) -> None:
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(48, 20)) * rng.uniform(0.1, 3, 20)
    found = clustered(weight, count).astype(np.float32)
    described = describe_array(found.T[:, :, None, None], 0, "int8")
    assert described.distinct <= count
    assert described.encoded_bytes <= 48 * 20 * np.log2(count) / 8 + 1
    assert describe_array(weight.T.astype(np.float32), 0, "int8").distinct > 2 * count


def test_every_output_reaches_the_end_of_its_grid() -> None:
    weight = np.random.default_rng(2).normal(size=(30, 7))
    codes = np.rint(clustered(weight, 8) / scales(weight))
    assert (np.abs(codes).max(axis=0) == PEAK).all()
    assert (np.abs(peaks(weight)).sum(axis=0) == PEAK).all()


def related(rows: int = 800, features: int = 40, outputs: int = 12) -> Problem:
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(features, features)) * np.logspace(0, -1.0, features)[:, None]
    x = (rng.normal(size=(rows, features)) @ mix + 0.3).astype(np.float32)
    weight = rng.normal(size=(features, outputs))
    return Problem(x, (x @ weight + 0.5).astype(np.float32), weight, np.arange(rows) % 5 == 0)


def loss(case: Problem, weight: Matrix, bias: Matrix) -> float:
    return float(np.mean((case.x @ weight + bias - case.y) ** 2) / case.y.var())


@pytest.mark.parametrize("count", [8, 16, 32])
def test_codes_chosen_on_data_lose_far_less_than_the_nearest(count: int) -> None:
    case = related()
    found = solve_codebook(case, count, 0)
    plain = clustered(case.start, count)
    bias = np.mean(case.y - case.x @ plain, axis=0)
    assert loss(case, found.weight, found.bias) < 0.5 * loss(case, plain, bias)
    assert describe_array(found.weight.T.astype(np.float32), 0, "int8").distinct <= count


def test_a_layer_of_zeros_stays() -> None:
    case = related()
    case.start[:, 3] = 0.0
    case.y[:, 3] = 0.25
    found = solve_codebook(case, 16, 0)
    assert np.isfinite(found.weight).all()
    assert found.bias[3] + np.mean(case.x @ found.weight[:, 3]) == pytest.approx(0.25, abs=1e-3)
