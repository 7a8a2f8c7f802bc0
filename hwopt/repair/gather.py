"""The data of one fit: rows of what the repaired model feeds a node, and targets from the base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from hwopt.errors import RewriteFailed
from hwopt.nodes import Array, FloatArray, constant, is_op, label
from hwopt.repair.effort import Effort
from hwopt.repair.frontier import Frontier
from hwopt.repair.linear import Linear, Positions
from hwopt.repair.marks import Origin, fit_of, origin_of
from hwopt.repair.reference import Reference, pick
from hwopt.repair.ridge import Rows

BORDER_WEIGHT = 2  # how often a position that sees padding may be drawn, for one time in the interior


@dataclass(frozen=True)
class Skip:
    """The sum that a fitted node's output goes into: the sum's name and the other operand's."""

    sum: str
    other: str


@dataclass(frozen=True)
class Inputs:
    """What a node sees.

    positions: [recorded samples, positions]; rows: [samples * positions, groups, features];
    offset: [samples, positions, outputs], the other operand of the sum behind, where there is one.
    """

    positions: Positions
    rows: FloatArray
    offset: FloatArray | None

    @property
    def per_sample(self) -> int:
        return int(self.positions.shape[1])


class Gatherer:
    """Collects rows and targets for the nodes of one changed model, in graph order."""

    def __init__(
        self, reference: Reference, model: ir.Model, samples: Sequence[int], seed: int, effort: Effort
    ) -> None:
        self._reference = reference
        self._samples = samples
        self._seed = seed
        self._effort = effort
        self._order = list(model.graph)
        self._frontier = Frontier(reference, model, samples)
        self._base_values = {str(v.name) for node in reference.base.graph for v in node.outputs}

    def advance(self, index: int) -> None:
        """Say that all nodes before this one are final."""
        self._frontier.advance(index)

    def skip(self, index: int, linear: Linear) -> Skip | None:
        """The Add behind a node, where the base has the same sum and the other operand is final.

        index: the first node that is not final, apart from this one.
        """
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
        return Skip(total, str(other.name))

    def _final(self, value: ir.Value, index: int) -> bool:
        """Whether a value depends on no weight that is still to be fitted."""
        later = {str(node.outputs[0].name) for node in self._order[index:] if fit_of(node)}
        todo, seen = [value], set[str]()
        while todo:
            current = todo.pop()
            name = str(current.name)
            if name in later:
                return False
            producer = current.producer()
            if name not in seen and producer is not None:
                todo.extend(v for v in producer.inputs if v is not None)
            seen.add(name)
        return True

    def inputs(self, linear: Linear, skip: Skip | None, rows: int) -> Inputs:
        """What the repaired model feeds a node at random positions of its output, `rows` at most."""
        source = str(linear.input.name)
        names = [source] if skip is None or skip.other == source else [source, skip.other]
        at = self._reference.rows_of(self._samples)
        positions: Positions | None = None
        found: list[FloatArray] = []
        offsets: list[FloatArray] = []
        for where, values in self._frontier.stream(names):
            if positions is None:
                positions = self._positions(linear, values[source], rows)
            here = positions[at[where]]
            found.append(linear.rows(values[source], here))
            if skip is not None:
                offsets.append(pick(values[skip.other], here))
        assert positions is not None
        return Inputs(positions, np.concatenate(found), np.concatenate(offsets) if offsets else None)

    def factors(self, name: str, inputs: Inputs) -> FloatArray:
        """A gate's factors for every row: [samples * positions, channels], as the model now computes them.

        name: a value [samples, channels, height, width] of one pixel or of all.
        """
        at = self._reference.rows_of(self._samples)
        found: list[FloatArray] = []
        for where, values in self._frontier.stream([name]):
            here, value = inputs.positions[at[where]], values[name]
            if value.shape[2:] == (1, 1):
                here = np.zeros_like(here)
            found.append(pick(value, here).reshape(-1, value.shape[1]))
        return np.concatenate(found)

    def _positions(self, linear: Linear, values: Array, rows: int) -> Positions:
        """Positions for every recorded sample: the same for all repairs of equal effort, folds apart."""
        recorded = len(self._reference.recorded)
        most = min(rows, max(self._effort.elements // linear.features, 1))
        border = linear.border(values)
        slots = np.concatenate([np.arange(len(border)), np.repeat(np.flatnonzero(border), BORDER_WEIGHT - 1)])
        return slots[draw(self._seed, recorded, len(slots), min(len(slots), -(-most // recorded)))]

    def targets(self, linear: Linear, skip: Skip | None, inputs: Inputs) -> tuple[FloatArray, Rows]:
        """What the output should be, [samples, positions, outputs], and which outputs are no padding."""
        origin = origin_of(linear.node) or Origin(str(linear.output.name))
        name = skip.sum if skip else origin.value
        if name not in self._base_values:
            raise RewriteFailed(f"{label(linear.node)}: fitted to {name!r}, which the base does not have")
        y = self._reference.sampled(name, inputs.positions, self._samples)
        real = np.ones(linear.outputs, dtype=np.bool_)
        if origin.channels is not None:
            index = np.array(origin.channels, dtype=np.int64)
            y, real = y[..., np.maximum(index, 0)], index >= 0
        if y.shape[-1] != linear.outputs:
            raise RewriteFailed(
                f"{label(linear.node)}: has {linear.outputs} outputs, but {name!r} has {y.shape[-1]} channels"
            )
        return (y if inputs.offset is None or skip is None else y - inputs.offset), real


def draw(seed: int, samples: int, grid: int, count: int) -> Positions:
    """Random positions without repetition, other ones for every sample: [samples, count].

    Fewer positions are a prefix of more, so every prefix is random too.
    """
    random = np.random.default_rng([seed, grid]).random((samples, grid), dtype=np.float32)
    return np.argsort(random, axis=1, kind="stable")[:, :count].astype(np.int64)
