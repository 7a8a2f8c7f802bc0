"""Operators that move or rearrange data: reshapes, transpositions, concat, slices, resizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
import onnx_ir as ir

from hwopt.nodes import attr_int, attr_ints, attr_string
from hwopt.oracles.tflite_elementwise import constant_like
from hwopt.oracles.tflite_graph import (
    Builder,
    Feature,
    Layout,
    NotLowered,
    last_order,
    moves_data,
    to_last,
)
from hwopt.oracles.tflite_layout import prefers_last
from hwopt.oracles.tflite_pads import pad
from hwopt.oracles.tflite_quant import FEATURE


def lower_identity(builder: Builder, node: ir.Node) -> None:
    """Identity, Dropout, Cast, and QuantizeLinear or DequantizeLinear: it is int8 already."""
    builder.bind(node.outputs[0], builder.feature(node.inputs[0]))


def lower_reshape(builder: Builder, node: ir.Node) -> None:
    """Reshape, Flatten, Squeeze and Unsqueeze by the shapes before and after.

    A channels-last map stays as it lies where batch and channels keep their places, and where
    everything becomes one row (the next matrix is reordered instead).
    """
    feature = builder.feature(node.inputs[0])
    before, after = builder.shape(node.inputs[0]), builder.shape(node.outputs[0])
    name = node.outputs[0].name
    if feature.layout is Layout.FLAT and after != before:
        feature = builder.plain(node.inputs[0])
    if feature.layout is Layout.LAST:
        stored = _reshaped_last(before, after)
        if stored is not None:
            builder.bind(node.outputs[0], builder.reshape(feature, stored, Layout.LAST, name))
            return
        if len(before) == 4 and len(after) == 2 and after[0] == before[0]:
            builder.bind(node.outputs[0], _flatten(builder, feature, after, name))
            return
        feature = builder.plain(node.inputs[0])
    builder.bind(node.outputs[0], builder.reshape(feature, after, feature.layout, name))


def _reshaped_last(before: Sequence[int], after: Sequence[int]) -> tuple[int, ...] | None:
    """The stored shape after a reshape that only regroups the spatial axes of a LAST map."""
    if len(after) < 3 or tuple(after[:2]) != tuple(before[:2]):
        return None
    return to_last(after)


def _flatten(builder: Builder, feature: Feature, after: Sequence[int], name: str | None) -> Feature:
    height, width, channels = feature.shape[1:]
    flat = builder.reshape(feature, after, Layout.FLAT, name)
    if channels == 1 or height * width == 1:
        return replace(flat, layout=Layout.PLAIN)
    return replace(flat, flat=(height, width, channels))


def lower_transpose(builder: Builder, node: ir.Node) -> None:
    """Transpose: free where the result can be stored as the input lies."""
    rank = len(builder.shape(node.inputs[0]))
    order = attr_ints(node, "perm", tuple(reversed(range(rank))))
    feature = builder.feature(node.inputs[0])
    if feature.layout is Layout.FLAT:
        feature = builder.plain(node.inputs[0])
    stored = last_order(rank) if feature.layout is Layout.LAST else tuple(range(rank))
    options = {
        layout: tuple(stored.index(axis) for axis in axes)
        for layout, axes in (
            (Layout.PLAIN, order),
            (Layout.LAST, tuple(order[axis] for axis in last_order(rank)) if rank > 2 else order),
        )
    }
    free = [layout for layout, moved in options.items() if not moves_data(feature.shape, moved)]
    favourite = Layout.LAST if rank > 2 and prefers_last(node.outputs[0], rank) else Layout.PLAIN
    layout = favourite if favourite in free or not free else free[0]
    output = builder.transpose(feature, options[layout], layout, node.outputs[0].name)
    builder.bind(node.outputs[0], output)


def lower_shuffle(builder: Builder, source: ir.Value, swapped: ir.Value, output: ir.Value) -> None:
    """A channel shuffle channels-last, where it exchanges the last two axes of a matrix of pixels.

    swapped: the value in the middle, [1, C / groups, groups, H, W]; the cost is charged to it.
    """
    builder.owner = swapped.name
    feature = builder.last(source)
    _, members, groups = builder.shape(swapped)[:3]
    pixels = prod(feature.shape[:3])
    split = builder.reshape(feature, (1, pixels, groups, members), Layout.LAST)
    moved = builder.transpose(split, (0, 1, 3, 2), Layout.LAST, swapped.name)
    builder.bind(output, builder.reshape(moved, feature.shape, Layout.LAST, output.name))


def _stored_axis(feature: Feature, axis: int) -> int:
    rank = len(feature.shape)
    return last_order(rank).index(axis % rank) if feature.layout is Layout.LAST else axis % rank


def _arranged(builder: Builder, value: ir.Value | None) -> Feature:
    """The value in a layout whose axes can be cut: FLAT is undone."""
    feature = builder.feature(value)
    return builder.plain(value) if feature.layout is Layout.FLAT else feature


def lower_concat(builder: Builder, node: ir.Node) -> None:
    """Concat of feature maps and constants."""
    maps = [_arranged(builder, value) for value in node.inputs if not builder.is_constant(value)]
    layout = Layout.LAST if any(feature.layout is Layout.LAST for feature in maps) else Layout.PLAIN
    like = builder.move(maps[0], layout)
    features = [
        constant_like(builder, builder.data(value, "operand"), like)
        if builder.is_constant(value)
        else builder.move(_arranged(builder, value), layout)
        for value in node.inputs
    ]
    axis = _stored_axis(like, attr_int(node, "axis", 0))
    quant = like.quant if len({feature.quant for feature in features}) == 1 else FEATURE
    features = [builder.requantised(feature, quant) for feature in features]
    shape = list(like.shape)
    shape[axis] = sum(feature.shape[axis] for feature in features)
    output = builder.new(shape, layout, quant, node.outputs[0].name)
    options = {"Axis": axis, "FusedActivationFunction": 0}
    builder.bind(
        node.outputs[0],
        builder.emit("CONCATENATION", [feature.index for feature in features], output, options),
    )


def lower_split(builder: Builder, node: ir.Node) -> None:
    """Split into parts of given or equal sizes."""
    feature = _arranged(builder, node.inputs[0])
    logical = attr_int(node, "axis", 0) % len(feature.shape)
    axis = _stored_axis(feature, logical)
    sizes = [builder.shape(value)[logical] for value in node.outputs]
    outputs = [
        builder.new(
            [size if a == axis else n for a, n in enumerate(feature.shape)],
            feature.layout,
            feature.quant,
            value.name,
        )
        for value, size in zip(node.outputs, sizes, strict=True)
    ]
    inputs = (feature.index, builder.ints(sizes), builder.ints(axis))
    builder.emit_many("SPLIT_V", inputs, outputs, {"NumSplits": len(sizes)})
    for value, output in zip(node.outputs, outputs, strict=True):
        builder.bind(value, output)


def lower_slice(builder: Builder, node: ir.Node) -> None:
    """Slice with constant bounds and positive steps."""
    feature = _arranged(builder, node.inputs[0])
    rank = len(feature.shape)
    begins, ends, steps = [0] * rank, list(feature.shape), [1] * rank
    for axis, start, end, step in zip(*_slice_bounds(builder, node, rank), strict=True):
        stored = _stored_axis(feature, axis)
        if step < 1:
            raise NotLowered("a Slice with a negative step is not supported")
        begins[stored], ends[stored], steps[stored] = *_clamped(start, end, feature.shape[stored]), step
    shape = [-(-(end - begin) // step) for begin, end, step in zip(begins, ends, steps, strict=True)]
    _strided_slice(builder, node, feature, (begins, ends, steps), shape)


def _strided_slice(
    builder: Builder,
    node: ir.Node,
    feature: Feature,
    bounds: tuple[Sequence[int], Sequence[int], Sequence[int]],
    shape: Sequence[int],
) -> None:
    output = builder.new(shape, feature.layout, feature.quant, node.outputs[0].name)
    inputs = (feature.index, *(builder.ints(part) for part in bounds))
    builder.bind(node.outputs[0], builder.emit("STRIDED_SLICE", inputs, output))


def _slice_bounds(builder: Builder, node: ir.Node, rank: int) -> tuple[list[int], ...]:
    """(axes, starts, ends, steps), from attributes (opset below 10) or constant inputs."""
    if "starts" in node.attributes:
        starts, ends = attr_ints(node, "starts", ()), attr_ints(node, "ends", ())
        axes = attr_ints(node, "axes", tuple(range(len(starts))))
        return list(axes), list(starts), list(ends), [1] * len(starts)
    given = [
        None if len(node.inputs) <= i or node.inputs[i] is None else builder.data(node.inputs[i], "a bound")
        for i in range(1, 5)
    ]
    starts_, ends_, axes_, steps_ = (
        [int(n) for n in g.reshape(-1)] if g is not None else None for g in given
    )
    count = len(starts_ or ())
    return (
        [axis % rank for axis in (axes_ or range(count))],
        starts_ or [],
        ends_ or [],
        steps_ or [1] * count,
    )


def _clamped(start: int, end: int, size: int) -> tuple[int, int]:
    low, high = (bound + size if bound < 0 else bound for bound in (start, end))
    return min(max(low, 0), size), min(max(high, 0), size)


def lower_gather(builder: Builder, node: ir.Node) -> None:
    """Gather of one constant index, or of a run of them: a slice."""
    indices = builder.data(node.inputs[1], "the index").astype(np.int64)
    feature = _arranged(builder, node.inputs[0])
    rank, run = len(feature.shape), indices.reshape(-1)
    logical = attr_int(node, "axis", 0) % rank
    axis = _stored_axis(feature, logical)
    run = run % feature.shape[axis]
    if indices.ndim > 1 or np.any(np.diff(run) != 1):
        raise NotLowered("a Gather of indices that are no run is not supported")
    if indices.ndim == 0 and feature.layout is Layout.LAST:
        feature, axis = builder.plain(node.inputs[0]), logical
    begins = [int(run[0]) if a == axis else 0 for a in range(rank)]
    ends = [int(run[-1]) + 1 if a == axis else n for a, n in enumerate(feature.shape)]
    shape = [end - begin for begin, end in zip(begins, ends, strict=True)]
    _strided_slice(builder, node, feature, (begins, ends, [1] * rank), shape)
    if indices.ndim == 0:
        sliced = builder.features[node.outputs[0].name or ""]
        builder.bind(node.outputs[0], builder.reshape(sliced, builder.shape(node.outputs[0]), Layout.PLAIN))


def lower_pad(builder: Builder, node: ir.Node) -> None:
    """Pad with a constant."""
    if attr_string(node, "mode", "constant") != "constant":
        raise NotLowered("only constant padding is supported")
    feature = _arranged(builder, node.inputs[0])
    rank = len(feature.shape)
    amounts, filling = _pad_amounts(builder, node, rank)
    if min(amount for pair in amounts for amount in pair) < 0:
        raise NotLowered("negative padding is not supported")
    order = last_order(rank) if feature.layout is Layout.LAST else range(rank)
    output = pad(builder, feature, [amounts[axis] for axis in order], filling, node.outputs[0].name)
    builder.bind(node.outputs[0], output)


def _pad_amounts(builder: Builder, node: ir.Node, rank: int) -> tuple[list[tuple[int, int]], float]:
    """(before, after) for every logical axis, and the padded value."""
    pads, filling = list(attr_ints(node, "pads", ())), 0.0
    axes = list(range(rank))
    if "value" in node.attributes:
        filling = node.attributes["value"].as_float()
    if len(node.inputs) > 1:
        pads = [int(n) for n in builder.data(node.inputs[1], "the padding").reshape(-1)]
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        filling = float(builder.data(node.inputs[2], "the padded value").reshape(()))
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        axes = [int(n) % rank for n in builder.data(node.inputs[3], "the axes").reshape(-1)]
    amounts = [(0, 0)] * rank
    for position, axis in enumerate(axes):
        amounts[axis] = (pads[position], pads[position + len(axes)])
    return amounts, filling


def lower_resize(builder: Builder, node: ir.Node) -> None:
    """Resize and Upsample of height and width, nearest or bilinear."""
    shape = builder.shape(node.outputs[0])
    before = builder.shape(node.inputs[0])
    if len(shape) != 4 or shape[:2] != before[:2]:
        raise NotLowered("only height and width can be resized")
    mode = attr_string(node, "mode", "nearest")
    where = attr_string(node, "coordinate_transformation_mode", "half_pixel")
    if node.op_type == "Upsample":
        where = "asymmetric"
    if mode not in ("nearest", "linear"):
        raise NotLowered(f"resize mode '{mode}' is not supported")
    feature = builder.last(node.inputs[0])
    output = builder.new(to_last(shape), Layout.LAST, feature.quant, node.outputs[0].name)
    half = mode == "linear" and "half_pixel" in where
    options = {"AlignCorners": where == "align_corners", "HalfPixelCenters": half}
    opcode = "RESIZE_NEAREST_NEIGHBOR" if mode == "nearest" else "RESIZE_BILINEAR"
    builder.emit(opcode, (feature.index, builder.ints(shape[2:])), output, options)
    builder.bind(node.outputs[0], output)
