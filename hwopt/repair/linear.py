"""One view of what can be fitted: a Conv or a Gemm as a matrix applied to rows.

A row is one output position of one sample: the patch that a convolution sees there, zero
padded exactly as the convolution pads, or the input vector of a Gemm.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from hwopt.activations import following_activation
from hwopt.nodes import (
    Array,
    FloatArray,
    as_conv,
    attr_float,
    attr_int,
    constant,
    dims_of,
    is_op,
)

Matrix = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]
WEIGHT, BIAS = 1, 2  # inputs of a Conv and a Gemm
HARDSWISH_FLAT = -3.0  # where its flat end begins


@dataclass(frozen=True)
class Window:
    """Where a convolution looks: all by (height, width), pads as ONNX orders them."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]


@dataclass(frozen=True)
class Linear:
    """A node that computes rows @ weight + bias. Its numbers are read when they are asked for, and once.

    shape: of the weight, (groups, features, outputs of a group). tensor, bias_tensor: the node's constants.
    window: how a convolution's rows are cut out, None for a Gemm. given: a weight in place of the node's.
    """

    node: ir.Node
    shape: tuple[int, int, int]
    tensor: ir.TensorProtocol
    bias_tensor: ir.TensorProtocol | None
    window: Window | None
    given: Matrix | None = None

    @cached_property
    def weight(self) -> Matrix:
        """[groups, features, outputs of a group]."""
        if self.given is not None:
            return self.given
        array = np.asarray(self.tensor.numpy())
        if self.window is not None:
            groups, _, outputs = self.shape
            return array.reshape(groups, outputs, -1).transpose(0, 2, 1).astype(np.float64)
        matrix = array.T if attr_int(self.node, "transB", 0) else array
        scaled: Matrix = matrix.astype(np.float64) * attr_float(self.node, "alpha", 1.0)
        return scaled[None]

    @cached_property
    def bias(self) -> Matrix:
        """[groups * outputs]."""
        if self.bias_tensor is None:
            return np.zeros(self.outputs)
        shift = np.asarray(self.bias_tensor.numpy()).astype(np.float64).reshape(-1)
        if self.window is None:
            shift = shift * attr_float(self.node, "beta", 1.0)
        return np.broadcast_to(shift, (self.outputs,)).copy()

    @property
    def input(self) -> ir.Value:
        value = self.node.inputs[0]
        assert value is not None
        return value

    @property
    def output(self) -> ir.Value:
        return self.node.outputs[0]

    @property
    def pointwise(self) -> bool:
        """A dense 1x1 convolution, stride 1, without padding."""
        window = self.window
        return (
            window is not None
            and self.shape[0] == 1
            and set(window.kernel) == set(window.strides) == {1}
            and not any(window.pads)
        )

    @property
    def features(self) -> int:
        """Numbers in one row, over all groups."""
        return self.shape[0] * self.shape[1]

    @property
    def outputs(self) -> int:
        """Output channels over all groups."""
        return self.shape[0] * self.shape[2]

    def grid(self, values: Array) -> int:
        """How many output positions one sample has."""
        if self.window is None:
            return 1
        height, width = _output_size(values.shape[2:], self.window)
        return height * width

    def border(self, values: Array) -> npt.NDArray[np.bool_]:
        """[positions]: where the convolution sees padding."""
        if self.window is None:
            return np.zeros(1, np.bool_)
        window, size = self.window, values.shape[2:]
        inside = []
        for axis, count in enumerate(_output_size(size, window)):
            first = np.arange(count) * window.strides[axis] - window.pads[axis]
            last = first + window.dilations[axis] * (window.kernel[axis] - 1)
            inside.append((first >= 0) & (last < size[axis]))
        return np.asarray(~(inside[0][:, None] & inside[1][None, :])).reshape(-1)

    def rows(self, values: Array, positions: Positions) -> FloatArray:
        """The rows at some positions: [samples * positions, groups, features].

        values: the node's input, samples first; positions: [samples, positions] flat indices
        into the output's height x width.
        """
        if self.window is None:
            return values.astype(np.float32, copy=False).reshape(len(values), 1, -1)
        return _patches(values, positions, self.window, self.shape[0])


def _output_size(size: tuple[int, ...], window: Window) -> tuple[int, int]:
    """(height, width) of a convolution's output for an input of this (height, width)."""
    sizes = [
        (size[a] + window.pads[a] + window.pads[a + 2] - window.dilations[a] * (window.kernel[a] - 1) - 1)
        // window.strides[a]
        + 1
        for a in (0, 1)
    ]
    return sizes[0], sizes[1]


def _patches(values: Array, positions: Positions, window: Window, groups: int) -> FloatArray:
    top, left, bottom, right = window.pads
    padded = np.pad(values, ((0, 0), (0, 0), (top, bottom), (left, right)))
    height, width = padded.shape[2:]
    (kh, kw), (dh, dw), (sh, sw) = window.kernel, window.dilations, window.strides
    columns = _output_size(values.shape[2:], window)[1]
    y0, x0 = positions // columns * sh, positions % columns * sw
    offsets = (np.arange(kh)[:, None] * dh * width + np.arange(kw)[None, :] * dw).reshape(-1)
    flat = (y0 * width + x0)[..., None] + offsets
    samples, channels = padded.shape[:2]
    planes = padded.reshape(samples, channels, height * width)
    parts = [planes[n][:, flat[n]].transpose(1, 0, 2) for n in range(samples)]  # [positions, channels, k]
    rows = np.stack(parts).astype(np.float32, copy=False)
    return rows.reshape(samples * positions.shape[1], groups, -1)


def as_linear(node: ir.Node) -> Linear | None:
    """The node as something that can be fitted, or None where its weights are not constant."""
    conv = as_conv(node)
    if conv is not None:
        shape = conv.group, prod(conv.shape[1:]), conv.out_channels // conv.group
        window = Window(conv.kernel, conv.strides, conv.pads, conv.dilations)
        return Linear(node, shape, conv.tensor, conv.bias_tensor, window)
    return _as_gemm(node) if is_op(node, "Gemm") else None


def _as_gemm(node: ir.Node) -> Linear | None:
    weight = constant(node.inputs[1])
    has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
    bias = constant(node.inputs[2]) if has_bias else None
    if weight is None or weight.dtype != ir.DataType.FLOAT or attr_int(node, "transA", 0):
        return None
    features, outputs = dims_of(weight)[:: -1 if attr_int(node, "transB", 0) else 1]
    if has_bias and (bias is None or int(bias.size) not in (1, outputs)):
        return None
    return Linear(node, (1, features, outputs), weight, bias, None)


def write(linear: Linear, weight: Matrix, bias: Matrix) -> None:
    """Give the node new constants; constants shared with other nodes are left alone."""
    node = linear.node
    shift = bias if linear.window is not None else bias / attr_float(node, "beta", 1.0)
    put_constant(node, WEIGHT, stored(linear, weight))
    put_constant(node, BIAS, shift)


def stored(linear: Linear, weight: Matrix) -> Matrix:
    """A weight [groups, features, outputs of a group] as the node's constant holds it."""
    node, old = linear.node, constant(linear.node.inputs[1])
    assert old is not None
    if linear.window is not None:
        return weight.transpose(0, 2, 1).reshape(dims_of(old))
    matrix: Matrix = weight[0] / attr_float(node, "alpha", 1.0)
    return matrix.T if attr_int(node, "transB", 0) else matrix


def put_constant(node: ir.Node, index: int, array: Array) -> None:
    """Give the node a constant as its WEIGHT or BIAS; one that others read, too, is left alone."""
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    tensor = ir.tensor(np.ascontiguousarray(array, dtype=np.float32))
    old = node.inputs[index] if index < len(node.inputs) else None
    if old is not None and old.is_initializer() and len(old.uses()) == 1 and not old.is_graph_output():
        tensor.name = old.name
        old.const_value = tensor
        old.shape, old.type = tensor.shape, ir.TensorType(tensor.dtype)  # type: ignore[assignment]
        return
    name = _fresh(graph, f"{node.outputs[0].name}.{'weight' if index == WEIGHT else 'bias'}")
    tensor.name = name
    value = ir.Value(
        name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    graph.register_initializer(value)
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)
    producer = None if old is None else old.producer()
    if old is not None and producer is not None and not old.uses() and not old.is_graph_output():
        graph.remove(producer, safe=True)


def _fresh(graph: ir.Graph, wanted: str) -> str:
    taken = {value.name for node in graph for value in node.outputs} | set(graph.initializers)
    taken |= {value.name for value in graph.inputs}
    name, count = wanted, 0
    while name in taken:
        count += 1
        name = f"{wanted}_{count}"
    return name


@dataclass(frozen=True)
class Bounds:
    """The interval beyond which an activation is flat: ReLU is (0, inf), ReLU6 (0, 6)."""

    low: float
    high: float


def bounds_after(value: ir.Value) -> Bounds | None:
    """What the activation behind a value clips it to, or None where no end of it is flat.

    HardSwish, spelled out or not, is flat below -3: what is that low may be lower.
    """
    match = following_activation(value)
    if match is None:
        return None
    activation = match.activation
    if activation.kind == "hardswish":
        return Bounds(HARDSWISH_FLAT, float("inf"))
    return Bounds(activation.low, activation.high) if activation.bounded else None
