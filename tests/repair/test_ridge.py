"""Closed-form fits against the normal equations, brute force, and what they promise."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from hwopt.nodes import FloatArray
from hwopt.repair.linear import Bounds
from hwopt.repair.ridge import RIDGES, Problem, choose_ridge, moments, solve

RELU6 = Bounds(0.0, 6.0)


def problem(
    rows: int = 400, features: int = 7, outputs: int = 3, noise: float = 0.3, seed: int = 0
) -> Problem:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(features, features))
    x = (rng.normal(size=(rows, features)) @ mixing + 2.0).astype(np.float32)
    y = x @ rng.normal(size=(features, outputs)) + 1.5 + noise * rng.normal(size=(rows, outputs))
    start = rng.normal(size=(features, outputs))
    return Problem(x, y.astype(np.float32), start, np.arange(rows) % 5 == 0)


def explicit(case: Problem, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """The ridge solution from the textbook formula, in double precision."""
    x, y = case.x.astype(np.float64), case.y.astype(np.float64)
    xc, yc = x - x.mean(0), y - y.mean(0)
    load = ridge * np.mean(np.sum(xc * xc, axis=0))
    weight = np.linalg.solve(xc.T @ xc + load * np.eye(x.shape[1]), xc.T @ yc + load * case.start)
    return weight, y.mean(0) - x.mean(0) @ weight


def after(case: Problem, weight: np.ndarray, bias: np.ndarray) -> FloatArray:
    return np.asarray(np.clip(case.x @ weight + bias, 0, 6), np.float32)


def error(case: Problem, weight: np.ndarray, bias: np.ndarray) -> float:
    return float(np.mean((after(case, weight, bias) - np.clip(case.y, 0, 6)) ** 2))


def test_solution_is_the_ridge_formula() -> None:
    case = problem()
    found = solve(case)
    weight, bias = explicit(case, found.ridge)
    np.testing.assert_allclose(found.weight, weight, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.bias, bias, rtol=1e-3, atol=1e-4)


def test_noiseless_targets_are_recovered() -> None:
    case = problem(noise=0.0)
    found = solve(case)
    np.testing.assert_allclose(case.x @ found.weight + found.bias, case.y, atol=2e-3)


def test_chosen_ridge_is_the_best_of_the_grid_on_held_out_rows() -> None:
    case = problem(rows=30, features=20, noise=3.0)
    x, y, test = case.x - case.x.mean(0), case.y - case.y.mean(0), case.held_out
    train = replace(case, x=x[~test], y=y[~test])
    errors = []
    for ridge in RIDGES:
        xt, yt = train.x.astype(np.float64), train.y.astype(np.float64)
        load = ridge * np.mean(np.sum(xt * xt, axis=0))
        weight = np.linalg.solve(xt.T @ xt + load * np.eye(20), xt.T @ yt + load * case.start)
        errors.append(np.sum((x[test] @ weight - y[test]) ** 2))
    chosen = choose_ridge(moments(x[~test], y[~test]), moments(x[test], y[test]), case.start)
    assert chosen == RIDGES[int(np.argmin(errors))]


def test_a_feature_that_never_varies_keeps_its_weight() -> None:
    case = problem()
    case.x[:, 2] = 0.0
    np.testing.assert_array_equal(solve(case).weight[2], case.start[2])


def test_rounds_lower_the_error_behind_the_activation() -> None:
    case = problem(noise=0.0)
    bent = replace(case, y=np.where(case.y < 0, 3 * case.y, case.y).astype(np.float32), bounds=RELU6)
    errors = []
    for rounds in (0, 1, 2, 4, 8, 16):
        found = solve(bent, rounds)
        errors.append(error(bent, found.weight, found.bias))
    assert all(b <= a * (1 + 1e-6) for a, b in pairwise(errors))
    assert errors[-1] < 0.5 * errors[0]
