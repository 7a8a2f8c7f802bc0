"""Small models that show whether a device runs two operators as one: A, B, and A then B.

Operators carry the names of target files (`DepthwiseConv`, `Silu`), however many ONNX nodes
they are written with. Shapes are static, batch is 1, weights are normal and seeded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = tuple[int, ...]
Attribute = int | float | str | list[int]

OPSET = 14  # the first with HardSwish
_GROUPS = 4


@dataclass(frozen=True)
class Case:
    """The size that a pair is tried at: channels and height (= width) of the image between the two."""

    channels: int
    size: int


CASES = (Case(32, 28), Case(64, 14), Case(16, 56))


@dataclass(frozen=True)
class Built:
    """A model and the outputs of the nodes of each of its operators, in order.

    shape: of what the last operator writes.
    """

    model: bytes
    outputs: tuple[tuple[str, ...], ...]
    shape: Shape


class _Graph:
    """Appends nodes; values are names, their shapes are kept beside."""

    def __init__(self) -> None:
        self.shapes: dict[str, Shape] = {}
        self.nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._constants: list[onnx.TensorProto] = []

    def input(self, *shape: int) -> str:
        name = f"x{len(self._inputs)}"
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        self.shapes[name] = shape
        return name

    def weight(self, *shape: int) -> str:
        """Normal weights of variance 1 / fan-in; a vector is positive (scales, variances)."""
        rng = np.random.default_rng(len(self._constants))
        fan_in = int(np.prod(shape[1:])) or 1
        array = rng.standard_normal(shape) / np.sqrt(fan_in)
        return self.constant(np.abs(array) + 0.5 if len(shape) == 1 else array)

    def constant(self, array: np.ndarray) -> str:
        name = f"w{len(self._constants)}"
        dtype = np.int64 if array.dtype.kind == "i" else np.float32
        self._constants.append(numpy_helper.from_array(array.astype(dtype), name))
        return name

    def node(self, op_type: str, inputs: Sequence[str], shape: Shape, **attributes: Attribute) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(op_type, list(inputs), [name], None, None, None, None, **attributes)
        )
        self.shapes[name] = shape
        return name

    def model(self, output: str) -> bytes:
        ends = [helper.make_tensor_value_info(output, TensorProto.FLOAT, self.shapes[output])]
        graph = helper.make_graph(self.nodes, "pair", self._inputs, ends, self._constants)
        opset = [helper.make_opsetid("", OPSET)]
        data: bytes = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
        return data


# -- operators that may stand first --------------------------------------------------------------

First = Callable[[_Graph, str], str]


def _conv(g: _Graph, x: str, kernel: int = 3, group: int = 1) -> str:
    c = g.shapes[x][1]
    pads = [kernel // 2] * 4
    weights = (g.weight(c, c // group, kernel, kernel), g.weight(c))
    return g.node(
        "Conv", [x, *weights], g.shapes[x], kernel_shape=[kernel] * 2, pads=pads, strides=[1, 1], group=group
    )


def _depthwise(g: _Graph, x: str) -> str:
    return _conv(g, x, 3, g.shapes[x][1])


def _grouped(g: _Graph, x: str) -> str:
    return _conv(g, x, 3, _GROUPS)


def _transposed(g: _Graph, x: str) -> str:
    _, c, h, w = g.shapes[x]
    weights = (g.weight(c, c, 2, 2), g.weight(c))
    return g.node(
        "ConvTranspose",
        [x, *weights],
        (1, c, 2 * h, 2 * w),
        kernel_shape=[2, 2],
        strides=[2, 2],
        pads=[0] * 4,
    )


def _gemm(g: _Graph, x: str) -> str:
    n = g.shapes[x][1]
    return g.node("Gemm", [x, g.weight(n, n), g.weight(n)], (1, n), transB=1)


def _matmul(g: _Graph, x: str) -> str:
    shape = g.shapes[x]
    return g.node("MatMul", [x, g.weight(shape[-1], shape[-1])], shape)


def _binary(op_type: str) -> First:
    return lambda g, x: g.node(op_type, [x, g.input(*g.shapes[x])], g.shapes[x])


def _pool(op_type: str) -> First:
    def build(g: _Graph, x: str) -> str:
        _, c, h, w = g.shapes[x]
        half = (1, c, h // 2, w // 2)
        return g.node(op_type, [x], half, kernel_shape=[2, 2], strides=[2, 2], pads=[0] * 4)

    return build


def _global_pool(g: _Graph, x: str) -> str:
    return g.node("GlobalAveragePool", [x], (1, g.shapes[x][1], 1, 1))


def _resize(g: _Graph, x: str) -> str:
    _, c, h, w = g.shapes[x]
    scales = g.constant(np.array([1.0, 1.0, 2.0, 2.0]))
    return g.node(
        "Resize",
        [x, "", scales],
        (1, c, 2 * h, 2 * w),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def _concat(g: _Graph, x: str) -> str:
    _, c, h, w = g.shapes[x]
    return g.node("Concat", [x, g.input(1, c, h, w)], (1, 2 * c, h, w), axis=1)


ANCHORS: dict[str, First] = {
    "Conv": _conv,
    "DepthwiseConv": _depthwise,
    "GroupedConv": _grouped,
    "ConvTranspose": _transposed,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Add": _binary("Add"),
    "Sub": _binary("Sub"),
    "Mul": _binary("Mul"),
    "MaxPool": _pool("MaxPool"),
    "AveragePool": _pool("AveragePool"),
    "GlobalAveragePool": _global_pool,
    "Resize": _resize,
    "Concat": _concat,
}

# -- operators that may stand second -------------------------------------------------------------


def _unary(op_type: str, **attributes: Attribute) -> First:
    return lambda g, x: g.node(op_type, [x], g.shapes[x], **attributes)


def _clip(g: _Graph, x: str) -> str:
    bounds = [g.constant(np.array(value)) for value in (0.0, 6.0)]
    return g.node("Clip", [x, *bounds], g.shapes[x])


def _silu(g: _Graph, x: str) -> str:
    return g.node("Mul", [x, g.node("Sigmoid", [x], g.shapes[x])], g.shapes[x])


def _batch_norm(g: _Graph, x: str) -> str:
    channels = g.shapes[x][1]
    return g.node("BatchNormalization", [x, *(g.weight(channels) for _ in range(4))], g.shapes[x])


FOLLOWERS: dict[str, First] = {
    "BatchNormalization": _batch_norm,
    "Add": _binary("Add"),
    "Mul": _binary("Mul"),
    "Clip": _clip,
    "Relu": _unary("Relu"),
    "LeakyRelu": _unary("LeakyRelu", alpha=0.1),
    "Sigmoid": _unary("Sigmoid"),
    "Tanh": _unary("Tanh"),
    "HardSwish": _unary("HardSwish"),
    "HardSigmoid": _unary("HardSigmoid", alpha=1 / 6, beta=0.5),
    "Silu": _silu,
}

# What a follower is: a chain of fused followers takes at most one of each, in this order.
STAGES = ("BatchNormalization",), ("Add", "Mul")


def stage_of(follower: str) -> int:
    """0 for normalisation, 1 for arithmetic with a second input, 2 for activations."""
    return next((i for i, stage in enumerate(STAGES) if follower in stage), len(STAGES))


def input_shape(anchor: str, case: Case) -> Shape:
    """What the anchor reads: an image, a vector for Gemm, tokens for MatMul."""
    if anchor == "Gemm":
        return (1, 16 * case.channels)
    if anchor == "MatMul":
        return (1, 2 * case.size, 4 * case.channels)
    return (1, case.channels, case.size, case.size)


def chain(anchor: str, followers: Sequence[str], case: Case) -> Built:
    """The anchor at this size, then the followers one after the other."""
    return _built([ANCHORS[anchor], *(FOLLOWERS[name] for name in followers)], input_shape(anchor, case))


def alone(follower: str, shape: Shape) -> Built:
    """The follower on a graph input of this shape."""
    return _built([FOLLOWERS[follower]], shape)


def reference(shape: Shape, length: int) -> Built:
    """A chain of operators that no device runs as one: what a call costs besides its operators."""
    return _built([_conv if len(shape) == 4 else _matmul] * length, shape)


def _built(operators: Sequence[First], shape: Shape) -> Built:
    g = _Graph()
    value, outputs = g.input(*shape), []
    for operator in operators:
        before = len(g.nodes)
        value = operator(g, value)
        outputs.append(tuple(name for node in g.nodes[before:] for name in node.output))
    return Built(g.model(value), tuple(outputs), g.shapes[value])
