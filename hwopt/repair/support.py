"""Closed-form fits that keep the zeros of a sparse weight.

Every output has its own support, so every output has its own small system: with fewer rows
than weights in the dual form (kernel matrix of the rows), else in the primal form (the part of
the Gram matrix that the support selects). The result is the optimal update of all remaining
weights at once (Hassibi & Stork, "Optimal Brain Surgeon", 1993).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from hwopt.nodes import FloatArray
from hwopt.repair.linear import Matrix
from hwopt.repair.ridge import RIDGES, ROUNDS, Problem, Rows, Solution, moments

TUNING_OUTPUTS = 64  # outputs that choose lambda for all
DUAL_ROWS = 1024  # with fewer rows than this and than weights, the dual form


def solve_support(problem: Problem, rounds: int = ROUNDS) -> Solution:
    """Fit the non-zero weights only; lambda is chosen on the held-out rows, for all outputs alike."""
    ridge = _choose(problem)
    system = _System.of(problem.x, problem.y, ridge)
    weight, bias = problem.start.copy(), np.zeros(problem.y.shape[1])
    for output in range(problem.y.shape[1]):
        weight[:, output], bias[output] = _fit_output(system, problem, output, rounds)
    return Solution(weight, bias, ridge)


@dataclass(frozen=True)
class _System:
    """What all outputs share: centred rows, their Gram matrix where it is used, and lambda."""

    x: FloatArray
    x_mean: Matrix
    gram: Matrix | None
    loading: float

    @staticmethod
    def of(x: FloatArray, y: FloatArray, ridge: float) -> _System:
        mean = x.mean(axis=0, dtype=np.float64)
        centred = x - mean.astype(np.float32)
        scale = float(np.mean(np.square(centred, dtype=np.float64))) * len(x)
        gram = None if len(x) <= DUAL_ROWS else moments(centred, y[:, :0]).gram
        return _System(centred, mean, gram, ridge * max(scale, 1e-30))


def _fit_output(system: _System, problem: Problem, output: int, rounds: int) -> tuple[Matrix, float]:
    """One output's weights and bias, with activation-aware rounds where a clip follows."""
    start = problem.start[:, output]
    support = np.flatnonzero(start)
    y = problem.y[:, output].astype(np.float64)
    weight = start.copy()
    if len(support) == 0:
        return weight, float(y.mean())
    x = system.x[:, support].astype(np.float64)
    solver = _solver(system, x, support)
    base = x @ start[support]
    target, bounds = y, problem.bounds
    for _ in range(1 + (rounds if bounds is not None else 0)):
        shift = float(target.mean())
        weight[support] = start[support] + solver(target - shift - base)
        if bounds is None:
            break
        prediction = x @ weight[support] + shift
        target = np.where(
            y <= bounds.low,
            np.minimum(prediction, bounds.low),
            np.where(y >= bounds.high, np.maximum(prediction, bounds.high), y),
        )
    return weight, shift - float(system.x_mean @ weight)


class _solver:
    """The update of the supported weights for a residual, from a factor computed once."""

    def __init__(
        self, system: _System, x: Matrix, support: np.ndarray[tuple[int], np.dtype[np.int64]]
    ) -> None:
        self._x = x
        self._dual = system.gram is None
        gram = x @ x.T if system.gram is None else system.gram[np.ix_(support, support)]
        gram = gram + system.loading * np.eye(len(gram))
        self._factor = cho_factor(gram, lower=True, check_finite=False, overwrite_a=True)

    def __call__(self, residual: Matrix) -> Matrix:
        right = residual if self._dual else self._x.T @ residual
        solved = cho_solve(self._factor, right, check_finite=False)
        update: Matrix = self._x.T @ solved if self._dual else solved
        return update


def _choose(problem: Problem) -> float:
    """The lambda with the least error of some outputs on the held-out rows, without rounds."""
    test: Rows = problem.held_out
    if not test.any() or test.all():
        return RIDGES[len(RIDGES) // 2]
    step = -(-problem.y.shape[1] // TUNING_OUTPUTS)
    some = replace(
        problem, x=problem.x[~test], y=problem.y[~test, ::step], start=problem.start[:, ::step], bounds=None
    )
    errors = []
    for ridge in RIDGES:
        system = _System.of(some.x, some.y, ridge)
        error = 0.0
        for output in range(some.y.shape[1]):
            weight, bias = _fit_output(system, some, output, 0)
            error += float(np.sum((problem.x[test] @ weight + bias - problem.y[test, output * step]) ** 2))
        errors.append(error)
    return RIDGES[int(np.argmin(errors))]
