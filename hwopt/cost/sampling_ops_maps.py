"""Operators without weights: arithmetic, activations, pools, resizes, and what moves data."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from hwopt.cost import sampling_nodes as nodes
from hwopt.cost.sampling_draws import (
    MAX_ELEMENTS,
    act,
    any_channels,
    log_uniform,
    out_channels,
    small_map,
    tokens,
)
from hwopt.cost.sampling_net import Net
from hwopt.cost.sampling_shapes import channels, dims


def add(net: Net, x: ir.Value) -> ir.Value:
    """A residual sum."""
    return net.add(x, net.input(*dims(x)), act(net))


def gate(net: Net, x: ir.Value) -> ir.Value:
    """A channel-wise product, as in squeeze-and-excite."""
    return net.mul(x, net.input(1, channels(x), 1, 1))


def product(net: Net, x: ir.Value) -> ir.Value:
    """An elementwise product, difference or extremum of equals."""
    other, draw = net.input(*dims(x)), net.rng.random()
    if draw < 0.45:
        return net.mul(x, other)
    return net.sub(x, other) if draw < 0.75 else nodes.extrema(net, "Min" if draw < 0.85 else "Max", x, other)


def scale(net: Net, x: ir.Value) -> ir.Value:
    """Arithmetic with a constant: a number or one per channel; or a norm that stands alone."""
    draw, c = net.rng.random(), channels(x)
    if draw < 0.25:
        return nodes.batch_norm(net, net.concat([x, net.input(*dims(x))]), act(net) if draw < 0.1 else "")
    shape = (c, 1, 1) if draw < 0.65 else ()
    constant = net.constant(np.asarray(net.rng.uniform(0.2, 3.0, shape), np.float32))
    op_type = ("Add", "Mul", "Sub", "Div")[int(net.rng.integers(4))]
    return net.node(op_type, [x, constant], dims(x))


def pool(net: Net, x: ir.Value) -> ir.Value:
    """Max or average pooling: square or not, overlapping or not, with and without padding."""
    kind = "MaxPool" if net.rng.random() < 0.55 else "AveragePool"
    if net.rng.random() < 0.6:
        return net.pool(x, kind, int(net.rng.choice([2, 3, 3, 5, 7])), int(net.rng.choice([1, 2, 2])))
    size = dims(x)[2:]
    kernel = [min(int(net.rng.choice([1, 2, 2, 3, 4, 7])), n) for n in size]
    strides = [int(net.rng.choice([1, 2, 2, k])) for k in kernel]
    ceil = kernel == strides and all(n % k == 0 for n, k in zip(size, kernel, strict=True))
    strides = [min(s, 3) for s in strides]
    return nodes.window_pool(net, x, kind, (kernel[0], kernel[1]), (strides[0], strides[1]), ceil)


def global_pool(net: Net, x: ir.Value) -> ir.Value:
    """Global pooling, average or (rarely) maximum."""
    if net.rng.random() < 0.8:
        return net.global_pool(x)
    return net.node("GlobalMaxPool", [x], (1, channels(x), 1, 1))


def reduction(net: Net, x: ir.Value) -> ir.Value:
    """Sums, means and extrema over the image, over one axis, or over the channels."""
    op_type = ("ReduceMean", "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin")[int(net.rng.integers(5))]
    if net.rng.random() < 0.4:
        return nodes.reduce(net, tokens(net), op_type, ((1,), (-1,))[int(net.rng.integers(2))])
    axes = ((2, 3), (2, 3), (3,), (2,), (1,))[int(net.rng.integers(5))]
    return nodes.reduce(net, x, op_type, axes, bool(net.rng.random() < 0.7))


def activation(net: Net, x: ir.Value) -> ir.Value:
    """A non-linearity behind a concatenation, which no target fuses it into, or behind nothing."""
    if net.rng.random() < 0.7:
        _, c, h, w = dims(x)
        x = net.concat([x, net.input(1, max(1, c // 2), h, w)])
    kinds = (
        "hswish", "hswish_parts", "silu", "silu", "sigmoid", "sigmoid", "hsigmoid", "tanh", "leaky", "leaky",
        "relu", "relu6", "gelu", "prelu", "Elu", "Exp", "Abs", "Neg",
    )  # fmt: skip
    kind = kinds[int(net.rng.integers(len(kinds)))]
    return nodes.unary(net, x, kind) if kind[0].isupper() else net.activate(x, kind)


def gelu(net: Net, x: ir.Value) -> ir.Value:
    """Gelu written out, or behind a convolution."""
    if net.rng.random() < 0.5:
        return nodes.gelu_parts(net, x)
    return net.conv(x, out_channels(net, x, 1), act="gelu")


def resize(net: Net, x: ir.Value) -> ir.Value:
    """Resizing by two, rarely by four; nearest, bilinear with either grid."""
    small, draw = small_map(net, x), net.rng.random()
    _, _, h, w = dims(small)
    if draw < 0.7:
        return net.resize(small, 2, "nearest" if draw < 0.4 else "linear")
    if draw < 0.85:
        return nodes.resize_to(net, small, (2 * h - 1, 2 * w - 1), "linear", "align_corners")
    if h * w > 28 * 28:
        return net.resize(small, 2, "linear")
    return nodes.resize_to(net, small, (4 * h, 4 * w), "nearest", "asymmetric")


def concat(net: Net, x: ir.Value) -> ir.Value:
    """Concatenation of two to four maps along the channels, sometimes of something computed."""
    _, _, h, w = dims(x)
    most = max(4, MAX_ELEMENTS // (h * w) // 2)
    others = [
        net.input(1, min(any_channels(net.rng), most), h, w) for _ in range(int(net.rng.choice([1, 1, 2, 3])))
    ]
    if net.rng.random() < 0.4:
        x = net.conv(x, min(out_channels(net, x, 1), most), act=act(net))
    y = net.concat([x, *others])
    return net.conv(y, out_channels(net, y, 1), act=act(net)) if net.rng.random() < 0.4 else y


def split(net: Net, x: ir.Value) -> ir.Value:
    """A map cut along the channels, its parts computed with; some cuts are free, some are copies."""
    _, c, h, w = dims(x)
    if c % 2:
        return net.node("Concat", [x, x], (1, 2 * c, h, w), {"axis": 1})
    left, right = net.split(net.conv(x, c, act=act(net)) if net.rng.random() < 0.4 else x)
    draw = net.rng.random()
    if draw < 0.35:
        return net.concat([net.depthwise(left, 3, 1, act(net)), right])
    if draw < 0.6:
        return net.concat([left, net.conv(right, c // 2, act=act(net))])
    return net.add(left, right) if draw < 0.8 else net.mul(left, net.activate(right, "sigmoid"))


def arrange(net: Net, x: ir.Value) -> ir.Value:
    """Padding, transpositions and shuffles between operators that compute."""
    draw, c = net.rng.random(), channels(x)
    if draw < 0.3:
        amounts = net.rng.integers(0, 3, 4)
        amounts[0] = max(amounts[0], 1)
        return nodes.pad(net, x, (int(amounts[0]), int(amounts[1]), int(amounts[2]), int(amounts[3])))
    if draw < 0.6 and c % 2 == 0:
        return net.shuffle(x, 4 if c % 4 == 0 and draw < 0.4 else 2)
    if draw < 0.8:
        return nodes.transpose(net, x, ((0, 1, 3, 2), (0, 2, 3, 1), (0, 3, 2, 1))[int(net.rng.integers(3))])
    return nodes.tokens(net, x)


def softmax(net: Net, x: ir.Value) -> ir.Value:
    """Softmax over a class vector, over rows of scores, or over an alphabet at every place of a text."""
    draw = net.rng.random()
    if draw < 0.4:
        return net.softmax(net.input(1, log_uniform(net.rng, 2, 1280)))
    if draw < 0.6:
        return net.softmax(net.input(1, log_uniform(net.rng, 4, 96), log_uniform(net.rng, 512, 8192)))
    n = log_uniform(net.rng, 4, 160)
    return net.softmax(net.input(1, int(net.rng.choice([1, 2, 4])), n, n))


def norm(net: Net, x: ir.Value) -> ir.Value:
    """Layer norm of tokens or of an image's channels, instance norm."""
    draw = net.rng.random()
    if draw < 0.5:
        rows = tokens(net)
        return nodes.layer_norm(net, rows) if draw < 0.25 else nodes.layer_norm_parts(net, rows)
    return nodes.channel_norm(net, x) if draw < 0.8 else nodes.instance_norm(net, x)
