"""A convolution, its clipping activation and the projection behind it, fitted together.

    minimise |clip(X W + b) P + p - Y|^2

Block coordinate descent that starts from the separate closed-form fits. With (W, b) fixed the
projection is a ridge regression. With (P, p) fixed a Gauss-Newton step: the residual is pulled
back through the damped pseudo-inverse of P to a change of the hidden activations, units that
are clipped stand still, and the change is regressed on X with a Cholesky factor of X'X that is
computed once. Rows are read in turns (a step sees some of them), with momentum, and the step
shrinks to zero over the second half of the rounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve

from hwopt.nodes import FloatArray
from hwopt.repair.linear import Bounds, Matrix
from hwopt.repair.ridge import Problem, Rows, centred, factorised, loaded, moments, product, solve

Picks = npt.NDArray[np.int64]

TURN = 4_000  # rows in one step, at least
TURN_PER_FEATURE = 24  # fewer rows per feature make a step mostly noise
MOMENTUM = 0.9
DAMPING = 0.1  # of the pseudo-inverse, times the mean squared singular value
PROJECTION_RIDGE = 1e-2  # within a round, towards the projection of the round before
RIDGE_FLOOR = 1e-4
SCARCE = 30  # rows per feature below which the best round is chosen on held-out rows
CHECK_EVERY = 5
JUDGED = 10_000


@dataclass(frozen=True)
class Pair:
    """weight [features, hidden], bias [hidden] and projection [hidden, outputs], shift [outputs]."""

    weight: Matrix
    bias: Matrix
    projection: Matrix
    shift: Matrix


@dataclass(frozen=True)
class PairProblem:
    """x: [rows, features], centred; y: [rows, outputs]; held_out: rows to judge by where rows are scarce."""

    x: FloatArray
    y: FloatArray
    held_out: Rows
    bounds: Bounds
    ridge: float


def hidden(x: FloatArray, pair: Pair, bounds: Bounds) -> tuple[FloatArray, FloatArray]:
    """Before and after the activation, in single precision."""
    before = x @ pair.weight.astype(np.float32) + pair.bias.astype(np.float32)
    return before, np.clip(before, bounds.low, bounds.high).astype(np.float32, copy=False)


def fit_pair(problem: PairProblem, start: Pair, rounds: int) -> Pair:
    """Improve a pair that was fitted separately; never worse than the start on the rows that judge."""
    scarce = len(problem.x) < SCARCE * problem.x.shape[1]
    train = np.flatnonzero(~problem.held_out) if scarce else np.arange(len(problem.x))
    judge = np.flatnonzero(problem.held_out) if scarce else train
    judge = judge[:: -(-len(judge) // JUDGED)]
    gram = moments(problem.x[train] if scarce else problem.x, problem.y[train][:, :0]).gram / len(train)
    factor = factorised(gram, max(problem.ridge, RIDGE_FLOOR))
    turns = -(-len(train) // step_rows(problem))
    pair, momentum = start, (np.zeros_like(start.weight), np.zeros_like(start.bias))
    best, least = start, _error(problem, judge, start)
    for step in range(rounds):
        rows = train[step % turns :: turns]
        pace = min(1.0, 2.0 * (1.0 - step / rounds))
        pair, change = _step(problem, rows, pair, factor, pace)
        momentum = (change[0] + MOMENTUM * momentum[0], change[1] + MOMENTUM * momentum[1])
        pair = Pair(pair.weight + momentum[0], pair.bias + momentum[1], pair.projection, pair.shift)
        if step + 1 == rounds or (scarce and step % CHECK_EVERY == 0):
            error = _error(problem, judge, pair)
            best, least = (pair, error) if error < least else (best, least)
    return best


def step_rows(problem: PairProblem) -> int:
    """How many rows one step reads."""
    rows, features = (int(size) for size in problem.x.shape)
    return min(rows, max(TURN, TURN_PER_FEATURE * features))


def _step(
    problem: PairProblem,
    rows: Picks,
    pair: Pair,
    factor: tuple[Matrix, bool],
    pace: float,
) -> tuple[Pair, tuple[Matrix, Matrix]]:
    """The projection for these rows, and the Gauss-Newton change of weight and bias."""
    x, y = problem.x[rows], problem.y[rows]
    before, after = hidden(x, pair, problem.bounds)
    projection, shift = project(after, y, pair.projection, PROJECTION_RIDGE)
    residual = y - (after @ projection.astype(np.float32) + shift.astype(np.float32))
    wanted = after + residual @ _pseudo_inverse(projection).astype(np.float32)
    low, high = problem.bounds.low, problem.bounds.high
    free = (before > low) & (before < high)
    change = np.where(free, np.clip(wanted, low, high) - before, np.float32(0))
    update: Matrix = cho_solve(factor, product(x, change) / len(x), check_finite=False)
    bias: Matrix = change.mean(axis=0, dtype=np.float64)
    return Pair(pair.weight, pair.bias, projection, shift), (pace * update, pace * bias)


def _pseudo_inverse(projection: Matrix) -> Matrix:
    """[outputs, hidden]: the damped least-norm change of the hidden values for a change of the output."""
    inner = loaded(np.asarray(projection.T @ projection, dtype=np.float64), DAMPING)
    return np.asarray(np.linalg.solve(inner, projection.T), dtype=np.float64)


def project(h: FloatArray, y: FloatArray, start: Matrix, ridge: float) -> tuple[Matrix, Matrix]:
    """Ridge regression of y on the hidden values towards a projection: projection and shift."""
    h_centred, h_mean = centred(h)
    y_centred, y_mean = centred(y)
    found = moments(h_centred, y_centred)
    factor = factorised(found.gram, ridge)
    projection = start + cho_solve(factor, found.cross - found.gram @ start, check_finite=False)
    return projection, y_mean - h_mean @ projection


def _error(problem: PairProblem, rows: Picks, pair: Pair) -> float:
    """Mean squared error of a pair on some rows."""
    if len(rows) == 0:
        return 0.0
    after = hidden(problem.x[rows], pair, problem.bounds)[1]
    y = problem.y[rows]
    error = after @ pair.projection.astype(np.float32) + pair.shift.astype(np.float32) - y
    return float(np.mean(np.square(error, dtype=np.float64)))


def final_projection(problem: PairProblem, pair: Pair, start: Matrix) -> Pair:
    """The pair with its projection refitted on all rows, lambda chosen on the held-out ones."""
    after = hidden(problem.x, pair, problem.bounds)[1]
    solution = solve(Problem(after, problem.y, start, problem.held_out))
    return Pair(pair.weight, pair.bias, solution.weight, solution.bias)
