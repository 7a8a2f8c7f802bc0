"""Convolutions, transposed convolutions and matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from hwopt.nodes import FloatArray, attr_float, attr_int, attr_ints, attr_string
from hwopt.oracles.tflite_fusing import fold_batch_norm, fold_bias, sink
from hwopt.oracles.tflite_graph import Builder, Feature, Layout, NotLowered
from hwopt.oracles.tflite_pads import SAME, VALID, Window, pad_codes
from hwopt.oracles.tflite_quant import FEATURE, quantise_weights
from hwopt.oracles.tflite_schema import TfTensor


@dataclass(frozen=True)
class _Kernel:
    """Indices of the weight and bias tensors."""

    weight: int
    bias: int


def _kernel(builder: Builder, weight: FloatArray, bias: FloatArray, axis: int, feature: Feature) -> _Kernel:
    """Adds quantised weights whose output channels are along `axis`."""
    weights = quantise_weights(weight, bias, axis, feature.quant)
    name = builder.owner or ""
    return _Kernel(
        builder.add(TfTensor(f"{name}/#weight", weights.data.shape, "int8", weights.quant, weights.data)),
        builder.add(TfTensor(f"{name}/#bias", weights.bias.shape, "int32", weights.bias_quant, weights.bias)),
    )


def _float(builder: Builder, value: ir.Value | None, what: str) -> FloatArray:
    return np.asarray(builder.data(value, what), np.float32)


def _weight_and_bias(builder: Builder, node: ir.Node, channels_axis: int) -> tuple[FloatArray, FloatArray]:
    weight = _float(builder, node.inputs[1], "the weight")
    if weight.ndim != 4:
        raise NotLowered(f"a kernel of rank {weight.ndim} is not supported, only 2-D convolutions are")
    channels = weight.shape[channels_axis]
    given = len(node.inputs) > 2 and node.inputs[2] is not None
    bias = _float(builder, node.inputs[2], "the bias") if given else np.zeros(channels, np.float32)
    return weight, bias


def lower_conv(builder: Builder, node: ir.Node) -> None:
    """Conv, dense, grouped or depthwise, with the batch norm and the activation behind it."""
    weight, bias = _weight_and_bias(builder, node, 0)
    group = attr_int(node, "group", 1)
    feature = builder.last(node.inputs[0])
    value, weight, bias = fold_batch_norm(builder, node.outputs[0], weight, bias, 0)
    target = sink(builder, value)
    window = Window.of(node, weight.shape[2:])
    shape = builder.shape(node.outputs[0])
    feature, padding = pad_codes(builder, feature, window, (shape[2], shape[3]), 0.0)
    depthwise = group > 1 and weight.shape[1] == 1
    order = (1, 2, 3, 0) if depthwise else (0, 2, 3, 1)
    kernel = _kernel(builder, np.transpose(weight, order), bias, 3 if depthwise else 0, feature)
    output = builder.new(
        (shape[0], shape[2], shape[3], shape[1]), Layout.LAST, target.quant, target.value.name
    )
    options = {
        "Padding": padding,
        **window.options(),
        "DilationHFactor": window.dilations[0],
        "DilationWFactor": window.dilations[1],
        "FusedActivationFunction": target.activation,
    }
    if depthwise:
        options["DepthMultiplier"] = weight.shape[0] // group
    opcode = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    builder.emit(opcode, (feature.index, kernel.weight, kernel.bias), output, options)
    builder.bind(target.value, output)


def lower_conv_transpose(builder: Builder, node: ir.Node) -> None:
    """ConvTranspose; pads other than TFLite's SAME are cut off the full result."""
    weight, bias = _weight_and_bias(builder, node, 1)
    if attr_int(node, "group", 1) != 1 or attr_ints(node, "dilations", (1, 1)) != (1, 1):
        raise NotLowered("a grouped or dilated transposed convolution is not supported")
    value, weight, bias = fold_batch_norm(builder, node.outputs[0], weight, bias, 1)
    feature = builder.last(node.inputs[0])
    strides = attr_ints(node, "strides", (1, 1))
    size = builder.shape(node.outputs[0])[2:]
    full = [(n - 1) * s + k for n, s, k in zip(feature.shape[1:3], strides, weight.shape[2:], strict=True)]
    begins = _transposed_begins(node, size, full)
    kernel = _kernel(builder, np.transpose(weight, (1, 2, 3, 0)), bias, 0, feature)
    same = _is_same(feature.shape[1:3], strides, weight.shape[2:], begins, size)
    cut = not same and (any(begins) or tuple(full) != tuple(size))
    shape = (1, *(size if same else full), weight.shape[1])
    output = builder.new(shape, Layout.LAST, FEATURE, None if cut else value.name)
    options = {"Padding": SAME if same else VALID, "StrideH": strides[0], "StrideW": strides[1]}
    inputs = (builder.ints(shape), kernel.weight, feature.index, kernel.bias)
    builder.emit("TRANSPOSE_CONV", inputs, output, options)
    if cut:
        output = _cut(builder, output, (0, *begins, 0), (1, *size, weight.shape[1]), value.name)
    builder.bind(value, output)


def _is_same(
    inputs: Sequence[int],
    strides: Sequence[int],
    kernel: Sequence[int],
    begins: Sequence[int],
    size: Sequence[int],
) -> bool:
    """Whether TFLite's SAME cuts what ONNX cuts: k - s rows, the smaller half at the beginning."""
    return all(
        n * s == out and begin == max(k - s, 0) // 2 and k >= s
        for n, s, k, begin, out in zip(inputs, strides, kernel, begins, size, strict=True)
    )


def _transposed_begins(node: ir.Node, size: Sequence[int], full: Sequence[int]) -> tuple[int, ...]:
    """How much of the full result is cut off before its first row and column."""
    if attr_string(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise NotLowered("auto_pad of a transposed convolution is not supported")
    begins = attr_ints(node, "pads", (0, 0, 0, 0))[:2]
    if any(b + n > f for b, n, f in zip(begins, size, full, strict=True)):
        raise NotLowered("output_padding beyond the full result is not supported")
    return begins


def _cut(
    builder: Builder, feature: Feature, begins: Sequence[int], shape: Sequence[int], name: str | None
) -> Feature:
    ends = [begin + size for begin, size in zip(begins, shape, strict=True)]
    output = builder.new(shape, feature.layout, feature.quant, name)
    inputs = (feature.index, builder.ints(begins), builder.ints(ends), builder.ints([1] * len(shape)))
    return builder.emit("STRIDED_SLICE", inputs, output)


def lower_gemm(builder: Builder, node: ir.Node) -> None:
    """Gemm with a constant matrix as FULLY_CONNECTED."""
    if attr_int(node, "transA", 0):
        raise NotLowered("a transposed first operand is not supported")
    weight = _float(builder, node.inputs[1], "the matrix") * np.float32(attr_float(node, "alpha", 1.0))
    weight = weight if attr_int(node, "transB", 0) else weight.T
    bias = np.zeros(weight.shape[0], np.float32)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        given = _float(builder, node.inputs[2], "the bias") * np.float32(attr_float(node, "beta", 1.0))
        bias = np.broadcast_to(given.reshape(-1), bias.shape).astype(np.float32)
    _fully_connected(builder, node, weight, bias, node.outputs[0])


def lower_matmul(builder: Builder, node: ir.Node) -> None:
    """MatMul: FULLY_CONNECTED with a constant second operand, else BATCH_MATMUL."""
    data = builder.facts.constant(node.inputs[1])
    if data is None or data.ndim != 2:
        _batch_matmul(builder, node)
        return
    weight = np.asarray(data, np.float32).T
    value, bias = fold_bias(builder, node.outputs[0], weight.shape[0])
    _fully_connected(builder, node, weight, bias, value)


def _fully_connected(
    builder: Builder, node: ir.Node, weight: FloatArray, bias: FloatArray, value: ir.Value
) -> None:
    feature = builder.feature(node.inputs[0])
    if feature.layout is Layout.FLAT:
        weight = _in_stored_order(weight, feature)
    else:
        feature = builder.plain(node.inputs[0])
    target = sink(builder, value)
    kernel = _kernel(builder, weight, bias, 0, feature)
    shape = (*feature.shape[:-1], weight.shape[0])
    output = builder.new(shape, Layout.PLAIN, target.quant, target.value.name)
    options = {"FusedActivationFunction": target.activation, "KeepNumDims": len(shape) != 2}
    builder.emit("FULLY_CONNECTED", (feature.index, kernel.weight, kernel.bias), output, options)
    builder.bind(target.value, output)


def _in_stored_order(weight: FloatArray, feature: Feature) -> FloatArray:
    """The columns [C*H*W] of a matrix reordered to the H, W, C order of a FLAT input."""
    height, width, channels = feature.flat
    columns = weight.reshape(weight.shape[0], channels, height, width)
    return np.transpose(columns, (0, 2, 3, 1)).reshape(weight.shape)


def _batch_matmul(builder: Builder, node: ir.Node) -> None:
    left, right = builder.plain(node.inputs[0]), builder.plain(node.inputs[1])
    if len(left.shape) != len(right.shape) or left.shape[:-2] != right.shape[:-2]:
        raise NotLowered(f"a matrix product of shapes {left.shape} and {right.shape} is not supported")
    output = builder.new((*left.shape[:-1], right.shape[-1]), Layout.PLAIN, FEATURE, node.outputs[0].name)
    builder.emit("BATCH_MATMUL", (left.index, right.index), output, {"AdjX": False, "AdjY": False})
    builder.bind(node.outputs[0], output)
