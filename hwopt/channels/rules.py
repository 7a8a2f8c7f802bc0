"""What every operator does with channels: keeps them apart, mixes them, moves them along.

A rule is called with the lane that reached the node and the number of the input it came by
(`OUTPUT`: it came from behind). It adds slots and counts to the flood and reaches on.
"""

from __future__ import annotations

import onnx_ir as ir

from hwopt.channels.flood import BINARY, OUTPUT, POINTWISE, POOLS, Cut, Flood, Rule, Stop, rank_of, size_of
from hwopt.channels.layout import LAYOUT_RULES
from hwopt.channels.slots import Count, Lane, split_sizes
from hwopt.nodes import attr_int, constant, dims_of, is_op, label


def through(flood: Flood, node: ir.Node, lane: Lane, index: int) -> None:
    """The first input and the first output have the same channels."""
    only_data(node, index)
    source = node.inputs[0]
    assert source is not None
    flood.reach(lane.at(source))
    flood.reach(lane.at(node.outputs[0]))


def only_data(node: ir.Node, index: int) -> None:
    """Channels may come by the first input alone, and go by the first output alone."""
    if index > 0:
        raise Stop(label(node), f"a computed tensor is its input number {index}")
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        raise Stop(label(node), "its second output is read")


def _weight(node: ir.Node, lane: Lane, index: int, ranks: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a constant weight that meets the lane on axis 1."""
    only_data(node, index)
    tensor = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if tensor is None:
        raise Stop(label(node), "its weight is not a constant")
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None and constant(bias) is None:
        raise Stop(label(node), "its bias is not a constant")
    if len(dims_of(tensor)) not in ranks:
        raise Stop(label(node), f"its weight has {len(dims_of(tensor))} axes")
    if lane.axis != 1:
        raise Stop(label(node), f"channels on axis {lane.axis} meet a weight")
    return dims_of(tensor)


def _bias(flood: Flood, node: ir.Node, side: str, lane: Lane) -> None:
    tensor = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if tensor is not None and tensor.size != 1:
        flood.slot(node, 2, len(dims_of(tensor)) - 1, side, lane)
    elif tensor is not None and lane.total > 1 and is_op(node, "Conv", "ConvTranspose"):
        raise Stop(label(node), "its bias is shorter than its output")
    elif tensor is not None and lane.total == 1 and dims_of(tensor):
        flood.slot(node, 2, len(dims_of(tensor)) - 1, side, lane)


def _conv(flood: Flood, node: ir.Node, lane: Lane, index: int) -> None:
    shape, group = _weight(node, lane, index, (3, 4, 5)), attr_int(node, "group", 1)
    if shape[0] % group:
        raise Stop(label(node), f"its {shape[0]} output channels are no {group} groups")
    if group > 1 and shape[1] == 1:
        _depthwise(flood, node, lane, index, shape[0] // group)
    elif index == OUTPUT:
        if group > 1:
            flood.balance(node, lane, group)
        flood.slot(node, 1, 0, "out", lane)
        _bias(flood, node, "out", lane)
    else:
        if group > 1:
            flood.balance(node, lane, group)
        flood.slot(node, 1, 1, "in", lane, groups=group)


def _depthwise(flood: Flood, node: ir.Node, lane: Lane, index: int, multiplier: int) -> None:
    """Each input channel has `multiplier` output channels of its own, one after the other."""
    source = node.inputs[0]
    assert source is not None
    if lane.block is None or (index == OUTPUT and lane.block % multiplier):
        raise Stop(label(node), f"its output channels come in blocks of {multiplier}")
    inner = lane.block // multiplier if index == OUTPUT else lane.block
    before = Lane(source, 1, lane.rank, lane.start, lane.total, inner)
    after = Lane(node.outputs[0], 1, lane.rank, lane.start, lane.total, inner * multiplier)
    flood.slot(node, 1, 0, "through", after)
    _bias(flood, node, "through", after)
    flood.counts[Count(node, "group", 0, 0, lane.start, inner)] = None
    flood.reach(before)
    flood.reach(after)


def _conv_transpose(flood: Flood, node: ir.Node, lane: Lane, index: int) -> None:
    shape, group = _weight(node, lane, index, (3, 4, 5)), attr_int(node, "group", 1)
    if group > 1:
        if shape[1] != 1 or shape[0] != group:
            raise Stop(label(node), f"a transposed convolution in {group} groups that is not depthwise")
        flood.slot(node, 1, 0, "through", lane)
        _bias(flood, node, "through", lane)
        flood.counts[Count(node, "group", 0, 0, lane.start, lane.block or 1)] = None
        through(flood, node, lane, index)
    elif index == OUTPUT:
        flood.slot(node, 1, 1, "out", lane)
        _bias(flood, node, "out", lane)
    else:
        flood.slot(node, 1, 0, "in", lane)


def _gemm(flood: Flood, node: ir.Node, lane: Lane, index: int) -> None:
    _weight(node, lane, index, (2,))
    if attr_int(node, "transA", 0):
        raise Stop(label(node), "Gemm with transA")
    transposed = attr_int(node, "transB", 0)
    if index == OUTPUT:
        flood.slot(node, 1, 0 if transposed else 1, "out", lane)
        _bias(flood, node, "out", lane)
    else:
        flood.slot(node, 1, 1 if transposed else 0, "in", lane)


def _matmul(flood: Flood, node: ir.Node, lane: Lane, index: int) -> None:
    only_data(node, index)
    tensor = constant(node.inputs[1])
    if tensor is None or len(dims_of(tensor)) != 2:
        raise Stop(label(node), "MatMul without a constant matrix on the right")
    if lane.rank is None or lane.axis != lane.rank - 1:
        raise Stop(label(node), "MatMul over another axis than the channels")
    flood.slot(node, 1, 1 if index == OUTPUT else 0, "out" if index == OUTPUT else "in", lane)


def _batch_norm(flood: Flood, node: ir.Node, lane: Lane, index: int) -> None:
    _per_channel(flood, node, lane, index, (1, 2, 3, 4))


def _instance_norm(flood: Flood, node: ir.Node, lane: Lane, index: int) -> None:
    _per_channel(flood, node, lane, index, (1, 2))


def _per_channel(flood: Flood, node: ir.Node, lane: Lane, index: int, inputs: tuple[int, ...]) -> None:
    only_data(node, index)
    for number in inputs:
        if constant(node.inputs[number]) is None:
            raise Stop(label(node), "its statistics are not constant")
        variance = is_op(node, "BatchNormalization") and number == 4
        flood.slot(node, number, 0, "through", lane, fill=1.0 if variance else 0.0)
    through(flood, node, lane, index)


def _binary(flood: Flood, node: ir.Node, lane: Lane, index: int) -> None:
    """Element by element, with broadcasting: an operand may be one number for all channels."""
    here = None if lane.block is None else lane.total * lane.block
    widest = size_of(node.outputs[0], lane.axis) or here
    if here == 1 and index != OUTPUT and widest is not None and widest > 1:
        raise Stop(label(node), "its one channel is spread over all channels of another tensor")
    for number, source in enumerate(node.inputs):
        assert source is not None
        if constant(source) is not None:
            _operand(flood, node, number, lane)
            continue
        if is_op(node, "Div") and number == 1:
            raise Stop(label(node), "divides by a computed tensor")
        if lane.rank is not None and (rank_of(source) or lane.rank) != lane.rank:
            raise Stop(label(node), "combines tensors with different numbers of axes")
        if not (size_of(source, lane.axis) == 1 and here != 1):
            flood.reach(lane.at(source))
    flood.reach(lane.at(node.outputs[0]))


def _operand(flood: Flood, node: ir.Node, number: int, lane: Lane) -> None:
    """A constant operand: one number for all channels, or one for each."""
    tensor = constant(node.inputs[number])
    assert tensor is not None
    dims = dims_of(tensor)
    if is_op(node, "Div") and number == 0:
        raise Stop(label(node), "divides by a computed tensor")
    if tensor.size == 1:
        return
    if lane.rank is None:
        raise Stop(label(node), "combines a constant with a tensor of unknown rank")
    axis = lane.axis - lane.rank + len(dims)
    if axis >= 0 and dims[axis] > 1:
        flood.slot(node, number, axis, "through", lane, fill=1.0 if is_op(node, "Div") else 0.0)


def _prelu(flood: Flood, node: ir.Node, lane: Lane, index: int) -> None:
    only_data(node, index)
    if constant(node.inputs[1]) is None:
        raise Stop(label(node), "its slope is not a constant")
    _operand(flood, node, 1, lane)
    through(flood, node, lane, index)


def _concat(flood: Flood, node: ir.Node, lane: Lane, index: int) -> None:
    axis = attr_int(node, "axis", 1)
    if axis < 0 and lane.rank is None:
        raise Stop(label(node), "its axis is counted from behind in a tensor of unknown rank")
    if (axis + (lane.rank or 0) if axis < 0 else axis) != lane.axis:
        raise Stop(label(node), "joins tensors along another axis than the channels")
    sizes = [size_of(value, lane.axis) if value is not None else None for value in node.inputs]
    if any(size is None for size in sizes) or lane.block != 1:
        raise Stop(label(node), "joins tensors with unknown numbers of channels")
    known = [size or 0 for size in sizes]
    starts = [sum(known[:number]) for number in range(len(known))]
    if index == OUTPUT:
        number = _piece(flood, node, lane, starts, known)
        _from_concat(flood, node, number, Lane(lane.value, lane.axis, lane.rank, lane.start - starts[number],
                                               known[number]))  # fmt: skip
    else:
        flood.reach(Lane(node.outputs[0], lane.axis, lane.rank, starts[index] + lane.start, sum(known)))


def _from_concat(flood: Flood, node: ir.Node, number: int, lane: Lane) -> None:
    source = node.inputs[number]
    assert source is not None
    if constant(source) is not None:
        flood.slot(node, number, lane.axis, "through", lane)
    else:
        flood.reach(lane.at(source))


def _piece(flood: Flood, node: ir.Node, lane: Lane, starts: list[int], sizes: list[int]) -> int:
    """The piece of an axis that the lane lies in. Raises Cut where it lies in two."""
    for number, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        if start <= lane.start < start + size:
            if lane.start + flood.width > start + size:
                raise Cut(start + size - lane.start)
            return number
    raise Stop(label(node), "coupled tensors disagree on the channel count")


def _split(flood: Flood, node: ir.Node, lane: Lane, index: int) -> None:
    if index > 0:
        raise Stop(label(node), "a computed tensor says how it splits")
    axis = attr_int(node, "axis", 0)
    source = node.inputs[0]
    assert source is not None
    if (axis + (lane.rank or 0) if axis < 0 else axis) != lane.axis:
        raise Stop(label(node), "splits along another axis than the channels")
    total = size_of(source, lane.axis)
    sizes = None if total is None else split_sizes(node, total)
    if total is None or sizes is None or lane.block != 1 or sum(sizes) != total:
        raise Stop(label(node), "splits into unknown numbers of channels")
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    if index == OUTPUT:
        number = next(n for n, value in enumerate(node.outputs) if value is lane.value)
        start = lane.start
    else:
        number = _piece(flood, node, lane, starts, sizes)
        start = lane.start - starts[number]
    flood.counts[Count(node, "split", 1, number, starts[number] + start, total=total)] = None
    flood.reach(Lane(source, lane.axis, lane.rank, starts[number] + start, total))
    flood.reach(Lane(node.outputs[number], lane.axis, lane.rank, start, sizes[number]))


RULES: dict[str, Rule] = {
    **dict.fromkeys((*POINTWISE, *POOLS), through),
    **dict.fromkeys(BINARY, _binary),
    **LAYOUT_RULES,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _batch_norm,
    "InstanceNormalization": _instance_norm,
    "PRelu": _prelu,
    "Concat": _concat,
    "Split": _split,
}
