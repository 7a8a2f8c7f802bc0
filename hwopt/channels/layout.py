"""Operators that move whole tensors about: what happens to the channel axis on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from hwopt.channels.flood import OUTPUT, Flood, Rule, Stop, rank_of
from hwopt.channels.slots import Count, Lane
from hwopt.nodes import attr_int, attr_ints, constant, constant_array, is_op, label

Axes = Sequence[int]


def _along(
    flood: Flood,
    node: ir.Node,
    lane: Lane,
    index: int,
    axes_of: Callable[[int], Axes],
    ranks: tuple[int, int],
) -> None:
    """Reach on through a node whose output axis j is its input's axis axes_of(input rank)[j].

    ranks: how many more axes the output and the input have than a lane's own side.
    """
    source = node.inputs[0]
    assert source is not None
    if index > 0 or lane.rank is None:
        raise Stop(label(node), f"{node.op_type} of a tensor of unknown rank")
    rank = lane.rank + ranks[1] if index == OUTPUT else lane.rank
    axes = list(axes_of(rank))
    if index == OUTPUT:
        flood.reach(Lane(source, axes[lane.axis], rank, lane.start, lane.total, lane.block))
    elif lane.axis in axes:
        axis = axes.index(lane.axis)
        flood.reach(Lane(node.outputs[0], axis, lane.rank + ranks[0], lane.start, lane.total, lane.block))
    else:
        raise Stop(label(node), f"{node.op_type} over the channels")


def _axes(node: ir.Node) -> list[int]:
    """The axes a node speaks of, as an attribute or as a constant."""
    if "axes" in node.attributes:
        return list(attr_ints(node, "axes", ()))
    array = constant_array(node.inputs[1]) if len(node.inputs) > 1 else None
    if array is None:
        raise Stop(label(node), f"{node.op_type} does not say over which axes, or not by a constant")
    return [int(axis) for axis in array.reshape(-1)]


def _transpose(flood: Flood, node: ir.Node, lane: Lane, index: int) -> None:
    _along(flood, node, lane, index, lambda rank: attr_ints(node, "perm", range(rank)[::-1]), (0, 0))


def _reduce(flood: Flood, node: ir.Node, lane: Lane, index: int) -> None:
    axes = _axes(node)
    if not attr_int(node, "keepdims", 1):
        _squeezed(flood, node, lane, index, axes)
        return
    if lane.rank is None or lane.axis in [axis % lane.rank for axis in axes]:
        raise Stop(label(node), f"{node.op_type} over the channels")
    _along(flood, node, lane, index, range, (0, 0))


def _squeeze(flood: Flood, node: ir.Node, lane: Lane, index: int) -> None:
    _squeezed(flood, node, lane, index, _axes(node))


def _squeezed(flood: Flood, node: ir.Node, lane: Lane, index: int, axes: Axes) -> None:
    gone = len(axes)
    _along(
        flood, node, lane, index,
        lambda rank: [axis for axis in range(rank) if axis not in [a % rank for a in axes]],
        (-gone, gone),
    )  # fmt: skip


def _unsqueeze(flood: Flood, node: ir.Node, lane: Lane, index: int) -> None:
    axes = _axes(node)
    added = len(axes)

    def axes_of(rank: int) -> list[int]:
        new = [axis % (rank + added) for axis in axes]
        old = iter(range(rank))
        return [-1 if axis in new else next(old) for axis in range(rank + added)]

    _along(flood, node, lane, index, axes_of, (added, -added))


def _one_pixel(value: ir.Value) -> bool:
    """Whether a tensor surely has nothing but ones behind its channels."""
    producer = value.producer()
    if is_op(producer, "GlobalAveragePool", "GlobalMaxPool"):
        return True
    dims = None if value.shape is None else list(value.shape.dims)
    if dims is not None and len(dims) > 2 and all(isinstance(d, int) for d in dims[2:]):
        return dims[2:] == [1] * (len(dims) - 2)
    if is_op(producer, "ReduceMean", "ReduceMax", "ReduceSum") and producer is not None:
        try:
            return attr_int(producer, "keepdims", 1) == 1 and {a % 4 for a in _axes(producer)} == {2, 3}
        except Stop:
            return False
    source = producer.inputs[0] if producer is not None and producer.inputs else None
    keeps = is_op(producer, "Relu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Identity", "Dropout")
    return keeps and source is not None and _one_pixel(source)


def _flatten(flood: Flood, node: ir.Node, lane: Lane, index: int) -> None:
    if attr_int(node, "axis", 1) != 1:
        raise Stop(label(node), f"Flatten from axis {attr_int(node, 'axis', 1)}")
    _flattened(flood, node, lane, index)


def _flattened(flood: Flood, node: ir.Node, lane: Lane, index: int) -> None:
    """[N, C, ...] <-> [N, C * pixels]: every channel becomes a block."""
    source = node.inputs[0]
    assert source is not None
    if index > 0 or lane.axis != 1:
        raise Stop(label(node), f"flattens with the channels on axis {lane.axis}")
    single = _one_pixel(source) or rank_of(source) == 2
    if index == 0:
        block = lane.block if single else None
        flood.reach(Lane(node.outputs[0], 1, 2, lane.start, lane.total, block))
    elif lane.block is not None:  # else the lane came from this very node
        if not single:
            raise Stop(label(node), "what it flattens is combined with something else")
        flood.reach(Lane(source, 1, rank_of(source) or 4, lane.start, lane.total, lane.block))


def _reshape(flood: Flood, node: ir.Node, lane: Lane, index: int) -> None:
    """A Reshape that leaves the first two axes alone, or flattens all behind the first."""
    shape = constant_array(node.inputs[1])
    source = node.inputs[0]
    if index > 0 or shape is None or source is None or shape.ndim != 1 or lane.axis != 1 or len(shape) < 2:
        raise Stop(label(node), "a Reshape that is not understood by the channel analysis")
    wanted = [int(size) for size in shape]
    batch = _same_batch(source, wanted)
    width = None if lane.block is None else lane.total * lane.block
    single = _one_pixel(source) or rank_of(source) == 2
    if len(wanted) == 2 and not single and (batch or _whole(source, wanted[1])):
        if wanted[1] > 0:
            flood.counts[Count(node, "", 1, 1, lane.start, max(wanted[1] // lane.total, 1))] = None
        _flattened(flood, node, lane, index)
        return
    rest = wanted[1:]
    named = width is not None and wanted[1] == width
    kept = named or (wanted[1] == 0 and index == 0) or (wanted[1] == -1 and single and set(wanted[2:]) <= {1})
    if not kept or not (batch or (wanted[0] == -1 and single and named and set(rest[1:]) <= {1})):
        raise Stop(label(node), "a Reshape that is not understood by the channel analysis")
    if named:
        flood.counts[Count(node, "", 1, 1, lane.start, lane.block or 1)] = None
    if index == OUTPUT:
        flood.reach(Lane(source, 1, rank_of(source), lane.start, lane.total, lane.block))
    else:
        flood.reach(Lane(node.outputs[0], 1, len(wanted), lane.start, lane.total, lane.block))


def _same_batch(source: ir.Value, wanted: list[int]) -> bool:
    """Whether the first axis stays what it is."""
    dim = source.shape.dims[0] if source.shape is not None and len(source.shape) else None
    if isinstance(dim, int):
        return wanted[0] in (0, dim)
    return wanted[0] == 0 or (wanted[0] == 1 and not isinstance(dim, int))


def _whole(source: ir.Value, size: int) -> bool:
    """Whether a row of that size is everything behind the first axis."""
    dims = None if source.shape is None else list(source.shape.dims)[1:]
    known = [d for d in dims or [] if isinstance(d, int)]
    return bool(dims) and len(known) == len(dims or []) and prod(known) == size


def _resize(flood: Flood, node: ir.Node, lane: Lane, index: int) -> None:
    if index > 0:
        raise Stop(label(node), "a computed tensor says what it resizes to")
    _check_scales(flood, node, lane)
    source = node.inputs[0]
    assert source is not None
    flood.reach(lane.at(source))
    flood.reach(lane.at(node.outputs[0]))


def _check_scales(flood: Flood, node: ir.Node, lane: Lane) -> None:
    """The channels must keep their number; where it is written out, it is a count."""
    axes = list(attr_ints(node, "axes", range(lane.rank or 4)))
    if lane.axis not in axes:
        return
    if "scales" in node.attributes:
        scales: np.ndarray | None = np.asarray(node.attributes["scales"].as_floats())
    else:
        at = 1 if len(node.inputs) == 2 else 2
        scales = constant_array(node.inputs[at]) if at < len(node.inputs) else None
    if scales is not None and scales.size:
        if scales[axes.index(lane.axis)] == 1.0:
            return
        raise Stop(label(node), "resizes the channels")
    sizes = constant_array(node.inputs[3]) if len(node.inputs) > 3 else None
    if sizes is None or lane.block is None or sizes[axes.index(lane.axis)] != lane.total * lane.block:
        raise Stop(label(node), "what it resizes to is not constant")
    flood.counts[Count(node, "", 3, axes.index(lane.axis), lane.start, lane.block)] = None


def _pad(flood: Flood, node: ir.Node, lane: Lane, index: int) -> None:
    if index > 0 or (len(node.inputs) > 3 and node.inputs[3] is not None):
        raise Stop(label(node), "a Pad that says its axes")
    array = constant_array(node.inputs[1]) if len(node.inputs) > 1 else None
    pads = [int(p) for p in array.reshape(-1)] if array is not None else list(attr_ints(node, "pads", ()))
    rank = len(pads) // 2
    if len(pads) % 2 or (pads and lane.rank is not None and rank != lane.rank):
        raise Stop(label(node), f"has {len(pads)} pads: not two for each axis")
    if not pads or lane.axis >= rank or any(pads[axis] for axis in (lane.axis, lane.axis + rank)):
        raise Stop(label(node), "pads the channels, or not by constants")
    source = node.inputs[0]
    assert source is not None
    if len(node.inputs) > 2 and node.inputs[2] is not None and constant(node.inputs[2]) is None:
        raise Stop(label(node), "pads with a computed number")
    flood.reach(lane.at(source))
    flood.reach(lane.at(node.outputs[0]))


LAYOUT_RULES: dict[str, Rule] = {
    **dict.fromkeys(("ReduceMean", "ReduceMax", "ReduceSum"), _reduce),
    **dict.fromkeys(("Resize", "Upsample"), _resize),
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Pad": _pad,
}
