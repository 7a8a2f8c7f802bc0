"""Fits that keep zeros: against the normal equations, output by output, and what they promise."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from hwopt.repair.linear import Bounds, Matrix
from hwopt.repair.ridge import Problem, solve
from hwopt.repair.support import Restricted, solve_support


def problem(
    rows: int = 400, features: int = 7, outputs: int = 3, noise: float = 0.3, seed: int = 0
) -> Problem:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(features, features))
    x = (rng.normal(size=(rows, features)) @ mixing + 2.0).astype(np.float32)
    y = x @ rng.normal(size=(features, outputs)) + 1.5 + noise * rng.normal(size=(rows, outputs))
    start = rng.normal(size=(features, outputs))
    return Problem(x, y.astype(np.float32), start, np.arange(rows) % 5 == 0)


def thinned(case: Problem, seed: int = 1) -> Problem:
    mask = np.random.default_rng(seed).random(case.start.shape) < 0.6
    return replace(case, start=case.start * mask)


def test_support_keeps_zeros_and_is_the_ridge_formula_on_the_rest() -> None:
    case = problem()
    start = case.start * (np.random.default_rng(1).random(case.start.shape) < 0.6)
    found = solve_support(replace(case, start=start))
    assert not found.weight[start == 0].any()
    x = case.x.astype(np.float64)
    x -= x.mean(0)
    load = found.ridge * np.mean(np.sum(x * x, axis=0))
    for output in range(3):
        s = np.flatnonzero(start[:, output])
        y = case.y[:, output].astype(np.float64)
        gram = x[:, s].T @ x[:, s] + load * np.eye(len(s))
        expected = np.linalg.solve(gram, x[:, s].T @ (y - y.mean()) + load * start[s, output])
        np.testing.assert_allclose(found.weight[s, output], expected, rtol=1e-4, atol=1e-5)


def test_a_full_support_is_the_dense_fit() -> None:
    case = problem(noise=2.0)
    sparse, dense = solve_support(case), solve(case)
    assert sparse.ridge == dense.ridge
    np.testing.assert_allclose(sparse.weight, dense.weight, rtol=1e-4, atol=1e-5)


def test_many_features_with_hardly_any_load_reach_the_exact_solution() -> None:
    """Condition number 1e6: single precision alone would not do."""
    rng = np.random.default_rng(4)
    x = (
        rng.normal(size=(300, 60))
        @ np.diag(np.logspace(0, -3, 60))
        @ np.linalg.qr(rng.normal(size=(60, 60)))[0]
    )
    gram, start = x.T @ x, rng.normal(size=(60, 8))
    mask = rng.random((60, 8)) < 0.5
    truth = start * mask
    load = 1e-6 * np.mean(np.diag(gram))
    cross = gram @ rng.normal(size=(60, 8))
    found = Restricted(gram, mask, 1e-6)(cross, truth, truth)
    for output in range(8):
        s = np.flatnonzero(mask[:, output])
        system = gram[np.ix_(s, s)] + load * np.eye(len(s))
        expected = np.linalg.solve(system, cross[s, output] + load * truth[s, output])
        off = found[s, output] - expected
        assert off @ system @ off < 1e-6 * (expected @ system @ expected)
        assert not found[~mask[:, output], output].any()


def test_rounds_lower_the_error_behind_the_activation() -> None:
    case = thinned(problem(noise=0.0))
    bent = replace(case, bounds=Bounds(0.0, 6.0))

    def error(weight: Matrix, bias: Matrix) -> float:
        return float(np.mean((np.clip(case.x @ weight + bias, 0, 6) - np.clip(case.y, 0, 6)) ** 2))

    errors = []
    for rounds in (0, 1, 2, 4, 8):
        found = solve_support(bent, rounds)
        errors.append(error(found.weight, found.bias))
    assert all(b <= a * (1 + 1e-3) for a, b in pairwise(errors))
    assert errors[-1] < 0.95 * errors[0]


def test_an_output_without_weights_gets_the_mean() -> None:
    case = problem()
    case.start[:, 1] = 0
    found = solve_support(case)
    assert found.bias[1] == pytest.approx(float(case.y[:, 1].mean()), rel=1e-5)
