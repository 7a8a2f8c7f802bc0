"""Repair: fit every marked node of a changed model, in graph order, in closed form.

Each fit sees the inputs that the already repaired model really produces, and aims at what the
base model computed there, so later fits absorb what earlier ones could not. A node whose
output is added to a skip connection aims at the sum: the skip's own error is compensated too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import onnx_ir as ir

from hwopt.errors import RewriteFailed
from hwopt.nodes import Array, FloatArray, constant, is_op, label
from hwopt.repair.frontier import Frontier
from hwopt.repair.linear import Linear, Positions, as_linear, bounds_after, write
from hwopt.repair.marks import Origin, fit_of, origin_of
from hwopt.repair.reference import Reference, pick
from hwopt.repair.ridge import Problem, Rows, Solution, solve
from hwopt.repair.support import solve_support


@dataclass(frozen=True)
class Effort:
    """How much is spent on one fit.

    rows: at most this many rows; elements: at most this many numbers in them; rounds: of the
    activation-aware kind.
    """

    rows: int = 50_000
    elements: int = 64_000_000
    rounds: int = 8


FULL = Effort()
Solver = Callable[[Problem], Solution]


def repair(
    reference: Reference,
    changed: ir.Model,
    train_folds: Sequence[int],
    *,
    seed: int,
    effort: Effort = FULL,
) -> ir.Model:
    """A clone of the changed model with all marked weights fitted on these folds.

    The last of several folds chooses the ridge parameter, then all are used. Raises
    RewriteFailed where a mark cannot be honoured.
    """
    chosen = set(reference.recorded)
    samples = [i for i in reference.calibration.samples(train_folds) if i in chosen]
    tuning = (
        set(reference.calibration.samples(train_folds[-1:])) if len(train_folds) > 1 else set(samples[::5])
    )
    fitted = changed.clone()
    if not any(fit_of(node) for node in fitted.graph):
        return fitted
    fitter = _Fitter(reference, fitted, samples, np.array([i in tuning for i in samples]), seed, effort)
    for index, node in enumerate(list(fitted.graph)):
        if fit_of(node) is not None:
            fitter.fit(index, node)
    return fitted


@dataclass(frozen=True)
class _Skip:
    """The sum that a fitted node's output goes into: the sum's name and the other operand's."""

    sum: str
    other: str


@dataclass(frozen=True)
class _Inputs:
    """positions: [recorded samples, positions]; rows: [rows, groups, features]; offset: the skip's values."""

    positions: Positions
    rows: FloatArray
    offset: FloatArray | None


class _Fitter:
    """One repair on its way through the model."""

    def __init__(
        self,
        reference: Reference,
        model: ir.Model,
        samples: Sequence[int],
        tuning: Rows,
        seed: int,
        effort: Effort,
    ) -> None:
        self._reference = reference
        self._model = model
        self._samples = samples
        self._tuning = tuning
        self._seed = seed
        self._effort = effort
        self._frontier = Frontier(reference, model, samples)
        self._base_values = {str(v.name) for node in reference.base.graph for v in node.outputs}

    def fit(self, index: int, node: ir.Node) -> None:
        """Fit one node; all nodes before it are final."""
        linear = as_linear(node)
        fit = fit_of(node)
        if linear is None or fit is None:
            raise RewriteFailed(f"{label(node)}: marked to be fitted, but its weights are not constants")
        self._frontier.advance(index)
        skip = self._skip(index, linear)
        inputs = self._inputs(linear, skip)
        y, real = self._targets(linear, skip, inputs)
        held_out = np.repeat(self._tuning, inputs.positions.shape[1])
        bounds = bounds_after(linear.output)
        solver = partial(solve_support if fit.support else solve, rounds=self._effort.rounds)
        problem = Problem(inputs.rows[:, 0], y, linear.weight[0], held_out, bounds)
        _solve_groups(linear, problem, inputs.rows, real, solver)

    def _skip(self, index: int, linear: Linear) -> _Skip | None:
        """The Add behind the node, where the base has the same sum and the other operand is final."""
        uses = linear.output.uses()
        if linear.output.is_graph_output() or len(uses) != 1:
            return None
        add = next(iter(uses)).node
        total = str(add.outputs[0].name)
        if not is_op(add, "Add") or total not in self._base_values:
            return None
        other = next((v for v in add.inputs if v is not None and v is not linear.output), None)
        if other is None or constant(other) is not None or not self._final(other, index):
            return None
        return _Skip(total, str(other.name))

    def _final(self, value: ir.Value, index: int) -> bool:
        """Whether a value depends on no weight that is still to be fitted."""
        later = {str(n.outputs[0].name) for n in list(self._model.graph)[index:] if fit_of(n)}
        todo, seen = [value], set()
        while todo:
            current = todo.pop()
            name = str(current.name)
            if name in seen:
                continue
            seen.add(name)
            if name in later:
                return False
            producer = current.producer()
            todo.extend(v for v in (producer.inputs if producer else ()) if v is not None)
        return True

    def _inputs(self, linear: Linear, skip: _Skip | None) -> _Inputs:
        """What the repaired model feeds the node at random positions of its output."""
        source = str(linear.input.name)
        names = [source] if skip is None or skip.other == source else [source, skip.other]
        rows_of = self._reference.rows_of(self._samples)
        positions: Positions | None = None
        rows: list[FloatArray] = []
        offsets: list[FloatArray] = []
        for where, values in self._frontier.stream(names):
            if positions is None:
                positions = self._positions(linear, values[source])
            here = positions[rows_of[where]]
            rows.append(linear.rows(values[source], here))
            if skip is not None:
                offsets.append(pick(values[skip.other], here))
        assert positions is not None
        return _Inputs(positions, np.concatenate(rows), np.concatenate(offsets) if offsets else None)

    def _positions(self, linear: Linear, values: Array) -> Positions:
        """[recorded samples, positions]: the same for all repairs of equal effort, folds apart."""
        recorded = len(self._reference.recorded)
        grid = linear.grid(values)
        rows = min(self._effort.rows, max(self._effort.elements // linear.features, 1))
        return draw(self._seed, recorded, grid, min(grid, -(-rows // recorded)))

    def _targets(self, linear: Linear, skip: _Skip | None, inputs: _Inputs) -> tuple[FloatArray, Rows]:
        """What the output should be, [rows, outputs], and which outputs are no padding."""
        origin = origin_of(linear.node) or Origin(str(linear.output.name))
        name = skip.sum if skip else origin.value
        if name not in self._base_values:
            raise RewriteFailed(
                f"{label(linear.node)}: to be fitted to {name!r}, which the base does not have"
            )
        y = self._reference.sampled(name, inputs.positions, self._samples)
        real = np.ones(linear.outputs, dtype=np.bool_)
        if origin.channels is not None:
            index = np.array(origin.channels, dtype=np.int64)
            y, real = y[..., np.maximum(index, 0)], index >= 0
        if y.shape[-1] != linear.outputs:
            raise RewriteFailed(
                f"{label(linear.node)}: has {linear.outputs} outputs, but {name!r} has {y.shape[-1]} channels"
            )
        if inputs.offset is not None:
            y = y - inputs.offset
        return y.reshape(len(inputs.rows), -1), real


def draw(seed: int, samples: int, grid: int, count: int) -> Positions:
    """Random positions without repetition, other ones for every sample: [samples, count]."""
    if count >= grid:
        return np.tile(np.arange(grid, dtype=np.int64), (samples, 1))
    random = np.random.default_rng([seed, grid]).random((samples, grid), dtype=np.float32)
    return np.argsort(random, axis=1, kind="stable")[:, :count].astype(np.int64)


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
