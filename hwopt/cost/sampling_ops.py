"""Single operators with log-uniform shapes: coverage of what no known network contains."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from hwopt.cost import sampling_nodes as nodes
from hwopt.cost.sampling_blocks import round_channels
from hwopt.cost.sampling_net import Net
from hwopt.cost.sampling_shapes import channels, dims
from hwopt.cost.sampling_weights import random_style

MAX_SIZE = 224
MIN_SIZE = 4
MAX_ELEMENTS = 900_000  # of the input: larger ones overflow the memories of every target
ACTS = (*("",) * 3, "relu", "relu", "relu6", "relu6", "hswish", "silu", "leaky", "sigmoid", "hsigmoid")

# Not 0: numpy pads short seeds with zeros, so that (1, 2) and (1, 2, 0) are one stream, and the
# number that said "an operator" would also say which.
_STREAM = 2

Operator = Callable[[Net, ir.Value], ir.Value]


def operator_net(seed: tuple[int, ...], operators: dict[str, Operator], weights: dict[str, int]) -> ir.Model:
    """One operator on one random input; `operators` maps kinds to builders, `weights` to frequencies."""
    rng = np.random.default_rng((*seed, _STREAM))
    kinds = sorted(operators)
    share = np.array([weights.get(kind, 1) for kind in kinds], np.float64)
    kind = kinds[int(rng.choice(len(kinds), p=share / share.sum()))]
    net = Net(kind, random_style(rng), seed)
    return net.model(operators[kind](net, net.input(*input_shape(rng))))


def input_shape(rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Log-uniform size and channels; mostly square; at most MAX_ELEMENTS elements."""
    while True:
        h = log_uniform(rng, MIN_SIZE, MAX_SIZE)
        w = h if rng.random() < 0.8 else log_uniform(rng, MIN_SIZE, MAX_SIZE)
        c = any_channels(rng)
        if h * w * c <= MAX_ELEMENTS:
            return 1, c, h, w


def log_uniform(rng: np.random.Generator, low: int, high: int) -> int:
    """An integer whose logarithm is uniform between the bounds."""
    return int(np.clip(round(float(np.exp(rng.uniform(np.log(low), np.log(high))))), low, high))


def any_channels(rng: np.random.Generator, low: int = 3) -> int:
    """Log-uniform channels: half of them multiples of 8, a fifth of 4, the rest as they come."""
    count, draw = log_uniform(rng, low, 1280), rng.random()
    if draw < 0.5:
        return round_channels(count, 8)
    return round_channels(count, 4) if draw < 0.7 else count


def _act(net: Net) -> str:
    return ACTS[int(net.rng.integers(len(ACTS)))]


def _out(net: Net, x: ir.Value, k: int) -> int:
    """Output channels that keep the layer below about half a billion multiply-adds."""
    shape = dims(x)
    limit = 5e8 / (shape[1] * shape[2] * shape[3] * k * k)
    most = int(np.clip(min(limit, MAX_ELEMENTS / (shape[2] * shape[3])), 4, 1280))
    return min(any_channels(net.rng), most)


def _stride(net: Net) -> int:
    return 2 if net.rng.random() < 0.25 else 1


def pointwise(net: Net, x: ir.Value) -> ir.Value:
    """1x1."""
    return net.conv(x, _out(net, x, 1), 1, 2 if net.rng.random() < 0.08 else 1, _act(net))


def full_conv(net: Net, x: ir.Value) -> ir.Value:
    """3x3, 5x5 or 7x7."""
    k = int(net.rng.choice([3, 3, 3, 5, 5, 7]))
    return net.conv(x, _out(net, x, k), k, _stride(net), _act(net))


def depthwise(net: Net, x: ir.Value) -> ir.Value:
    """Depthwise, 3x3 to 7x7."""
    return net.depthwise(x, int(net.rng.choice([3, 3, 5, 5, 7])), _stride(net), _act(net))


def diagonal(net: Net, x: ir.Value) -> ir.Value:
    """A densified depthwise; wide ones fall back to what they came from."""
    if channels(x) > 400:
        return depthwise(net, x)
    return net.diagonal(x, int(net.rng.choice([3, 3, 5])), _stride(net), _act(net))


def stem(net: Net, x: ir.Value) -> ir.Value:
    """A first layer: 1 to 4 input channels, large input."""
    size = int(net.rng.choice([64, 96, 112, 128, 160, 192, 224]))
    image = net.input(1, int(net.rng.choice([1, 3, 3, 3, 4])), size, size)
    return net.conv(
        image, any_channels(net.rng, 8) % 128 or 32, int(net.rng.choice([3, 3, 5, 7])), 2, _act(net)
    )


def gemm(net: Net, x: ir.Value) -> ir.Value:
    """A fully connected layer on a vector."""
    vector = net.input(1, log_uniform(net.rng, 16, 2048))
    return net.gemm(vector, log_uniform(net.rng, 2, 1280), "relu" if net.rng.random() < 0.3 else "")


def add(net: Net, x: ir.Value) -> ir.Value:
    """A residual sum."""
    return net.add(x, net.input(*dims(x)), _act(net))


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
        return nodes.batch_norm(net, net.concat([x, net.input(*dims(x))]), _act(net) if draw < 0.1 else "")
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
        return nodes.reduce(net, _tokens(net), op_type, ((1,), (-1,))[int(net.rng.integers(2))])
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


def _small(net: Net, x: ir.Value) -> ir.Value:
    """An input of a quarter of the size, to be enlarged."""
    _, c, h, w = dims(x)
    return net.input(1, min(c, 256), max(4, h // 2), max(4, w // 2))


def resize(net: Net, x: ir.Value) -> ir.Value:
    """Resizing by two, rarely by four; nearest, bilinear with either grid."""
    small, draw = _small(net, x), net.rng.random()
    _, _, h, w = dims(small)
    if draw < 0.7:
        return net.resize(small, 2, "nearest" if draw < 0.4 else "linear")
    if draw < 0.85:
        return nodes.resize_to(net, small, (2 * h - 1, 2 * w - 1), "linear", "align_corners")
    if h * w > 28 * 28:
        return net.resize(small, 2, "linear")
    return nodes.resize_to(net, small, (4 * h, 4 * w), "nearest", "asymmetric")


def transposed(net: Net, x: ir.Value) -> ir.Value:
    """A transposed convolution that enlarges by two."""
    small = _small(net, x)
    out = min(any_channels(net.rng), 160)
    return net.conv_transpose(small, out, int(net.rng.choice([2, 2, 3, 3, 4, 5])), 2, _act(net))


def concat(net: Net, x: ir.Value) -> ir.Value:
    """Concatenation of two to four maps along the channels, sometimes of something computed."""
    _, _, h, w = dims(x)
    most = max(4, MAX_ELEMENTS // (h * w) // 2)
    others = [
        net.input(1, min(any_channels(net.rng), most), h, w) for _ in range(int(net.rng.choice([1, 1, 2, 3])))
    ]
    if net.rng.random() < 0.4:
        x = net.conv(x, min(_out(net, x, 1), most), act=_act(net))
    y = net.concat([x, *others])
    return net.conv(y, _out(net, y, 1), act=_act(net)) if net.rng.random() < 0.4 else y


def split(net: Net, x: ir.Value) -> ir.Value:
    """A map cut along the channels, its parts computed with; some cuts are free, some are copies."""
    _, c, h, w = dims(x)
    if c % 2:
        return net.node("Concat", [x, x], (1, 2 * c, h, w), {"axis": 1})
    left, right = net.split(net.conv(x, c, act=_act(net)) if net.rng.random() < 0.4 else x)
    draw = net.rng.random()
    if draw < 0.35:
        return net.concat([net.depthwise(left, 3, 1, _act(net)), right])
    if draw < 0.6:
        return net.concat([left, net.conv(right, c // 2, act=_act(net))])
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
    """Softmax over a class vector, or over rows of scores."""
    if net.rng.random() < 0.5:
        return net.softmax(net.input(1, log_uniform(net.rng, 2, 1280)))
    n = log_uniform(net.rng, 4, 160)
    return net.softmax(net.input(1, int(net.rng.choice([1, 2, 4])), n, n))


def _tokens(net: Net) -> ir.Value:
    return net.input(1, log_uniform(net.rng, 4, 256), log_uniform(net.rng, 16, 512))


def matmul(net: Net, x: ir.Value) -> ir.Value:
    """A matrix product of a token sequence with constant weights, mostly with a bias."""
    return nodes.linear(net, _tokens(net), log_uniform(net.rng, 16, 1024), net.rng.random() < 0.7)


def scores(net: Net, x: ir.Value) -> ir.Value:
    """A batched matrix product of two activations, as attention has it."""
    heads, n = int(net.rng.choice([1, 2, 4])), log_uniform(net.rng, 4, 128)
    size, m = log_uniform(net.rng, 8, 96), log_uniform(net.rng, 4, 128)
    return nodes.product(net, net.input(1, heads, n, size), net.input(1, heads, size, m))


def norm(net: Net, x: ir.Value) -> ir.Value:
    """Layer norm of tokens or of an image's channels, instance norm."""
    draw = net.rng.random()
    if draw < 0.5:
        tokens = _tokens(net)
        return nodes.layer_norm(net, tokens) if draw < 0.25 else nodes.layer_norm_parts(net, tokens)
    return nodes.channel_norm(net, x) if draw < 0.8 else nodes.instance_norm(net, x)


def gelu(net: Net, x: ir.Value) -> ir.Value:
    """Gelu written out, or behind a convolution."""
    if net.rng.random() < 0.5:
        return nodes.gelu_parts(net, x)
    return net.conv(x, _out(net, x, 1), act="gelu")


def uneven(net: Net, x: ir.Value) -> ir.Value:
    """Kernels 1xN and Nx1, dilated convolutions, dense or depthwise."""
    draw = net.rng.random()
    if draw < 0.5:
        n = int(net.rng.choice([3, 3, 5, 7]))
        return net.window(x, _out(net, x, 2), (1, n) if draw < 0.25 else (n, 1), _stride(net), act=_act(net))
    dilation = int(net.rng.choice([2, 2, 3, 4, 6]))
    if draw < 0.8:
        return net.window(x, _out(net, x, 3), (3, 3), 1, dilation, act=_act(net))
    return net.window(x, channels(x), (3, 3), 1, dilation, channels(x), _act(net))


def grouped(net: Net, x: ir.Value) -> ir.Value:
    """A convolution in 2 to 32 groups, outputs as many as inputs or twice as many."""
    c = channels(x)
    groups = [g for g in (2, 4, 8, 16, 32) if c % g == 0 and 1 < c // g <= 64]
    if not groups:
        return pointwise(net, x)
    k = int(net.rng.choice([1, 3, 3, 5]))
    out = 2 * c if c <= 200 and net.rng.random() < 0.2 else c
    return net.window(x, out, (k, k), _stride(net), groups=int(net.rng.choice(groups)), act=_act(net))


_BUILDERS: tuple[Operator, ...] = (
    pointwise, full_conv, depthwise, diagonal, stem, gemm, add, gate, product, scale, pool, global_pool,
    reduction, activation, gelu, resize, transposed, concat, split, arrange, softmax, matmul, scores,
    norm, uneven, grouped,
)  # fmt: skip
OPERATORS: dict[str, Operator] = {builder.__name__: builder for builder in _BUILDERS}
OPERATOR_WEIGHTS = {
    "pointwise": 18,
    "full_conv": 15,
    "depthwise": 14,
    "diagonal": 5,
    "stem": 3,
    "gemm": 9,
    "add": 6,
    "activation": 6,
    "pool": 4,
    "resize": 4,
    "transposed": 6,
    "concat": 3,
    "split": 3,
    "gate": 2,
    "product": 2,
    "scale": 2,
    "uneven": 4,
    "grouped": 6,
    "scores": 2,
    "reduction": 2,
    "matmul": 2,
}
