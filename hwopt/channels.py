"""Coupled channel groups: which weights must change together when a channel goes or comes.

Starting at one tensor, the group is flooded through everything that keeps channels apart
(activations, pooling, depthwise convolutions, residual additions) up to the operators that
mix them (convolutions, Gemm). The idea of handling coupled layers as one group is from
Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from hwopt.edit import set_attribute, set_channels, set_constant
from hwopt.nodes import Array, attr_int, constant, constant_array, dims_of, is_op, label
from hwopt.repair.marks import Origin, mark_origin, origin_of

PADDING = -1  # in a selection: a new channel that is zero everywhere
_OPEN = "hwopt.open"

_PER_CHANNEL = {
    "Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Elu", "Selu", "Softplus",
    "Mish", "Gelu", "Erf", "Abs", "Neg", "Sqrt", "Exp", "Identity", "Dropout", "MaxPool", "AveragePool",
    "GlobalAveragePool", "GlobalMaxPool",
}  # fmt: skip
_BINARY = {"Add", "Sub", "Mul", "Div"}


@dataclass(frozen=True)
class Slot:
    """One axis of one constant that has an entry per channel of the group."""

    node: ir.Node
    input: int
    axis: int
    side: str  # "out": produces the channels, "in": mixes them, "through": keeps them apart


@dataclass(frozen=True)
class ChannelGroup:
    """Everything that is resized together. `values` carry the channels on axis 1."""

    width: int
    slots: tuple[Slot, ...]
    values: tuple[ir.Value, ...]
    nodes: tuple[ir.Node, ...]

    def slots_on(self, side: str) -> tuple[Slot, ...]:
        """The weight slots of one side; biases are left out."""
        return tuple(slot for slot in self.slots if slot.side == side and slot.input == 1)


@dataclass(frozen=True)
class Blocked:
    """Why a tensor's channels cannot be resized."""

    node: str
    reason: str


class _Stop(Exception):
    def __init__(self, node: str, reason: str) -> None:
        super().__init__(reason)
        self.blocked = Blocked(node, reason)


def open_boundary(value: ir.Value) -> None:
    """Declares a graph input or output of a cut-out region as free to change its channels."""
    value.meta[_OPEN] = True


def channel_group(value: ir.Value) -> ChannelGroup | Blocked:
    """The group of channels that a tensor's axis 1 belongs to, or why it has none."""
    flood = _Flood()
    try:
        flood.reach(value)
        while flood.pending:
            flood.spread(flood.pending.pop(0))
        return flood.finish()
    except _Stop as stop:
        return stop.blocked


@dataclass
class _Flood:
    values: list[ir.Value] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    nodes: list[ir.Node] = field(default_factory=list)
    pending: list[ir.Value] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)

    def reach(self, value: ir.Value) -> None:
        if id(value) not in self.seen:
            self.seen.add(id(value))
            self.values.append(value)
            self.pending.append(value)

    def spread(self, value: ir.Value) -> None:
        producer = value.producer()
        if producer is not None:
            self.visit(producer, value)
        elif not value.meta.get(_OPEN):
            raise _Stop(str(value.name), "its channels are those of a graph input")
        if value.is_graph_output() and not value.meta.get(_OPEN):
            raise _Stop(str(value.name), "its channels are those of a graph output")
        for use in value.uses():
            self.visit(use.node, value)

    def visit(self, node: ir.Node, value: ir.Value) -> None:
        if not any(node is known for known in self.nodes):
            self.nodes.append(node)
        rule = _RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if rule is None:
            raise _Stop(label(node), f"{node.op_type} is not understood by the channel analysis")
        rule(self, node, value)

    def slot(self, node: ir.Node, index: int, axis: int, side: str) -> None:
        slot = Slot(node, index, axis, side)
        if slot not in self.slots:
            self.slots.append(slot)

    def finish(self) -> ChannelGroup:
        widths = {_slot_size(slot) for slot in self.slots}
        if len(widths) != 1:
            raise _Stop(
                str(self.values[0].name), f"coupled tensors disagree on the channel count: {sorted(widths)}"
            )
        return ChannelGroup(widths.pop(), tuple(self.slots), tuple(self.values), tuple(self.nodes))


def _slot_size(slot: Slot) -> int:
    tensor = constant(slot.node.inputs[slot.input])
    assert tensor is not None
    return dims_of(tensor)[slot.axis]


def _through(flood: _Flood, node: ir.Node, value: ir.Value) -> None:
    del value
    source = node.inputs[0]
    assert source is not None
    flood.reach(source)
    flood.reach(node.outputs[0])


def _weight_shape(node: ir.Node, rank: int | None = None) -> tuple[int, ...]:
    tensor = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if tensor is None:
        raise _Stop(label(node), "its weight is not a constant")
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None and constant(bias) is None:
        raise _Stop(label(node), "its bias is not a constant")
    if rank is not None and len(dims_of(tensor)) != rank:
        raise _Stop(label(node), f"its weight has {len(dims_of(tensor))} axes, {rank} are understood")
    return dims_of(tensor)


def _bias_slot(flood: _Flood, node: ir.Node, side: str) -> None:
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        flood.slot(node, 2, 0, side)


def _conv(flood: _Flood, node: ir.Node, value: ir.Value) -> None:
    shape = _weight_shape(node)
    group = attr_int(node, "group", 1)
    if group > 1:
        if shape[1] != 1 or shape[0] != group:
            raise _Stop(label(node), f"a convolution in {group} groups that is not depthwise")
        flood.slot(node, 1, 0, "through")
        _bias_slot(flood, node, "through")
        _through(flood, node, value)
        return
    _mixing(flood, node, value, out_axis=0, in_axis=1)


def _conv_transpose(flood: _Flood, node: ir.Node, value: ir.Value) -> None:
    _weight_shape(node)
    if attr_int(node, "group", 1) != 1:
        raise _Stop(label(node), "a transposed convolution in groups")
    _mixing(flood, node, value, out_axis=1, in_axis=0)


def _gemm(flood: _Flood, node: ir.Node, value: ir.Value) -> None:
    _weight_shape(node, rank=2)
    if attr_int(node, "transA", 0):
        raise _Stop(label(node), "Gemm with transA")
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if bias is not None and len(dims_of(bias)) != 1:
        raise _Stop(label(node), "a Gemm bias that is not a vector")
    transposed = attr_int(node, "transB", 0)
    _mixing(flood, node, value, out_axis=0 if transposed else 1, in_axis=1 if transposed else 0)


def _mixing(flood: _Flood, node: ir.Node, value: ir.Value, out_axis: int, in_axis: int) -> None:
    if any(value is output for output in node.outputs):
        flood.slot(node, 1, out_axis, "out")
        _bias_slot(flood, node, "out")
    if value is node.inputs[0]:
        flood.slot(node, 1, in_axis, "in")


def _batch_norm(flood: _Flood, node: ir.Node, value: ir.Value) -> None:
    for index in range(1, 5):
        if constant(node.inputs[index]) is None:
            raise _Stop(label(node), "its statistics are not constant")
        flood.slot(node, index, 0, "through")
    _through(flood, node, value)


def _binary(flood: _Flood, node: ir.Node, value: ir.Value) -> None:
    del value
    for index, source in enumerate(node.inputs):
        assert source is not None
        tensor = constant(source)
        if tensor is None:
            flood.reach(source)
        elif tensor.size != 1:
            flood.slot(node, index, _channel_axis(node, dims_of(tensor)), "through")
    flood.reach(node.outputs[0])


def _channel_axis(node: ir.Node, shape: tuple[int, ...]) -> int:
    """The axis of a broadcast constant that lies on axis 1 of a 4-D tensor."""
    if len(shape) in (3, 4) and shape[-3] > 1 and shape[-2:] == (1, 1) and all(d == 1 for d in shape[:-3]):
        return len(shape) - 3
    raise _Stop(label(node), f"a constant of shape {list(shape)} is not one number per channel")


def _prelu(flood: _Flood, node: ir.Node, value: ir.Value) -> None:
    slope = constant(node.inputs[1])
    if slope is None:
        raise _Stop(label(node), "its slope is not a constant")
    if slope.size != 1:
        flood.slot(node, 1, _channel_axis(node, dims_of(slope)), "through")
    _through(flood, node, value)


def _flatten(flood: _Flood, node: ir.Node, value: ir.Value) -> None:
    source = node.inputs[0]
    assert source is not None
    if attr_int(node, "axis", 1) != 1 or not _one_pixel(source):
        raise _Stop(label(node), "flattens more than one pixel")
    _through(flood, node, value)


def _one_pixel(value: ir.Value) -> bool:
    if is_op(value.producer(), "GlobalAveragePool", "GlobalMaxPool"):
        return True
    dims = None if value.shape is None else list(value.shape.dims)
    return dims is not None and len(dims) == 4 and dims[2:] == [1, 1]


_RULES: dict[str, Callable[[_Flood, ir.Node, ir.Value], None]] = {
    **dict.fromkeys(_PER_CHANNEL, _through),
    **dict.fromkeys(_BINARY, _binary),
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "BatchNormalization": _batch_norm,
    "PRelu": _prelu,
    "Flatten": _flatten,
}


def resize(group: ChannelGroup, selection: Sequence[int]) -> None:
    """Rebuilds every constant of the group from a selection of its channels, in place.

    selection: for each new channel the old one, or PADDING for a channel that is zero in
    every weight and bias. Reordering and dropping are possible; Origin marks follow.
    """
    for slot in group.slots:
        array = constant_array(slot.node.inputs[slot.input])
        assert array is not None
        set_constant(slot.node, slot.input, select(array, slot.axis, selection))
        if slot.side == "through" and is_op(slot.node, "Conv") and slot.input == 1:
            set_attribute(slot.node, "group", len(selection))
        if slot.side == "out" and slot.input == 1:
            _select_origin(slot.node, selection)
    for value in group.values:
        set_channels(value, len(selection))


def select(array: Array, axis: int, selection: Sequence[int]) -> Array:
    """Entries of one axis in the order of the selection; PADDING gives zeros."""
    index = np.asarray(selection, dtype=np.int64)
    taken = np.take(array, np.where(index == PADDING, 0, index), axis=axis)
    mask = index == PADDING
    if mask.any():
        key: list[slice | np.ndarray] = [slice(None)] * taken.ndim
        key[axis] = mask
        taken[tuple(key)] = 0
    return taken


def _select_origin(node: ir.Node, selection: Sequence[int]) -> None:
    """Every producer remembers which channels of its own first output are left."""
    origin = origin_of(node) or Origin(str(node.outputs[0].name))
    old = origin.channels
    now = [i if i == PADDING or old is None else old[i] for i in selection]
    mark_origin(node, Origin(origin.value, tuple(now)))
