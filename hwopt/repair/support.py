"""Closed-form fits that keep the zeros of a sparse weight.

Every output has its own support, so every output has its own small system: with fewer rows
than weights in the dual form (kernel matrix of the rows), else in the primal form (the part of
the Gram matrix that the support selects). The result is the optimal update of all remaining
weights at once (Hassibi & Stork, "Optimal Brain Surgeon", 1993).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve

from hwopt.nodes import FloatArray
from hwopt.repair.linear import Matrix
from hwopt.repair.ridge import (
    RIDGES,
    ROUNDS,
    Moments,
    Problem,
    Solution,
    centred,
    factorised,
    moments,
)

Picks = npt.NDArray[np.int64]

TUNING_OUTPUTS = 32  # outputs that choose lambda for all
DUAL_ROWS = 1024  # with no more rows than this, the dual form


def solve_support(problem: Problem, rounds: int = ROUNDS) -> Solution:
    """Fit the non-zero weights only; lambda is chosen on the held-out rows, for all outputs alike."""
    ridge = _choose(problem)
    system = _system(problem)
    weight, bias = problem.start.copy(), np.zeros(problem.y.shape[1])
    for output in range(problem.y.shape[1]):
        weight[:, output], bias[output] = _fit_output(system, problem, output, ridge, rounds)
    return Solution(weight, bias, ridge)


@dataclass(frozen=True)
class _System:
    """What all outputs share: centred rows and their mean, and for the primal form their moments.

    variance: mean squared entry of the centred rows, summed over them: what lambda is relative to.
    """

    x: FloatArray
    x_mean: Matrix
    whole: Moments | None
    variance: float


def _system(problem: Problem) -> _System:
    x, x_mean = centred(problem.x)
    variance = max(float(np.mean(np.square(x, dtype=np.float64))) * len(x), 1e-30)
    whole = moments(x, centred(problem.y)[0]) if len(x) > DUAL_ROWS else None
    return _System(x, x_mean, whole, variance)


def _fit_output(
    system: _System, problem: Problem, output: int, ridge: float, rounds: int
) -> tuple[Matrix, float]:
    """One output's weights and bias, with activation-aware rounds where a clip follows."""
    start = problem.start[:, output]
    support = np.flatnonzero(start)
    y = problem.y[:, output].astype(np.float64)
    weight, shift = start.copy(), float(y.mean())
    if len(support) == 0:
        return weight, shift
    update = _Update(system, support, start[support], ridge)
    weight[support] += update(
        y - shift, None if system.whole is None else system.whole.cross[support, output]
    )
    if problem.bounds is not None:
        low, high = problem.bounds.low, problem.bounds.high
        below, above = y <= low, y >= high
        for _ in range(rounds):
            prediction = update.rows @ weight[support].astype(np.float32) + shift
            target = np.where(
                below, np.minimum(prediction, low), np.where(above, np.maximum(prediction, high), y)
            )
            shift = float(target.mean())
            weight[support] = start[support] + update(target - shift, None)
    return weight, shift - float(system.x_mean @ weight)


class _Update:
    """What to add to one output's supported weights for a centred target, from a factor made once."""

    def __init__(self, system: _System, support: Picks, start: Matrix, ridge: float) -> None:
        self.rows = system.x[:, support]
        self._start = start
        self._dual = system.whole is None
        if system.whole is None:
            wide = self.rows.astype(np.float64)
            self._gram = wide @ wide.T
        else:
            self._gram = system.whole.gram[np.ix_(support, support)]
        relative = ridge * system.variance / max(float(np.mean(np.diag(self._gram))), 1e-30)
        self._factor = factorised(self._gram, relative)

    def __call__(self, target: Matrix, cross: Matrix | None) -> Matrix:
        """cross: rows' target, where it is known already."""
        if self._dual:
            residual = target - self.rows @ self._start
            return self._apply(cho_solve(self._factor, residual, check_finite=False))
        right = self._apply(target) if cross is None else cross
        return np.asarray(cho_solve(self._factor, right - self._gram @ self._start, check_finite=False))

    def _apply(self, values: Matrix) -> Matrix:
        return np.asarray(self.rows.T @ values.astype(np.float32), dtype=np.float64)


def _choose(problem: Problem) -> float:
    """The lambda with the least error of some outputs on the held-out rows, without rounds."""
    test = problem.held_out
    if not test.any() or test.all():
        return RIDGES[len(RIDGES) // 2]
    step = -(-problem.y.shape[1] // TUNING_OUTPUTS)
    some = replace(
        problem, x=problem.x[~test], y=problem.y[~test, ::step], start=problem.start[:, ::step], bounds=None
    )
    system = _system(some)
    x, y = problem.x[test], problem.y[test, ::step]
    errors = []
    for ridge in RIDGES:
        fits = [_fit_output(system, some, output, ridge, 0) for output in range(some.y.shape[1])]
        weight, bias = np.stack([fit[0] for fit in fits], axis=1), np.array([fit[1] for fit in fits])
        errors.append(float(np.sum((x @ weight + bias - y) ** 2)))
    return RIDGES[int(np.argmin(errors))]
