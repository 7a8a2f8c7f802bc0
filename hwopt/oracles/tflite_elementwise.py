"""Arithmetic between feature maps and constants, and activations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from hwopt.nodes import Array, attr_float, attr_int
from hwopt.oracles.tflite_fusing import batch_norm, clip_bounds, sink
from hwopt.oracles.tflite_graph import Builder, Feature, Layout, NotLowered
from hwopt.oracles.tflite_quant import FEATURE, TANH, UNIT, saturating
from hwopt.oracles.tflite_schema import Quant

_BINARY = {"Add": "ADD", "Sub": "SUB", "Mul": "MUL"}
_EXTREMA = {"Min": "MINIMUM", "Max": "MAXIMUM"}
_UNARY = {
    "Relu": ("RELU", FEATURE),
    "HardSwish": ("HARD_SWISH", FEATURE),
    "Sigmoid": ("LOGISTIC", UNIT),
    "Tanh": ("TANH", TANH),
    "Abs": ("ABS", FEATURE),
    "Exp": ("EXP", FEATURE),
    "Elu": ("ELU", FEATURE),
    "Gelu": ("GELU", FEATURE),
    "Log": ("LOG", FEATURE),
    "Neg": ("NEG", FEATURE),
}
_CLAMPS = {(0.0, 6.0): "RELU6", (0.0, np.inf): "RELU", (0.0, 1.0): "RELU_0_TO_1", (-1.0, 1.0): "RELU_N1_TO_1"}


def constant_like(builder: Builder, data: Array, feature: Feature) -> Feature:
    """A constant operand in the layout of the feature map that it meets (broadcast kept)."""
    rank = len(feature.shape)
    if data.ndim > rank and data.size > 1:
        raise NotLowered(f"a constant of rank {data.ndim} meets a tensor of rank {rank}")
    aligned = (
        data.reshape((1,) * max(rank - data.ndim, 0) + data.shape) if data.size > 1 else data.reshape(-1)
    )
    if aligned.size > 1 and feature.layout is Layout.LAST:
        aligned = np.moveaxis(aligned, 1, -1)
    if aligned.shape[-1] > 1 and feature.layout is Layout.FLAT:
        height, width, channels = feature.flat
        aligned = np.moveaxis(aligned.reshape(channels, height, width), 0, -1).reshape(1, -1)
    return replace(builder.constant(aligned), layout=feature.layout)


def operands(builder: Builder, values: Sequence[ir.Value | None]) -> list[Feature]:
    """All operands in one layout and rank; constants follow the feature maps."""
    features = {i: builder.feature(v) for i, v in enumerate(values) if not builder.is_constant(v)}
    rank = max(len(feature.shape) for feature in features.values())
    layouts = {feature.layout for feature in features.values()}
    ranks = {len(feature.shape) for feature in features.values()}
    if len(layouts) > 1 or len(ranks) > 1:
        wanted = Layout.LAST if Layout.LAST in layouts and len(ranks) == 1 else Layout.PLAIN
        features = {i: _ranked(builder, builder.move(f, wanted), rank) for i, f in features.items()}
    like = next(iter(features.values()))
    return [
        features[i] if i in features else constant_like(builder, builder.data(v, "operand"), like)
        for i, v in enumerate(values)
    ]


def _ranked(builder: Builder, feature: Feature, rank: int) -> Feature:
    return builder.reshape(feature, (1,) * (rank - len(feature.shape)) + feature.shape, feature.layout)


def _result_shape(features: Sequence[Feature]) -> tuple[int, ...]:
    return tuple(np.broadcast_shapes(*(feature.shape for feature in features)))


def emit_binary(
    builder: Builder,
    opcode: str,
    pair: Sequence[Feature],
    quant: Quant,
    name: str | None,
    activation: int = 0,
) -> Feature:
    """An operator of two operands; the result has the layout of the larger one."""
    like = pair[0] if pair[0].shape == _result_shape(pair) else pair[1]
    output = builder.new(_result_shape(pair), like.layout, quant, name)
    options = {"FusedActivationFunction": activation} if opcode in _BINARY.values() else {}
    builder.emit(opcode, tuple(feature.index for feature in pair), output, options)
    return replace(output, flat=like.flat)


def lower_binary(builder: Builder, node: ir.Node) -> None:
    """Add, Sub, Mul of feature maps or with a constant, with the activation behind it."""
    pair = operands(builder, node.inputs)
    target = sink(builder, node.outputs[0])
    output = emit_binary(
        builder, _BINARY[node.op_type], pair, target.quant, target.value.name, target.activation
    )
    builder.bind(target.value, output)


def lower_extrema(builder: Builder, node: ir.Node) -> None:
    """Min and Max of two operands."""
    if len(node.inputs) != 2:
        raise NotLowered(f"{node.op_type} of {len(node.inputs)} operands is not supported")
    pair = [builder.requantised(feature, FEATURE) for feature in operands(builder, node.inputs)]
    output = emit_binary(builder, _EXTREMA[node.op_type], pair, FEATURE, node.outputs[0].name)
    builder.bind(node.outputs[0], output)


def lower_div(builder: Builder, node: ir.Node) -> None:
    """Division by a constant, as multiplication by its reciprocal."""
    divisor = builder.facts.constant(node.inputs[1])
    if divisor is None or not np.all(divisor):
        raise NotLowered("a division by a value that is not a non-zero constant is not supported")
    feature = builder.feature(node.inputs[0])
    factor = constant_like(builder, 1.0 / np.asarray(divisor, np.float64), feature)
    target = sink(builder, node.outputs[0])
    pair = (feature, factor)
    output = emit_binary(builder, "MUL", pair, target.quant, target.value.name, target.activation)
    builder.bind(target.value, output)


def lower_pow(builder: Builder, node: ir.Node) -> None:
    """A square, as a product with itself."""
    exponent = builder.facts.constant(node.inputs[1])
    if exponent is None or exponent.size != 1 or float(exponent.reshape(())) != 2.0:
        raise NotLowered("a power other than a square is not supported")
    feature = builder.feature(node.inputs[0])
    builder.bind(
        node.outputs[0], emit_binary(builder, "MUL", (feature, feature), FEATURE, node.outputs[0].name)
    )


def lower_unary(builder: Builder, node: ir.Node) -> None:
    """Activations that TFLite has under its own name."""
    opcode, quant = _UNARY[node.op_type]
    unary(builder, node.inputs[0], opcode, quant, node.outputs[0])


def lower_sqrt(builder: Builder, node: ir.Node) -> None:
    """A square root, as a product with RSQRT: Vela leaves SQRT to the host."""
    feature = builder.feature(node.inputs[0])
    root = builder.emit("RSQRT", (feature.index,), builder.new(feature.shape, feature.layout))
    pair = (feature, replace(root, flat=feature.flat))
    builder.bind(node.outputs[0], emit_binary(builder, "MUL", pair, FEATURE, node.outputs[0].name))


def unary(
    builder: Builder,
    source: ir.Value | None,
    opcode: str,
    quant: Quant,
    value: ir.Value,
    options: dict[str, float | int | bool] | None = None,
) -> Feature:
    """An operator of one feature map that keeps shape and layout."""
    feature = builder.feature(source)
    output = replace(builder.new(feature.shape, feature.layout, quant, value.name), flat=feature.flat)
    builder.emit(opcode, (feature.index,), output, options)
    builder.bind(value, output)
    return output


def lower_leaky_relu(builder: Builder, node: ir.Node) -> None:
    """LeakyRelu."""
    options: dict[str, float | int | bool] = {"Alpha": attr_float(node, "alpha", 0.01)}
    unary(builder, node.inputs[0], "LEAKY_RELU", FEATURE, node.outputs[0], options)


def lower_prelu(builder: Builder, node: ir.Node) -> None:
    """PRelu with a constant slope."""
    feature = builder.feature(node.inputs[0])
    slope = constant_like(builder, builder.data(node.inputs[1], "the slope"), feature)
    slope = _without_batch(builder, slope)
    output = builder.new(feature.shape, feature.layout, FEATURE, node.outputs[0].name)
    builder.bind(node.outputs[0], builder.emit("PRELU", (feature.index, slope.index), output))


def _without_batch(builder: Builder, feature: Feature) -> Feature:
    """TFLite wants the slopes of a PRELU without the batch axis."""
    tensor = builder.tensors[feature.index]
    if tensor.data is None or len(tensor.shape) < 2:
        return feature
    builder.tensors[feature.index] = replace(tensor, shape=tensor.shape[1:], data=tensor.data[0])
    return feature


def lower_clip(builder: Builder, node: ir.Node) -> None:
    """A Relu or Clip that no operator before it has taken over."""
    bounds = clip_bounds(builder.facts, node)
    if bounds is None:
        raise NotLowered("the bounds of the Clip are not constants")
    if bounds in _CLAMPS:
        unary(builder, node.inputs[0], _CLAMPS[bounds], FEATURE, node.outputs[0])
        return
    feature = builder.requantised(builder.feature(node.inputs[0]), FEATURE)
    steps = [
        (opcode, bound)
        for opcode, bound in zip(("MAXIMUM", "MINIMUM"), bounds, strict=True)
        if np.isfinite(bound)
    ]
    for number, (opcode, bound) in enumerate(steps, 1):
        name = node.outputs[0].name if number == len(steps) else None
        limit = builder.requantised_constant(bound, FEATURE)
        feature = emit_binary(builder, opcode, (feature, limit), FEATURE, name)
    builder.bind(node.outputs[0], feature)


def lower_hard_sigmoid(builder: Builder, node: ir.Node) -> None:
    """HardSigmoid: a product and a sum whose stored range is [0, 1]."""
    feature = builder.feature(node.inputs[0])
    alpha, beta = attr_float(node, "alpha", 0.2), attr_float(node, "beta", 0.5)
    scaled = emit_binary(
        builder, "MUL", (feature, constant_like(builder, np.asarray([alpha]), feature)), FEATURE, None
    )
    shift = constant_like(builder, np.asarray([beta]), feature)
    output = emit_binary(builder, "ADD", (scaled, shift), saturating(0.0, 1.0), node.outputs[0].name)
    builder.bind(node.outputs[0], output)


def lower_batch_norm(builder: Builder, node: ir.Node) -> None:
    """A BatchNormalization that no convolution has taken over: a product and a sum."""
    feature = builder.feature(node.inputs[0])
    scale, shift = batch_norm(builder, node)
    column = (-1,) + (1,) * (len(feature.shape) - 2)
    factor = constant_like(builder, scale.reshape(column), feature)
    scaled = emit_binary(builder, "MUL", (feature, factor), FEATURE, None)
    target = sink(builder, node.outputs[0])
    offset = constant_like(builder, shift.reshape(column), feature)
    output = emit_binary(builder, "ADD", (scaled, offset), target.quant, target.value.name, target.activation)
    builder.bind(target.value, output)


def lower_softmax(builder: Builder, node: ir.Node) -> None:
    """Softmax along any axis: moved to the end where it is not there."""
    rank = len(builder.shape(node.inputs[0]))
    axis = attr_int(node, "axis", 1 if builder.facts.opset < 13 else -1) % rank
    if builder.facts.opset < 13 and axis != rank - 1:
        raise NotLowered("a Softmax over several axes at once (opset below 13) is not supported")
    feature = builder.feature(node.inputs[0])
    if axis != (1 if feature.layout is Layout.LAST else rank - 1):
        feature = builder.plain(node.inputs[0])
    if feature.layout is Layout.FLAT or axis == rank - 1 or feature.layout is Layout.LAST:
        output = replace(
            builder.new(feature.shape, feature.layout, UNIT, node.outputs[0].name), flat=feature.flat
        )
        builder.emit("SOFTMAX", (feature.index,), output, {"Beta": 1.0})
        builder.bind(node.outputs[0], output)
        return
    _softmax_inside(builder, node, feature, axis)


def _softmax_inside(builder: Builder, node: ir.Node, feature: Feature, axis: int) -> None:
    """Softmax along an inner axis of a PLAIN map: there and back."""
    rank = len(feature.shape)
    order = [*(a for a in range(rank) if a != axis), axis]
    moved = builder.transpose(feature, order, Layout.PLAIN)
    output = builder.new(moved.shape, Layout.PLAIN, UNIT)
    builder.emit("SOFTMAX", (moved.index,), output, {"Beta": 1.0})
    back = [order.index(a) for a in range(rank)]
    builder.bind(node.outputs[0], builder.transpose(output, back, Layout.PLAIN, node.outputs[0].name))
