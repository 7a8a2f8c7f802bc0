"""Normalisation, attention, reductions, pools and resizes of every form, for sampled networks.

Each function appends to a `Net` and returns the result's value.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from hwopt.cost.sampling_ground import Attributes
from hwopt.cost.sampling_net import Net
from hwopt.cost.sampling_shapes import broadcast, channels, dims

LAYER_NORM_OPSET = 17


def batch_norm(net: Net, x: ir.Value, act: str = "") -> ir.Value:
    """A BatchNormalization that stands alone (behind a concat, before a convolution)."""
    c = channels(x)
    scale, shift, mean = (net.vector(c) for _ in range(3))
    variance = net.constant(np.exp(net.rng.standard_normal(c)).astype(np.float32))
    return net.activate(net.node("BatchNormalization", [x, scale, shift, mean, variance], dims(x)), act)


def layer_norm(net: Net, x: ir.Value) -> ir.Value:
    """LayerNormalization over the last axis, as one operator."""
    scale, shift = net.vector(dims(x)[-1]), net.vector(dims(x)[-1])
    return net.node("LayerNormalization", [x, scale, shift], dims(x), {"axis": -1}, LAYER_NORM_OPSET)


def layer_norm_parts(net: Net, x: ir.Value) -> ir.Value:
    """The same as older exporters write it: means, a square, a square root, a division."""
    shape = dims(x)
    mean = reduce(net, x, "ReduceMean", (-1,))
    centred = net.sub(x, mean)
    square = net.node("Pow", [centred, net.constant(np.array(2.0, np.float32))], shape)
    variance = net.add(reduce(net, square, "ReduceMean", (-1,)), net.constant(np.array(1e-5, np.float32)))
    root = net.node("Sqrt", [variance], dims(variance))
    normal = net.node("Div", [centred, root], shape)
    return net.add(net.mul(normal, net.vector(shape[-1])), net.vector(shape[-1]))


def channel_norm(net: Net, x: ir.Value) -> ir.Value:
    """LayerNorm over the channels of an image, as ConvNeXt has it: there and back."""
    return images(net, layer_norm(net, tokens_last(net, x)))


def instance_norm(net: Net, x: ir.Value) -> ir.Value:
    """InstanceNormalization."""
    return net.node("InstanceNormalization", [x, net.vector(channels(x)), net.vector(channels(x))], dims(x))


def reduce(net: Net, x: ir.Value, op_type: str, axes: Sequence[int], keep: bool = True) -> ir.Value:
    """ReduceMean, ReduceMax, ReduceMin (axes as attribute: opset below 18) or ReduceSum (as input)."""
    shape = dims(x)
    chosen = {axis % len(shape) for axis in axes}
    kept = tuple(1 if i in chosen else n for i, n in enumerate(shape) if keep or i not in chosen)
    if op_type == "ReduceSum":
        names = net.constant(np.array(axes, np.int64))
        return net.node(op_type, [x, names], kept, {"keepdims": int(keep)})
    return net.node(op_type, [x], kept, {"axes": list(axes), "keepdims": int(keep)})


def mean_of_tokens(net: Net, x: ir.Value) -> ir.Value:
    """[1, N, C] as its mean [1, C], by a sum: valid in every opset."""
    return net.mul(
        reduce(net, x, "ReduceSum", (1,), keep=False), net.constant(np.array(1 / dims(x)[1], np.float32))
    )


def extrema(net: Net, op_type: str, x: ir.Value, y: ir.Value) -> ir.Value:
    """Min, Max or Div of two operands."""
    return net.node(op_type, [x, y], broadcast(x, y))


def gelu_parts(net: Net, x: ir.Value) -> ir.Value:
    """Gelu as exporters write it with the error function: 0.5 * x * (1 + erf(x / sqrt 2))."""
    inner = net.node("Div", [x, net.constant(np.array(2**0.5, np.float32))], dims(x))
    one = net.add(net.node("Erf", [inner], dims(x)), net.constant(np.array(1.0, np.float32)))
    return net.mul(net.mul(x, one), net.constant(np.array(0.5, np.float32)))


def unary(net: Net, x: ir.Value, op_type: str) -> ir.Value:
    """An operator of one operand without attributes (Elu, Exp, Abs, Sqrt ...)."""
    return net.node(op_type, [x], dims(x))


def window_pool(
    net: Net, x: ir.Value, op_type: str, kernel: tuple[int, int], strides: tuple[int, int], ceil: bool = False
) -> ir.Value:
    """A pool without padding, with any window; ceil keeps the last, partial window."""
    _, c, h, w = dims(x)
    sizes = [
        (-(-(n - k) // s) if ceil else (n - k) // s) + 1
        for n, k, s in zip((h, w), kernel, strides, strict=True)
    ]
    attributes: Attributes = {
        "kernel_shape": list(kernel),
        "strides": list(strides),
        "ceil_mode": int(ceil),
    }
    return net.node(op_type, [x], (1, c, *sizes), attributes)


def resize_to(net: Net, x: ir.Value, size: tuple[int, int], mode: str, transform: str) -> ir.Value:
    """Resize to a given height and width (not always a whole factor)."""
    _, c, _, _ = dims(x)
    empty = net.constant(np.zeros(0, np.float32))
    sizes = net.constant(np.array((1, c, *size), np.int64))
    extra = {"nearest_mode": "floor"} if mode == "nearest" else {}
    attributes: Attributes = {"mode": mode, "coordinate_transformation_mode": transform, **extra}
    return net.node("Resize", [x, empty, empty, sizes], (1, c, *size), attributes)


def pad(net: Net, x: ir.Value, pads: tuple[int, int, int, int]) -> ir.Value:
    """Zeros around an image: top, left, bottom, right."""
    _, c, h, w = dims(x)
    top, left, bottom, right = pads
    amounts = net.constant(np.array([0, 0, top, left, 0, 0, bottom, right], np.int64))
    return net.node("Pad", [x, amounts], (1, c, h + top + bottom, w + left + right))


def transpose(net: Net, x: ir.Value, perm: Sequence[int]) -> ir.Value:
    """Transpose."""
    return net.node("Transpose", [x], tuple(dims(x)[axis] for axis in perm), {"perm": list(perm)})


def reshape(net: Net, x: ir.Value, shape: Sequence[int]) -> ir.Value:
    """Reshape."""
    return net.node("Reshape", [x, net.constant(np.array(shape, np.int64))], tuple(shape))


def tokens_last(net: Net, x: ir.Value) -> ir.Value:
    """[1, C, H, W] as [1, H, W, C]."""
    return transpose(net, x, (0, 2, 3, 1))


def images(net: Net, x: ir.Value) -> ir.Value:
    """[1, H, W, C] as [1, C, H, W]."""
    return transpose(net, x, (0, 3, 1, 2))


def tokens(net: Net, x: ir.Value) -> ir.Value:
    """An image [1, C, H, W] as a sequence [1, H * W, C]."""
    _, c, h, w = dims(x)
    return transpose(net, reshape(net, x, (1, c, h * w)), (0, 2, 1))


def untokens(net: Net, x: ir.Value, size: tuple[int, int]) -> ir.Value:
    """A sequence [1, H * W, C] as an image again."""
    _, _, c = dims(x)
    return reshape(net, transpose(net, x, (0, 2, 1)), (1, c, *size))


def linear(net: Net, x: ir.Value, out: int, biased: bool = True) -> ir.Value:
    """A matrix product on the last axis, with a bias."""
    y = net.matmul(x, out)
    return net.add(y, net.vector(out)) if biased else y


def product(net: Net, x: ir.Value, y: ir.Value) -> ir.Value:
    """A batched matrix product of two activations."""
    return net.node("MatMul", [x, y], (*dims(x)[:-1], dims(y)[-1]))


def attention(net: Net, x: ir.Value, heads: int) -> ir.Value:
    """Multi-head self-attention on [1, N, C]; C is a multiple of the heads."""
    _, n, c = dims(x)
    size = c // heads
    parts = [reshape(net, linear(net, x, c), (1, n, heads, size)) for _ in range(3)]
    q, v = (transpose(net, part, (0, 2, 1, 3)) for part in (parts[0], parts[2]))
    k = transpose(net, parts[1], (0, 2, 3, 1))
    scores = net.mul(product(net, q, k), net.constant(np.array(size**-0.5, np.float32)))
    mixed = transpose(net, product(net, net.softmax(scores), v), (0, 2, 1, 3))
    return linear(net, reshape(net, mixed, (1, n, c)), c)


def split(net: Net, x: ir.Value, sizes: Sequence[int]) -> list[ir.Value]:
    """The channels in parts of these sizes, by one Split node."""
    _, _, h, w = dims(x)
    shapes = [(1, size, h, w) for size in sizes]
    return net.node_of_many("Split", [x, net.constant(np.array(sizes, np.int64))], shapes, {"axis": 1})


def constant_of(net: Net, shape: tuple[int, ...]) -> ir.Value:
    """A constant operand of this shape."""
    return net.constant(net.rng.standard_normal(shape).astype(np.float32))
