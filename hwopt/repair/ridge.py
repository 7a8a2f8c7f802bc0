"""Closed-form fits: ridge regression towards the present weights, aware of a clipping activation.

    minimise |X W + b - Y|^2 + lambda |W - W0|^2

with X and Y centred and the bias free. Where the output goes through an activation that clips
(ReLU, ReLU6), an error beyond the clip costs nothing: majorise-minimise rounds replace the
target there by the prediction, clipped, and solve again with the same Cholesky factor; each
round lowers the error after the activation (Hunter & Lange, "A tutorial on MM algorithms", 2004).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from hwopt.nodes import FloatArray
from hwopt.repair.linear import Bounds, Matrix

Rows = npt.NDArray[np.bool_]

CHUNK = 4096  # rows multiplied in single precision before they are added in double
RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # times the mean variance of a feature
ROUNDS = 8


@dataclass(frozen=True)
class Problem:
    """One regression.

    x: [rows, features]; y: [rows, outputs]; start: [features, outputs], the weights to stay near;
    held_out: rows to choose lambda on; bounds: what the activation behind clips to.
    """

    x: FloatArray
    y: FloatArray
    start: Matrix
    held_out: Rows
    bounds: Bounds | None = None


@dataclass(frozen=True)
class Solution:
    """weight: [features, outputs]; bias: [outputs]; ridge: the chosen lambda, times mean variance."""

    weight: Matrix
    bias: Matrix
    ridge: float


@dataclass(frozen=True)
class Moments:
    """Centred second moments per row set: gram [F, F], cross [F, O], rows counted."""

    gram: Matrix
    cross: Matrix
    count: int

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.gram + other.gram, self.cross + other.cross, self.count + other.count)


def solve(problem: Problem, rounds: int = ROUNDS) -> Solution:
    """Fit, with lambda chosen on the held-out rows and the final fit on all rows."""
    x, x_mean = centred(problem.x)
    y, y_mean = centred(problem.y)
    test = moments(x[problem.held_out], y[problem.held_out])
    train = moments(x[~problem.held_out], y[~problem.held_out])
    ridge = choose_ridge(train, test, problem.start)
    whole = train + test
    factor = factorised(whole.gram, ridge)
    weight = problem.start + cho_solve(factor, whole.cross - whole.gram @ problem.start, check_finite=False)
    shift = np.zeros_like(y_mean)
    if problem.bounds is not None:
        bounds = (problem.bounds.low - y_mean, problem.bounds.high - y_mean)
        weight, shift = _majorise(x, y, weight, factor, problem.start, whole, bounds, rounds)
    return Solution(weight, y_mean + shift - x_mean @ weight, ridge)


def centred(rows: FloatArray) -> tuple[FloatArray, Matrix]:
    """Rows less their mean, and the mean."""
    mean: Matrix = rows.mean(axis=0, dtype=np.float64)
    return rows - mean.astype(np.float32), mean


def moments(x: FloatArray, y: FloatArray) -> Moments:
    """Gram and cross moments of rows that are centred already, summed in double precision."""
    gram = np.zeros((x.shape[1], x.shape[1]))
    cross = np.zeros((x.shape[1], y.shape[1]))
    for start in range(0, len(x), CHUNK):
        part = x[start : start + CHUNK]
        gram += part.T @ part
        cross += part.T @ y[start : start + CHUNK]
    return Moments(gram, cross, len(x))


def loaded(gram: Matrix, ridge: float) -> Matrix:
    """The Gram matrix with lambda, relative to the mean variance, on its diagonal."""
    scale = max(float(np.mean(np.diag(gram))), 1e-30)
    loaded: Matrix = gram + ridge * scale * np.eye(len(gram))
    return loaded


def factorised(gram: Matrix, ridge: float) -> tuple[Matrix, bool]:
    """Cholesky factor of the loaded Gram matrix; the load grows where rounding ate the small eigenvalues."""
    while True:
        try:
            factor: tuple[Matrix, bool] = cho_factor(loaded(gram, ridge), lower=True, check_finite=False)
        except LinAlgError:
            ridge *= 10.0
        else:
            return factor


def choose_ridge(train: Moments, test: Moments, start: Matrix) -> float:
    """The lambda of the grid whose fit on `train` has the least squared error on `test`.

    Works on moments alone: the error is <W, G W> - 2 <W, C> + const.
    """
    if train.count == 0 or test.count == 0:
        return RIDGES[len(RIDGES) // 2]
    residual = train.cross - train.gram @ start
    errors = []
    for ridge in RIDGES:
        factor = factorised(train.gram, ridge)
        weight = start + cho_solve(factor, residual, check_finite=False)
        errors.append(float(np.sum(weight * (test.gram @ weight - 2 * test.cross))))
    return RIDGES[int(np.argmin(errors))]


def _majorise(
    x: FloatArray,
    y: FloatArray,
    weight: Matrix,
    factor: tuple[Matrix, bool],
    start: Matrix,
    whole: Moments,
    bounds: tuple[Matrix, Matrix],
    rounds: int,
) -> tuple[Matrix, Matrix]:
    """The activation-aware rounds; x and y centred, bounds relative to the mean of y."""
    low, high = (bound.astype(np.float32) for bound in bounds)
    below, above = y <= low, y >= high
    shift = np.zeros(y.shape[1])
    for _ in range(rounds):
        prediction = x @ weight.astype(np.float32) + shift.astype(np.float32)
        target = np.where(
            below, np.minimum(prediction, low), np.where(above, np.maximum(prediction, high), y)
        )
        shift = target.mean(axis=0, dtype=np.float64)
        cross = product(x, target - shift.astype(np.float32))
        weight = start + cho_solve(factor, cross - whole.gram @ start, check_finite=False)
    return weight, shift


def product(x: FloatArray, y: FloatArray) -> Matrix:
    """x' y, summed in double precision over chunks of rows."""
    total = np.zeros((x.shape[1], y.shape[1]))
    for start in range(0, len(x), CHUNK):
        total += x[start : start + CHUNK].T @ y[start : start + CHUNK]
    return total
