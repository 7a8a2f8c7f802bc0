"""Every operator that a target's coverage is checked on, each inside a small network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import onnx_ir as ir

from hwopt.cost import sampling_nodes as nodes
from hwopt.cost.sampling_net import Net
from hwopt.cost.sampling_shapes import channels
from hwopt.cost.sampling_weights import WeightStyle
from hwopt.shapes import TensorInfo, infer_shapes

Case = Callable[[Net], ir.Value]


def _image(net: Net, c: int = 32, size: int = 16) -> ir.Value:
    return net.input(1, c, size, size)


def _tokens(net: Net) -> ir.Value:
    return net.input(1, 64, 96)


def _number(net: Net, value: float) -> ir.Value:
    return net.constant(np.array(value, np.float32))


def _conv(k: tuple[int, int], s: int = 1, dilation: int = 1, groups: int = 1, out: int = 32) -> Case:
    return lambda net: net.window(_image(net), out, k, s, dilation, groups)


def _act(word: str) -> Case:
    return lambda net: net.activate(net.concat([_image(net), _image(net)]), word)


def _unary(op_type: str) -> Case:
    return lambda net: nodes.unary(net, net.concat([_image(net), _image(net)]), op_type)


def _pool(op_type: str, k: tuple[int, int], s: tuple[int, int], ceil: bool = False) -> Case:
    return lambda net: nodes.window_pool(net, _image(net, size=17), op_type, k, s, ceil)


def _resize(size: tuple[int, int], mode: str, transform: str) -> Case:
    return lambda net: nodes.resize_to(net, _image(net), size, mode, transform)


def _reduce(op_type: str, axes: tuple[int, ...], keep: bool = True) -> Case:
    return lambda net: nodes.reduce(net, _image(net), op_type, axes, keep)


def _pair(op_type: str) -> Case:
    return lambda net: net.node(op_type, [_image(net), _image(net)], (1, 32, 16, 16))


def _with(op_type: str, value: float) -> Case:
    return lambda net: net.node(op_type, [_image(net), _number(net, value)], (1, 32, 16, 16))


def _per_channel(op_type: str) -> Case:
    return lambda net: net.node(op_type, [_image(net), nodes.constant_of(net, (32, 1, 1))], (1, 32, 16, 16))


def _gate(op_type: str) -> Case:
    return lambda net: net.node(op_type, [_image(net), net.input(1, 32, 1, 1)], (1, 32, 16, 16))


def _squeeze(net: Net) -> ir.Value:
    x = _image(net)
    return net.mul(x, net.conv(net.conv(net.global_pool(x), 8, act="relu"), channels(x), act="sigmoid"))


def _split(net: Net) -> ir.Value:
    left, right = nodes.split(net, _image(net), (16, 16))
    return net.add(left, right)


CASES: dict[str, Case] = {
    "conv 1x1": _conv((1, 1)),
    "conv 3x3": _conv((3, 3)),
    "conv 3x3 stride 2": _conv((3, 3), 2),
    "conv 5x5": _conv((5, 5)),
    "conv 7x7 stride 2": _conv((7, 7), 2),
    "conv 1x3": _conv((1, 3)),
    "conv 7x1": _conv((7, 1)),
    "conv 3x3 dilation 2": _conv((3, 3), 1, 2),
    "conv 3x3 dilation 4": _conv((3, 3), 1, 4),
    "conv 3x3 grouped by 4": _conv((3, 3), 1, 1, 4),
    "conv 3x3 grouped by 8, stride 2": _conv((3, 3), 2, 1, 8),
    "depthwise 3x3": _conv((3, 3), 1, 1, 32),
    "depthwise 7x7": _conv((7, 7), 1, 1, 32),
    "depthwise 3x3 dilation 2": _conv((3, 3), 1, 2, 32),
    "depthwise 3x3, multiplier 2": _conv((3, 3), 1, 1, 32, 64),
    "conv 5x5 stride 4": _conv((5, 5), 4),
    "conv 1-D": lambda net: net.node(
        "Conv", [net.input(1, 32, 64), nodes.constant_of(net, (32, 32, 3))], (1, 32, 62)
    ),
    "transposed 2x2 stride 2": lambda net: net.conv_transpose(_image(net), 16, 2, 2),
    "transposed 3x3 stride 2": lambda net: net.conv_transpose(_image(net), 16, 3, 2),
    "transposed 4x4 stride 2": lambda net: net.conv_transpose(_image(net), 16, 4, 2),
    "transposed 4x4 stride 4": lambda net: net.conv_transpose(_image(net), 16, 4, 4),
    "transposed 3x3 stride 1": lambda net: net.conv_transpose(_image(net), 16, 3, 1),
    "max pool 2x2": _pool("MaxPool", (2, 2), (2, 2)),
    "max pool 3x3 ceil": _pool("MaxPool", (3, 3), (2, 2), True),
    "max pool 5x5 stride 1": lambda net: net.pool(_image(net), "MaxPool", 5, 1),
    "average pool 3x3 padded": lambda net: net.pool(_image(net), "AveragePool", 3, 1),
    "average pool 9x9 padded": lambda net: net.pool(_image(net), "AveragePool", 9, 1),
    "average pool 3x3 ceil": _pool("AveragePool", (3, 3), (2, 2), True),
    "average pool 7x7 stride 7": _pool("AveragePool", (7, 7), (7, 7)),
    "average pool 1x4": _pool("AveragePool", (1, 4), (1, 4)),
    "global average pool": lambda net: net.global_pool(_image(net)),
    "global max pool": lambda net: net.node("GlobalMaxPool", [_image(net)], (1, 32, 1, 1)),
    "Gemm": lambda net: net.gemm(net.input(1, 128), 100),
    "MatMul constant": lambda net: net.matmul(_tokens(net), 128),
    "MatMul constant, bias": lambda net: nodes.linear(net, _tokens(net), 128),
    "MatMul batched": lambda net: nodes.product(net, net.input(1, 4, 64, 24), net.input(1, 4, 24, 64)),
    "MatMul of two ranks": lambda net: net.node(
        "MatMul", [net.input(1, 4, 64, 32), net.input(32, 16)], (1, 4, 64, 16)
    ),
    "Add": _pair("Add"),
    "Sub": _pair("Sub"),
    "Mul": _pair("Mul"),
    "Div": _pair("Div"),
    "Min": _pair("Min"),
    "Max": _pair("Max"),
    "Add constant": _with("Add", 3.0),
    "Mul constant": _with("Mul", 0.3),
    "Div constant": _with("Div", 7.0),
    "Pow 2": _with("Pow", 2.0),
    "Pow 3": _with("Pow", 3.0),
    "Add per channel": _per_channel("Add"),
    "Mul per channel": _per_channel("Mul"),
    "Add broadcast": _gate("Add"),
    "Mul broadcast": _gate("Mul"),
    **{
        f"activation {word}": _act(word)
        for word in (
            "relu",
            "relu6",
            "leaky",
            "sigmoid",
            "tanh",
            "hswish",
            "hswish_parts",
            "hsigmoid",
            "silu",
        )
    },
    **{
        op_type: _unary(op_type)
        for op_type in ("Elu", "Exp", "Abs", "Neg", "Sqrt", "Log", "Erf", "Softplus", "Reciprocal")
    },
    "PRelu": lambda net: net.activate(_image(net), "prelu"),
    "Gelu": lambda net: net.activate(_image(net), "gelu"),
    "Gelu written out": lambda net: nodes.gelu_parts(net, _image(net)),
    "BatchNormalization": lambda net: nodes.batch_norm(net, net.concat([_image(net), _image(net)])),
    "LayerNormalization": lambda net: nodes.layer_norm(net, _tokens(net)),
    "LayerNormalization written out": lambda net: nodes.layer_norm_parts(net, _tokens(net)),
    "LayerNormalization of channels": lambda net: nodes.channel_norm(net, _image(net)),
    "InstanceNormalization": lambda net: nodes.instance_norm(net, _image(net)),
    "Softmax": lambda net: net.softmax(net.input(1, 100)),
    "Softmax of scores": lambda net: net.softmax(net.input(1, 4, 64, 64)),
    "Softmax over channels": lambda net: net.node("Softmax", [_image(net)], (1, 32, 16, 16), {"axis": 1}),
    "Resize nearest": _resize((32, 32), "nearest", "asymmetric"),
    "Resize nearest, uneven": _resize((25, 25), "nearest", "asymmetric"),
    "Resize bilinear": _resize((32, 32), "linear", "half_pixel"),
    "Resize bilinear by 4": _resize((64, 64), "linear", "half_pixel"),
    "Resize bilinear, corners": _resize((31, 31), "linear", "align_corners"),
    "Resize bilinear, uneven": _resize((25, 25), "linear", "half_pixel"),
    "Resize bilinear, down": _resize((8, 8), "linear", "half_pixel"),
    "Resize cubic": _resize((32, 32), "cubic", "half_pixel"),
    "Concat channels": lambda net: net.concat([_image(net), _image(net)]),
    "Concat rows": lambda net: net.node("Concat", [_image(net), _image(net)], (1, 32, 32, 16), {"axis": 2}),
    "Split": _split,
    "Slice": lambda net: net.split(_image(net))[0],
    "Shuffle": lambda net: net.shuffle(_image(net)),
    "Pad": lambda net: nodes.pad(net, _image(net), (1, 1, 2, 2)),
    "Pad by reflection": lambda net: net.node(
        "Pad",
        [_image(net), net.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))],
        (1, 32, 18, 18),
        {"mode": "reflect"},
    ),
    "Gather": lambda net: net.node(
        "Gather", [_tokens(net), net.constant(np.array([0], np.int64))], (1, 1, 96), {"axis": 1}
    ),
    "Gather of scattered rows": lambda net: net.node(
        "Gather", [_tokens(net), net.constant(np.array([5, 2], np.int64))], (1, 2, 96), {"axis": 1}
    ),
    "Transpose to tokens": lambda net: nodes.tokens(net, _image(net)),
    "Transpose H W": lambda net: nodes.transpose(net, _image(net), (0, 1, 3, 2)),
    "Reshape": lambda net: nodes.reshape(net, _image(net), (1, 64, 8, 16)),
    "ReduceMean image": _reduce("ReduceMean", (2, 3)),
    "ReduceMean image, axes dropped": _reduce("ReduceMean", (2, 3), False),
    "ReduceMean channels": _reduce("ReduceMean", (1,)),
    "ReduceMean width": _reduce("ReduceMean", (3,)),
    "ReduceMean tokens": lambda net: nodes.reduce(net, _tokens(net), "ReduceMean", (1,)),
    "ReduceMean last": lambda net: nodes.reduce(net, _tokens(net), "ReduceMean", (-1,)),
    "ReduceMean channels and image": _reduce("ReduceMean", (1, 2, 3)),
    "ReduceSum image": _reduce("ReduceSum", (2, 3)),
    "ReduceSum last": lambda net: nodes.reduce(net, _tokens(net), "ReduceSum", (-1,)),
    "ReduceMax image": _reduce("ReduceMax", (2, 3)),
    "ReduceMax channels": _reduce("ReduceMax", (1,)),
    "ReduceMin image": _reduce("ReduceMin", (2, 3)),
    "squeeze and excite": _squeeze,
    "attention": lambda net: nodes.attention(net, _tokens(net), 4),
    "ArgMax": lambda net: net.node("ArgMax", [_image(net)], (1, 1, 16, 16), {"axis": 1}),
    "DepthToSpace": lambda net: net.node("DepthToSpace", [_image(net)], (1, 8, 32, 32), {"blocksize": 2}),
    "Einsum": lambda net: net.node(
        "Einsum", [_tokens(net), net.input(1, 64, 96)], (1, 96, 96), {"equation": "bnc,bnd->bcd"}
    ),
}


@cache
def model(name: str) -> ir.Model:
    """The case as a model; not to be changed."""
    net = Net(name, WeightStyle(), (len(name), 3))
    return net.model(CASES[name](net))


@cache
def shapes(name: str) -> Mapping[str, TensorInfo]:
    """Shapes and types of all values of the case."""
    return infer_shapes(model(name), {})
