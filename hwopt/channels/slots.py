"""Where the channels of a group stand: axes of tensors, of constants, and numbers that count them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from hwopt.edit import add_constant, drop_if_unused, set_attribute, set_constant
from hwopt.nodes import Array, attr_int, attr_ints, constant_array

PADDING = -1  # in a selection: a new channel that is zero everywhere


@dataclass(frozen=True)
class Lane:
    """The part of one tensor axis that a group's channels take up.

    rank: of the tensor, None where it is not known. start, total: the first of the group's channels
    and the number of all channels on the axis. block: entries of the axis per channel, more than
    one behind a Flatten or a channel multiplier; None where only a weight will tell.
    """

    value: ir.Value
    axis: int
    rank: int | None
    start: int
    total: int
    block: int | None = 1

    def at(self, value: ir.Value) -> Lane:
        """The same part of another tensor of the same layout."""
        return replace(self, value=value)


@dataclass(frozen=True)
class Slot:
    """A part of one axis of one constant that has `block` entries per channel of the group.

    side: "out" produces the channels, "in" mixes them, "through" keeps them apart. groups: of a
    grouped convolution that mixes them, whose weight holds the channels of one group per output.
    fill: what a padded channel gets there.
    """

    node: ir.Node
    input: int
    axis: int
    side: str
    start: int = 0
    width: int = 0
    block: int = 1
    groups: int = 1
    fill: float = 0.0

    def dims_after(self, dims: Sequence[int], channels: int) -> tuple[int, ...]:
        """The shape of the constant when the group has that many channels, from its shape now."""
        new = list(dims)
        new[self.axis] += (channels - self.width) * self.block // self.groups
        return tuple(new)

    def taken(self, array: Array, selection: Sequence[int]) -> Array:
        """The constant with its channels selected."""
        if self.groups == 1:
            return select(array, self.axis, self.indices(array.shape[self.axis], selection), self.fill)
        rows, columns = np.split(array, self.groups), self.width // self.groups
        parts = []
        for number, chosen in enumerate(np.split(np.asarray(selection, np.int64), self.groups)):
            local = np.where(chosen == PADDING, PADDING, chosen - number * columns)
            parts.append(select(rows[number], self.axis, local, self.fill))
        return np.concatenate(parts)

    def indices(self, size: int, selection: Sequence[int]) -> list[int]:
        """For each entry of the new axis the old one, or PADDING; what is not the group's stays."""
        begin, end = self.start * self.block, (self.start + self.width) * self.block
        own = [
            PADDING if channel == PADDING else begin + channel * self.block + entry
            for channel in selection
            for entry in range(self.block)
        ]
        return [*range(begin), *own, *range(end, size)]


@dataclass(frozen=True)
class Count:
    """A number in a node that counts channels: an attribute, or an entry of a constant shape.

    name: the attribute, "" for an input; index: the input; entry: which number of several.
    start: of the lane that it counts, at the node's input. total: what is split, for a Split that does
    not say into what.
    """

    node: ir.Node
    name: str
    index: int
    entry: int
    start: int
    block: int = 1
    total: int = 0

    def add(self, channels: int) -> None:
        """Corrects the number after the group grew by some channels."""
        delta = channels * self.block
        if self.name == "split":
            set_split(self.node, self.entry, delta, self.total)
        elif self.name:
            set_attribute(self.node, self.name, attr_int(self.node, self.name, 1) + delta)
        else:
            array = constant_array(self.node.inputs[self.index])
            assert array is not None
            changed = array.copy()
            changed[self.entry] += delta
            set_constant(self.node, self.index, changed)


def split_sizes(node: ir.Node, total: int) -> list[int] | None:
    """How a Split cuts its axis; None where that is not constant."""
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        array = constant_array(node.inputs[1])
        return None if array is None else [int(size) for size in array]
    if "split" in node.attributes:
        return list(attr_ints(node, "split", ()))
    count = attr_int(node, "num_outputs", len(node.outputs))
    largest = -(-total // count)
    return [min(largest, total - number * largest) for number in range(count)]


def set_split(node: ir.Node, entry: int, delta: int, total: int) -> None:
    """Makes one output of a Split larger or smaller; the sizes are written out where they were not."""
    sizes = split_sizes(node, total)
    assert sizes is not None
    sizes[entry] += delta
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    if graph.opset_imports.get("", 13) < 13:
        set_attribute(node, "split", sizes)
        return
    node.attributes.pop("num_outputs", None)
    old = node.inputs[1] if len(node.inputs) > 1 else None
    node.resize_inputs(2)
    hint = f"{node.outputs[0].name}.split"
    node.replace_input_with(1, add_constant(graph, np.array(sizes, np.int64), hint))
    if old is not None:
        drop_if_unused(graph, old)


def select(array: Array, axis: int, selection: Sequence[int] | Array, fill: float = 0.0) -> Array:
    """Entries of one axis in the order of the selection; PADDING gives the fill."""
    index = np.asarray(selection, dtype=np.int64)
    taken = np.take(array, np.where(index == PADDING, 0, index), axis=axis)
    mask = index == PADDING
    if mask.any():
        key: list[slice | np.ndarray] = [slice(None)] * taken.ndim
        key[axis] = mask
        taken[tuple(key)] = fill
    return taken
