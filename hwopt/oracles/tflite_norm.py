"""Layer and instance normalisation, written with the means, products and roots that TFLite has."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx_ir as ir

from hwopt.nodes import attr_float, attr_int
from hwopt.oracles.tflite_elementwise import constant_like, emit_binary
from hwopt.oracles.tflite_graph import Builder, Feature, Layout, NotLowered
from hwopt.oracles.tflite_pool import emit_reduction
from hwopt.oracles.tflite_quant import FEATURE


def lower_layer_norm(builder: Builder, node: ir.Node) -> None:
    """LayerNormalization over the last axis: rows of a matrix, each on its own."""
    shape = builder.shape(node.inputs[0])
    if attr_int(node, "axis", -1) % len(shape) != len(shape) - 1:
        raise NotLowered("a LayerNormalization over several axes is not supported")
    if any(value.uses() for value in node.outputs[1:]):
        raise NotLowered("the statistics of a LayerNormalization are not supported as outputs")
    rows = (1, prod(shape[:-1]), shape[-1])
    feature = builder.reshape(builder.plain(node.inputs[0]), rows, Layout.PLAIN)
    result = _normalised(builder, node, feature, (2,), (shape[-1],), None if rows != shape else node)
    builder.bind(node.outputs[0], builder.reshape(result, shape, Layout.PLAIN, node.outputs[0].name))


def lower_instance_norm(builder: Builder, node: ir.Node) -> None:
    """InstanceNormalization: each channel over its own image."""
    feature = builder.feature(node.inputs[0])
    rank = len(feature.shape)
    axes = tuple(range(1, rank - 1)) if feature.layout is Layout.LAST else tuple(range(2, rank))
    column = (-1,) + (1,) * (rank - 2)
    builder.bind(node.outputs[0], _normalised(builder, node, feature, axes, column, node))


def _normalised(
    builder: Builder,
    node: ir.Node,
    feature: Feature,
    axes: tuple[int, ...],
    column: tuple[int, ...],
    named: ir.Node | None,
) -> Feature:
    """(x - mean) / sqrt(variance + epsilon) * scale + shift; `column` is the constants' shape."""
    mean = emit_reduction(builder, feature, "MEAN", axes)
    centred = emit_binary(builder, "SUB", (feature, mean), FEATURE, None)
    square = emit_binary(builder, "MUL", (centred, centred), FEATURE, None)
    variance = emit_reduction(builder, square, "MEAN", axes)
    epsilon = constant_like(builder, np.asarray([attr_float(node, "epsilon", 1e-5)]), variance)
    variance = emit_binary(builder, "ADD", (variance, epsilon), FEATURE, None)
    root = builder.emit("RSQRT", (variance.index,), builder.new(variance.shape, variance.layout))
    result = emit_binary(builder, "MUL", (centred, root), FEATURE, None)
    operands = [value for value in node.inputs[1:3] if value is not None]
    for number, (opcode, value) in enumerate(zip(("MUL", "ADD"), operands, strict=False), 1):
        constant = constant_like(builder, builder.data(value, "the scale or shift").reshape(column), result)
        name = node.outputs[0].name if named is not None and number == len(operands) else None
        result = emit_binary(builder, opcode, (result, constant), FEATURE, name)
    return result
