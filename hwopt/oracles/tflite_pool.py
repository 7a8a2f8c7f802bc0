"""Pools and reductions."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import onnx_ir as ir

from hwopt.nodes import attr_int, attr_ints
from hwopt.oracles.tflite_fusing import sink
from hwopt.oracles.tflite_graph import Builder, Feature, Layout, NotLowered
from hwopt.oracles.tflite_pads import SAME, VALID, Window, pad_codes
from hwopt.oracles.tflite_quant import FEATURE

_REDUCTIONS = {"ReduceMean": "MEAN", "ReduceSum": "SUM", "ReduceMax": "REDUCE_MAX", "ReduceMin": "REDUCE_MIN"}
_GLOBAL = {"GlobalAveragePool": "MEAN", "GlobalMaxPool": "REDUCE_MAX"}


def lower_pool(builder: Builder, node: ir.Node) -> None:
    """MaxPool and AveragePool."""
    if len(node.outputs) > 1 and node.outputs[1].uses():
        raise NotLowered("the indices of a MaxPool are not supported")
    window = Window.of(node, attr_ints(node, "kernel_shape", ()))
    if window.dilations != (1, 1):
        raise NotLowered("a dilated pool is not supported")
    average = node.op_type == "AveragePool"
    shape = builder.shape(node.outputs[0])
    original = builder.last(node.inputs[0])
    padded = pad_codes(builder, original, window, shape[2:], 0.0 if average else -np.inf)
    feature, padding = padded
    counts_pads = attr_int(node, "count_include_pad", 0) == 1
    if average and counts_pads == (padding == SAME) and any(window.pads or (1,)):
        raise NotLowered("how this AveragePool counts its padding has no form in TFLite")
    target = sink(builder, node.outputs[0], feature.quant)
    output = builder.new(
        (shape[0], shape[2], shape[3], shape[1]), Layout.LAST, target.quant, target.value.name
    )
    options = pool_options(window, padding, target.activation)
    builder.emit("AVERAGE_POOL_2D" if average else "MAX_POOL_2D", (feature.index,), output, options)
    builder.bind(target.value, output)


def lower_global_pool(builder: Builder, node: ir.Node) -> None:
    """GlobalAveragePool and GlobalMaxPool: one window over all, or a reduction."""
    feature = builder.last(node.inputs[0])
    axes = tuple(range(1, len(feature.shape) - 1))
    _reduce(builder, feature, _GLOBAL[node.op_type], axes, Layout.LAST, node.outputs[0])


def lower_reduction(builder: Builder, node: ir.Node) -> None:
    """ReduceMean, ReduceSum and ReduceMax, with and without the reduced axes kept."""
    shape = builder.shape(node.inputs[0])
    axes = _axes(builder, node, len(shape))
    feature = builder.feature(node.inputs[0])
    if feature.layout is Layout.FLAT:
        feature = builder.plain(node.inputs[0])
    keep = attr_int(node, "keepdims", 1) == 1
    if feature.layout is Layout.LAST and not keep and axes != tuple(range(2, len(shape))):
        feature = builder.plain(node.inputs[0])
    stored = axes
    if feature.layout is Layout.LAST:
        stored = tuple(sorted(len(shape) - 1 if axis == 1 else axis - (axis > 1) for axis in axes))
    reduced = _reduce(builder, feature, _REDUCTIONS[node.op_type], stored, feature.layout, node.outputs[0])
    if not keep:
        logical = builder.shape(node.outputs[0])
        builder.bind(node.outputs[0], builder.reshape(reduced, logical, Layout.PLAIN))


def _axes(builder: Builder, node: ir.Node, rank: int) -> tuple[int, ...]:
    """The reduced axes, from the attribute or the second input; all of them by default."""
    axes = attr_ints(node, "axes", ())
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        axes = tuple(int(axis) for axis in builder.data(node.inputs[1], "the axes").reshape(-1))
    if not axes and attr_int(node, "noop_with_empty_axes", 0):
        raise NotLowered("a reduction over no axis is not supported")
    return tuple(sorted(axis % rank for axis in axes)) or tuple(range(rank))


def _reduce(
    builder: Builder, feature: Feature, opcode: str, axes: tuple[int, ...], layout: Layout, value: ir.Value
) -> Feature:
    output = replace(emit_reduction(builder, feature, opcode, axes, value.name), layout=layout)
    builder.bind(value, output)
    return output


def emit_reduction(
    builder: Builder, feature: Feature, opcode: str, axes: tuple[int, ...], name: str | None = None
) -> Feature:
    """A reduction over stored axes that keeps them; a window where Vela pools that much at once.

    Over the last axis alone the rows are put into a matrix first: Vela leaves the reduction of
    an image's channels to the host, that of a matrix not.
    """
    shape = tuple(1 if axis in axes else size for axis, size in enumerate(feature.shape))
    quant = FEATURE if opcode == "SUM" else feature.quant
    last = len(shape) - 1
    if opcode == "MEAN" and len(shape) > 3 and axes == (last,):
        rows = builder.reshape(feature, (1, prod(shape[:-1]), feature.shape[-1]), feature.layout)
        mean = builder.new((*rows.shape[:-1], 1), feature.layout, quant)
        builder.emit(opcode, (rows.index, builder.ints((2,))), mean, {"KeepDims": True})
        return builder.reshape(mean, shape, feature.layout, name)
    output = builder.new(shape, feature.layout, quant, name)
    if opcode == "MEAN" and len(shape) == 4 and axes == (1, 2) and _fits_a_pool(feature):
        return builder.emit("AVERAGE_POOL_2D", (feature.index,), output, _whole_window(feature))
    return builder.emit(opcode, (feature.index, builder.ints(axes)), output, {"KeepDims": True})


def _fits_a_pool(feature: Feature) -> bool:
    """Vela pools up to 256 x 256 at once, at less than half the price of a MEAN."""
    return max(feature.shape[1:3]) <= 256


def _whole_window(feature: Feature) -> dict[str, int | float | bool]:
    window = Window(feature.shape[1:3], (1, 1), (1, 1), None, "VALID")
    return pool_options(window, VALID, 0)


def pool_options(window: Window, padding: int, activation: int) -> dict[str, int | float | bool]:
    """The option fields of a TFLite pool."""
    return {
        "Padding": padding,
        **window.options(),
        "FilterHeight": window.kernel[0],
        "FilterWidth": window.kernel[1],
        "FusedActivationFunction": activation,
    }
