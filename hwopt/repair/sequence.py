"""Repair: fit every marked node of a changed model, in graph order, in closed form.

Each fit sees the inputs that the already repaired model really produces, and aims at what the
base model computed there, so later fits absorb what earlier ones could not. A node whose
output is added to a skip connection aims at the sum: the skip's own error is compensated too.
A convolution and the projection behind its activation are fitted together where both are marked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from hwopt.activations import FITTED, NONE, Activation
from hwopt.bottleneck import Gate, tail_of
from hwopt.errors import RewriteFailed
from hwopt.nodes import FloatArray, label
from hwopt.repair.constrained import Solver, solver_of
from hwopt.repair.downstream import absorbers
from hwopt.repair.effort import FULL, Effort
from hwopt.repair.gather import Gatherer, Inputs
from hwopt.repair.linear import Bounds, Linear, Matrix, as_linear, bounds_after, write
from hwopt.repair.marks import Fit, fit_of, request_fit, withdraw_fit
from hwopt.repair.pair import (
    RIDGE_FLOOR,
    Pair,
    PairProblem,
    final_projection,
    fit_pair,
    hidden,
    project,
    step_rows,
)
from hwopt.repair.reference import Reference
from hwopt.repair.ridge import Problem, Rows, centred, solve
from hwopt.threads import one_blas_thread

__all__ = ["FULL", "Effort", "repair"]

GATE_TURNS = 2  # a gate is held still while a pair is fitted, then computed anew


def repair(
    reference: Reference,
    changed: ir.Model,
    train_folds: Sequence[int],
    *,
    seed: int,
    effort: Effort = FULL,
) -> ir.Model:
    """A clone of the changed model with all marked weights fitted on these folds.

    The last of several folds chooses the ridge parameter, then all are used. Untouched
    projections downstream are refitted as well, as many as the effort says. Raises
    RewriteFailed where a mark cannot be honoured.
    """
    fitted = changed.clone()
    order = list(fitted.graph)
    if not any(fit_of(node) for node in order):
        return fitted
    extra = absorbers(reference.base, fitted, effort.downstream)
    for node in extra:
        request_fit(node)
    samples, tuning = _samples(reference, train_folds)
    fitter = _Fitter(Gatherer(reference, fitted, samples, seed, effort), order, tuning, effort)
    done: set[int] = set()
    with one_blas_thread():
        for index, node in enumerate(order):
            if fit_of(node) is not None and index not in done:
                done |= fitter.fit(index)
    for node in extra:
        withdraw_fit(node)
    return fitted


def _samples(reference: Reference, folds: Sequence[int]) -> tuple[list[int], Rows]:
    """The recorded samples of these folds with their variants, and which of them choose lambda.

    A variant goes where its sample goes: it stands on no other side of a cross-fit.
    """
    samples = list(reference.training(folds))
    origins = [reference.calibration.origin(i) for i in samples]
    last = reference.calibration.samples(folds[-1:]) if len(folds) > 1 else sorted(set(origins))[::5]
    return samples, np.isin(origins, last)


class _Fitter:
    """One repair on its way through the model."""

    def __init__(self, gatherer: Gatherer, order: Sequence[ir.Node], tuning: Rows, effort: Effort) -> None:
        self._gatherer = gatherer
        self._order = order
        self._tuning = tuning
        self._effort = effort

    def fit(self, index: int) -> set[int]:
        """Fit the node at that index, with its projection where they go together: the indices done."""
        node = self._order[index]
        linear, fit = _linear(node), fit_of(node)
        assert fit is not None
        self._gatherer.advance(index)
        partner = _partner(linear, fit)
        if partner is None:
            self._fit_alone(index, linear, fit, bounds_after(linear.output))
            return {index}
        self._fit_pair(index, linear, partner)
        return {index, next(i for i, other in enumerate(self._order) if other is partner.linear.node)}

    def _fit_alone(self, index: int, linear: Linear, fit: Fit, bounds: Bounds | None) -> None:
        skip = self._gatherer.skip(index, linear)
        inputs = self._gatherer.inputs(linear, skip, self._effort.rows)
        y, real = self._gatherer.targets(linear, skip, inputs)
        held_out = np.repeat(self._tuning, inputs.per_sample)
        rounds = self._rounds(linear, len(held_out))
        solver = solver_of(fit, linear, rounds)
        flat = y.reshape(len(held_out), -1)
        problem = Problem(inputs.rows[:, 0], flat, linear.weight[0], held_out, bounds)
        _solve_groups(linear, problem, inputs.rows, real, solver)

    def _fit_pair(self, index: int, linear: Linear, partner: _Partner) -> None:
        """A convolution and its projection: first each by itself, then together."""
        skip = self._gatherer.skip(index, partner.linear)
        inputs = self._gatherer.inputs(linear, skip, self._effort.pool)
        z, kept = self._gatherer.targets(linear, None, inputs)
        y, real = self._gatherer.targets(partner.linear, skip, inputs)
        held_out = np.repeat(self._tuning, inputs.per_sample)
        some = self._thinned(inputs.per_sample)
        x, mean = centred(inputs.rows[:, 0])
        z = z.reshape(len(x), -1)[some][:, kept]
        alone = Problem(x[some], z, linear.weight[0][:, kept], held_out[some], bounds_after(linear.output))
        first = solve(alone, self._rounds(linear, len(z)))
        y = y.reshape(len(x), -1)[:, real]
        problem = PairProblem(x, y, held_out, partner.activation, first.ridge)
        start = partner.linear.weight[0][kept][:, real]
        pair = Pair(first.weight, first.bias, start, np.zeros(y.shape[1]))
        rounds = self._effort.affordable(
            self._effort.joint_rounds, step_rows(problem), linear.features, linear.outputs
        )
        turns = 1 if partner.gate is None else GATE_TURNS
        for _ in range(turns):
            problem = self._gated(problem, pair, mean, linear, partner, inputs, kept)
            thin = problem.of(some)
            projection, shift = project(hidden(thin, pair)[1], thin.y, start, RIDGE_FLOOR)
            pair = fit_pair(problem, replace(pair, projection=projection, shift=shift), rounds // turns)
        problem = self._gated(problem, pair, mean, linear, partner, inputs, kept)
        pair = final_projection(problem, pair, start)
        _write_pair(linear, partner.linear, replace(pair, bias=pair.bias - mean @ pair.weight), kept, real)

    def _gated(
        self,
        problem: PairProblem,
        pair: Pair,
        mean: Matrix,
        linear: Linear,
        partner: _Partner,
        inputs: Inputs,
        kept: Rows,
    ) -> PairProblem:
        """The problem with the gate's factors as they are behind the pair's convolution."""
        if partner.gate is None:
            return problem
        weight, bias = linear.weight.copy(), linear.bias.copy()
        weight[0][:, kept], bias[kept] = pair.weight, pair.bias - mean @ pair.weight
        write(linear, weight, bias)
        factors = self._gatherer.factors(str(partner.gate.factor.name), inputs)
        return replace(problem, gate=np.ascontiguousarray(factors[:, kept]))

    def _rounds(self, linear: Linear, rows: int) -> int:
        """Activation-aware rounds that the effort allows for this fit."""
        groups, features, outputs = linear.weight.shape
        return self._effort.affordable(self._effort.rounds, rows, groups * features, outputs)

    def _thinned(self, per_sample: int) -> Rows:
        """The rows for closed-form fits: the first positions of every sample, `effort.rows` in all."""
        first = min(per_sample, -(-self._effort.rows // len(self._tuning)))
        return np.tile(np.arange(per_sample) < first, len(self._tuning))


def _linear(node: ir.Node) -> Linear:
    linear = as_linear(node)
    if linear is None:
        raise RewriteFailed(f"{label(node)}: marked to be fitted, but its weights are not constants")
    fit = fit_of(node)
    return linear if fit is None or fit.dense is None else replace(linear, weight=fit.dense)


@dataclass(frozen=True)
class _Partner:
    """The projection behind a convolution, and what stands between them."""

    linear: Linear
    activation: Activation
    gate: Gate | None


def _partner(linear: Linear, fit: Fit) -> _Partner | None:
    """The marked projection behind a dense convolution, where something not linear stands between them."""
    if fit.constrained or linear.weight.shape[0] != 1 or linear.window is None:
        return None
    tail = tail_of(linear.output)
    other = None if tail is None else fit_of(tail.project.node)
    if tail is None or other is None or other.constrained or (tail.activation is None and tail.gate is None):
        return None
    activation = NONE if tail.activation is None else tail.activation.activation
    if activation.kind not in FITTED:
        return None
    return _Partner(_linear(tail.project.node), activation, tail.gate)


def _solve_groups(linear: Linear, problem: Problem, rows: FloatArray, real: Rows, solver: Solver) -> None:
    """Fit every group of the node and write the weights; outputs that are padding stay as they are.

    problem: holds the targets of all outputs; its x and start are filled in group by group.
    """
    weight, bias = linear.weight.copy(), linear.bias.copy()
    groups, _, per_group = weight.shape
    for group in range(groups):
        columns = np.flatnonzero(real[group * per_group : (group + 1) * per_group])
        if len(columns) == 0:
            continue
        outputs = group * per_group + columns
        solution = solver(
            replace(problem, x=rows[:, group], y=problem.y[:, outputs], start=weight[group][:, columns])
        )
        weight[group][:, columns] = solution.weight
        bias[outputs] = solution.bias
    write(linear, weight, bias)


def _write_pair(linear: Linear, partner: Linear, pair: Pair, kept: Rows, real: Rows) -> None:
    """Write both nodes; padded channels keep their zeros."""
    weight, bias = linear.weight.copy(), linear.bias.copy()
    weight[0][:, kept], bias[kept] = pair.weight, pair.bias
    write(linear, weight, bias)
    weight, bias = partner.weight.copy(), partner.bias.copy()
    weight[0][np.ix_(kept, real)], bias[real] = pair.projection, pair.shift
    write(partner, weight, bias)
