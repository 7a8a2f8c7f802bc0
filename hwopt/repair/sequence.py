"""Repair: fit every marked node of a changed model, in graph order, in closed form.

Each fit sees the inputs that the already repaired model really produces, and aims at what the
base model computed there, so later fits absorb what earlier ones could not. A node whose
output is added to a skip connection aims at the sum: the skip's own error is compensated too.
A convolution and the projection behind its activation are fitted together where both are marked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from hwopt.errors import RewriteFailed
from hwopt.nodes import FloatArray, label
from hwopt.repair.block import block_behind, fit_block
from hwopt.repair.constrained import Solver, companions, solver_of
from hwopt.repair.downstream import absorbers
from hwopt.repair.effort import FULL, Effort
from hwopt.repair.gather import Gatherer
from hwopt.repair.linear import Bounds, Linear, as_linear, bounds_after, write
from hwopt.repair.marks import Fit, fit_of, request_fit, withdraw_fit
from hwopt.repair.reference import Reference
from hwopt.repair.ridge import Problem, Rows
from hwopt.repair.telling import Seen, tell
from hwopt.threads import one_blas_thread
from hwopt.trace import Listeners

__all__ = ["FULL", "Effort", "repair"]

# Rows per feature below which an untouched node absorbs nothing. Samples that fitted what stands
# before it show less error than others do, so a scarce fit learns the wrong error. EfficientNet-Lite0
# with 200 images: refitting five 7x7 projections (9 to 15 rows per feature) behind two shrunken kernels
# doubled the divergence, refitting its head (31) behind six of them raised it from .18 to .24.
ENOUGH = 50


def repair(
    reference: Reference,
    changed: ir.Model,
    train_folds: Sequence[int],
    *,
    seed: int,
    effort: Effort = FULL,
    listeners: Listeners = (),
) -> ir.Model:
    """A clone of the changed model with all marked weights fitted on these folds.

    The last of several folds chooses the ridge parameter, then all are used. Untouched
    projections downstream are refitted as well, as many as the effort says. listeners: hear of every
    node that was fitted. Raises RewriteFailed where a mark cannot be honoured.
    """
    fitted = changed.clone()
    order = list(fitted.graph)
    if not any(fit_of(node) for node in order):
        return fitted
    extra = absorbers(reference.base, fitted, effort.downstream)
    extra += [node for node in companions(reference.base, fitted) if node not in extra]
    for node in extra:
        request_fit(node)
    samples, tuning = _samples(reference, train_folds)
    gatherer = Gatherer(reference, fitted, samples, seed, effort)
    fitter = _Fitter(gatherer, order, tuning, effort, frozenset(extra), listeners)
    done: set[int] = set()
    with one_blas_thread():
        for index, node in enumerate(order):
            if fit_of(node) is not None and index not in done:
                reference.go_on()
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

    def __init__(
        self,
        gatherer: Gatherer,
        order: Sequence[ir.Node],
        tuning: Rows,
        effort: Effort,
        absorbing: frozenset[ir.Node],
        listeners: Listeners,
    ) -> None:
        self._gatherer = gatherer
        self._absorbing = absorbing
        self._order = order
        self._tuning = tuning
        self._effort = effort
        self._listeners = listeners

    def fit(self, index: int) -> set[int]:
        """Fit the node at that index, with its projection where they go together: the indices done."""
        node = self._order[index]
        linear, fit = _linear(node), fit_of(node)
        assert fit is not None
        self._gatherer.advance(index)
        block = block_behind(linear, fit)
        if block is None:
            self._fit_alone(index, linear, fit, bounds_after(linear.output))
            return {index}
        fit_block(block, index, self._gatherer, self._tuning, self._effort, self._listeners)
        return {index, next(i for i, other in enumerate(self._order) if other is block.project.node)}

    def _fit_alone(self, index: int, linear: Linear, fit: Fit, bounds: Bounds | None) -> None:
        skip = self._gatherer.skip(index, linear)
        free = linear.pointwise and bounds is None and not fit.constrained  # rows are read once: many will do
        inputs = self._gatherer.inputs(linear, skip, self._effort.pool if free else self._effort.rows)
        if linear.node in self._absorbing and len(inputs.rows) < ENOUGH * linear.features:
            return
        y, real = self._gatherer.targets(linear, skip, inputs)
        held_out = np.repeat(self._tuning, inputs.per_sample)
        rounds = self._rounds(linear, len(held_out))
        solver = solver_of(fit, linear, rounds)
        flat = y.reshape(len(held_out), -1)
        problem = Problem(inputs.rows[:, 0], flat, linear.weight[0], held_out, bounds)
        before = as_linear(linear.node) if self._listeners else None  # `linear` may hold older weights
        _solve_groups(linear, problem, inputs.rows, real, solver)
        if before is not None:
            self._tell(before, Seen(inputs.rows, flat, real, bounds))

    def _tell(self, before: Linear, seen: Seen) -> None:
        after = as_linear(before.node)
        assert after is not None
        errors = (seen.error(before), seen.error(after))
        tell(self._listeners, before.node, errors, before.node in self._absorbing)

    def _rounds(self, linear: Linear, rows: int) -> int:
        """Activation-aware rounds that the effort allows for this fit."""
        groups, features, outputs = linear.shape
        return self._effort.affordable(self._effort.rounds, rows, groups * features, outputs)


def _linear(node: ir.Node) -> Linear:
    linear = as_linear(node)
    if linear is None:
        raise RewriteFailed(f"{label(node)}: marked to be fitted, but its weights are not constants")
    fit = fit_of(node)
    return linear if fit is None or fit.dense is None else replace(linear, given=fit.dense)


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
