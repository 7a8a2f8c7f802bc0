"""What follows an operator and costs nothing: activations, batch norms, bias additions.

TFLite convolutions, pools and arithmetic carry a fused activation; a Clip between two other
bounds is the range of the stored int8 itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from hwopt.nodes import FloatArray, attr_float, is_op, single_consumer
from hwopt.oracles.tflite_facts import Facts
from hwopt.oracles.tflite_graph import Builder, NotLowered
from hwopt.oracles.tflite_quant import FEATURE, saturating
from hwopt.oracles.tflite_schema import Quant

NONE, RELU, RELU_N1_TO_1, RELU6 = 0, 1, 2, 3  # ActivationFunctionType of the schema
_FUSED = {(0.0, np.inf): RELU, (-1.0, 1.0): RELU_N1_TO_1, (0.0, 6.0): RELU6}


@dataclass(frozen=True)
class Sink:
    """Where the result of an operator goes: the value it stands for, and how it is clamped."""

    value: ir.Value
    activation: int
    quant: Quant


def sink(builder: Builder, output: ir.Value, quant: Quant = FEATURE) -> Sink:
    """The operator's result, together with a Relu or Clip that alone reads it."""
    node = single_consumer(output)
    bounds = clip_bounds(builder.facts, node)
    if node is None or bounds is None or node.outputs[0].name in builder.done:
        return Sink(output, NONE, quant)
    if bounds in _FUSED:
        return _taken(builder, node, Sink(node.outputs[0], _FUSED[bounds], quant))
    if np.isfinite(bounds).all() and bounds[0] <= 0 < bounds[1]:
        return _taken(builder, node, Sink(node.outputs[0], NONE, saturating(*bounds)))
    return Sink(output, NONE, quant)


def clip_bounds(facts: Facts, node: ir.Node | None) -> tuple[float, float] | None:
    """The bounds of a Relu or of a Clip with constant bounds (both Clip forms); else None."""
    if node is not None and is_op(node, "Relu"):
        return 0.0, np.inf
    if node is None or not is_op(node, "Clip"):
        return None
    low = _bound(facts, node, 1, "min", -np.inf)
    high = _bound(facts, node, 2, "max", np.inf)
    return None if low is None or high is None else (low, high)


def _bound(facts: Facts, node: ir.Node, position: int, attribute: str, default: float) -> float | None:
    if attribute in node.attributes:
        return attr_float(node, attribute, default)
    if len(node.inputs) <= position or node.inputs[position] is None:
        return default
    data = facts.constant(node.inputs[position])
    return None if data is None or data.size != 1 else float(data.reshape(()))


def _taken(builder: Builder, node: ir.Node, result: Sink) -> Sink:
    builder.done.add(node.outputs[0].name or "")
    return result


def fold_batch_norm(
    builder: Builder, output: ir.Value, weight: FloatArray, bias: FloatArray, axis: int
) -> tuple[ir.Value, FloatArray, FloatArray]:
    """The weights of a convolution together with a BatchNormalization that alone reads it."""
    node = single_consumer(output)
    if node is None or not is_op(node, "BatchNormalization"):
        return output, weight, bias
    try:
        scale, shift = batch_norm(builder, node)
    except NotLowered:
        return output, weight, bias
    builder.done.add(node.outputs[0].name or "")
    shape = [-1 if a == axis else 1 for a in range(weight.ndim)]
    return node.outputs[0], weight * scale.reshape(shape), bias * scale + shift


def batch_norm(builder: Builder, node: ir.Node) -> tuple[FloatArray, FloatArray]:
    """A BatchNormalization as a scale and a shift per channel."""
    names = ("scale", "bias", "mean", "variance")
    gamma, beta, mean, variance = (
        np.asarray(builder.data(value, name), np.float32)
        for value, name in zip(node.inputs[1:5], names, strict=True)
    )
    scale = gamma / np.sqrt(variance + attr_float(node, "epsilon", 1e-5))
    return scale.astype(np.float32), (beta - mean * scale).astype(np.float32)


def fold_bias(builder: Builder, output: ir.Value, channels: int) -> tuple[ir.Value, FloatArray]:
    """The bias of a matrix product whose only reader adds a constant vector to it."""
    node = single_consumer(output)
    none = np.zeros(channels, np.float32)
    if node is None or not is_op(node, "Add"):
        return output, none
    other = next((value for value in node.inputs if value is not output), None)
    data = builder.facts.constant(other)
    if data is None or data.size != channels or data.shape[-1] != channels:
        return output, none
    if builder.facts.shape(node.outputs[0]) != builder.facts.shape(output):
        return output, none
    builder.done.add(node.outputs[0].name or "")
    return node.outputs[0], np.asarray(data, np.float32).reshape(channels)
