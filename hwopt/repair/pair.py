"""A convolution, its activation, maybe a gate, and the projection behind, fitted together.

    minimise |(g * f(X W + b)) P + p - Y|^2

Block coordinate descent that starts from the separate closed-form fits. With (W, b) fixed the
projection is a ridge regression. With (P, p) fixed a Gauss-Newton step with a factored curvature
(Martens & Grosse, "Optimizing Neural Networks with Kronecker-factored Approximate Curvature",
ICML 2015, section 3): the residual is pulled back through P and the slope of g * f, divided by
the units' own curvature, and regressed on X with a Cholesky factor of X'X that is computed once.
Rows are read in turns (a step sees some of them), with momentum, and the step shrinks to zero
over the second half of the rounds. The gate g is held still meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve

from hwopt.activations import Activation
from hwopt.nodes import FloatArray
from hwopt.repair.linear import Matrix
from hwopt.repair.ridge import Problem, Rows, centred, factorised, loaded, moments, product, solve

Picks = npt.NDArray[np.int64]

TURN = 6_000  # rows in one step, at least
TURN_PER_FEATURE = 10  # many small steps beat few large ones; fewer rows make a step mostly noise
MOMENTUM = 0.9
PACE = 0.08  # with this momentum the steps sum up to a little less than Newton's
DAMPING = 0.05  # of the units' curvature, times its mean
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
    """x: [rows, features], centred; y: [rows, outputs]; held_out: rows to judge by where rows are scarce.

    activation: of a kind in `activations.FITTED`; gate: [rows, hidden], factors behind it.
    """

    x: FloatArray
    y: FloatArray
    held_out: Rows
    activation: Activation
    ridge: float
    gate: FloatArray | None = None

    def of(self, rows: Picks | Rows | slice) -> PairProblem:
        """The problem on some of its rows."""
        gate = None if self.gate is None else self.gate[rows]
        return replace(self, x=self.x[rows], y=self.y[rows], held_out=self.held_out[rows], gate=gate)


def hidden(problem: PairProblem, pair: Pair) -> tuple[FloatArray, FloatArray]:
    """Before the activation, and behind activation and gate, in single precision."""
    before = problem.x @ pair.weight.astype(np.float32) + pair.bias.astype(np.float32)
    after = problem.activation.apply(before)
    return before, after if problem.gate is None else after * problem.gate


def fit_pair(problem: PairProblem, start: Pair, rounds: int) -> Pair:
    """Improve a pair that was fitted separately; never worse than the start on the rows that judge."""
    scarce = len(problem.x) < SCARCE * problem.x.shape[1]
    train = np.flatnonzero(~problem.held_out) if scarce else np.arange(len(problem.x))
    judge = np.flatnonzero(problem.held_out) if scarce else train
    judged = problem.of(judge[:: max(-(-len(judge) // JUDGED), 1)])
    gram = moments(problem.x[train] if scarce else problem.x, problem.y[train][:, :0]).gram / len(train)
    factor = factorised(gram, max(problem.ridge, RIDGE_FLOOR))
    turns = -(-len(train) // step_rows(problem))
    pair, momentum = start, (np.zeros_like(start.weight), np.zeros_like(start.bias))
    best, least = start, _error(judged, start)
    for step in range(rounds):
        pace = PACE * min(1.0, 2.0 * (1.0 - step / rounds))
        pair, change = _step(problem.of(train[step % turns :: turns]), pair, factor, pace)
        momentum = (change[0] + MOMENTUM * momentum[0], change[1] + MOMENTUM * momentum[1])
        pair = replace(pair, weight=pair.weight + momentum[0], bias=pair.bias + momentum[1])
        if step + 1 == rounds or (scarce and step % CHECK_EVERY == 0):
            error = _error(judged, pair)
            best, least = (pair, error) if error < least else (best, least)
    return best


def step_rows(problem: PairProblem) -> int:
    """How many rows one step reads."""
    rows, features = (int(size) for size in problem.x.shape)
    return min(rows, max(TURN, TURN_PER_FEATURE * features))


def _step(
    problem: PairProblem, pair: Pair, factor: tuple[Matrix, bool], pace: float
) -> tuple[Pair, tuple[Matrix, Matrix]]:
    """The projection for these rows, and the Gauss-Newton change of weight and bias."""
    before, after = hidden(problem, pair)
    projection, shift = project(after, problem.y, pair.projection, PROJECTION_RIDGE)
    residual = problem.y - (after @ projection.astype(np.float32) + shift.astype(np.float32))
    slope = problem.activation.slope(before)
    slope = slope if problem.gate is None else slope * problem.gate
    pulled = slope * (residual @ projection.T.astype(np.float32))
    change = pulled @ np.linalg.inv(_curvature(slope, projection)).astype(np.float32)
    update: Matrix = cho_solve(factor, product(problem.x, change) / len(change), check_finite=False)
    bias: Matrix = change.mean(axis=0, dtype=np.float64)
    return replace(pair, projection=projection, shift=shift), (pace * update, pace * bias)


def _curvature(slope: FloatArray, projection: Matrix) -> Matrix:
    """[hidden, hidden]: how changes before the activation add up in the output, damped.

    Two units interact as far as their projections agree and as often as both have a slope.
    """
    together = product(slope, slope) / len(slope)
    return loaded(together * (projection @ projection.T), DAMPING)


def project(h: FloatArray, y: FloatArray, start: Matrix, ridge: float) -> tuple[Matrix, Matrix]:
    """Ridge regression of y on the hidden values towards a projection: projection and shift."""
    h_centred, h_mean = centred(h)
    y_centred, y_mean = centred(y)
    found = moments(h_centred, y_centred)
    factor = factorised(found.gram, ridge)
    projection = start + cho_solve(factor, found.cross - found.gram @ start, check_finite=False)
    return projection, y_mean - h_mean @ projection


def _error(problem: PairProblem, pair: Pair) -> float:
    """Mean squared error of a pair."""
    if len(problem.x) == 0:
        return 0.0
    after = hidden(problem, pair)[1]
    error = after @ pair.projection.astype(np.float32) + pair.shift.astype(np.float32) - problem.y
    return float(np.mean(np.square(error, dtype=np.float64)))


def final_projection(problem: PairProblem, pair: Pair, start: Matrix) -> Pair:
    """The pair with its projection refitted on all rows, lambda chosen on the held-out ones."""
    after = hidden(problem, pair)[1]
    solution = solve(Problem(after, problem.y, start, problem.held_out))
    return replace(pair, projection=solution.weight, shift=solution.bias)
