"""Single operators with log-uniform shapes: coverage of what no known network contains."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from hwopt.cost.sampling_blocks import round_channels
from hwopt.cost.sampling_net import Net
from hwopt.cost.sampling_shapes import channels, dims
from hwopt.cost.sampling_weights import random_style

MAX_SIZE = 224
MIN_SIZE = 4
MAX_ELEMENTS = 900_000  # of the input: larger ones overflow the memories of every target
ACTS = (*("",) * 3, "relu", "relu", "relu6", "relu6", "hswish", "silu", "leaky", "sigmoid", "hsigmoid")

Operator = Callable[[Net, ir.Value], ir.Value]


def operator_net(seed: tuple[int, ...], operators: dict[str, Operator], weights: dict[str, int]) -> ir.Model:
    """One operator on one random input; `operators` maps kinds to builders, `weights` to frequencies."""
    rng = np.random.default_rng((*seed, 0))
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
    """An elementwise product or difference of equals."""
    other = net.input(*dims(x))
    return net.mul(x, other) if net.rng.random() < 0.6 else net.sub(x, other)


def pool(net: Net, x: ir.Value) -> ir.Value:
    """Max or average pooling."""
    kind = "MaxPool" if net.rng.random() < 0.6 else "AveragePool"
    return net.pool(x, kind, int(net.rng.choice([2, 3, 3, 5])), int(net.rng.choice([1, 2, 2])))


def global_pool(net: Net, x: ir.Value) -> ir.Value:
    """Global average pooling."""
    return net.global_pool(x)


def activation(net: Net, x: ir.Value) -> ir.Value:
    """A non-linearity behind a concatenation, which no target fuses it into, or behind nothing."""
    if net.rng.random() < 0.7:
        _, c, h, w = dims(x)
        x = net.concat([x, net.input(1, max(1, c // 2), h, w)])
    kinds = ("hswish", "hswish_parts", "silu", "sigmoid", "hsigmoid", "tanh", "leaky", "relu", "relu6")
    return net.activate(x, kinds[int(net.rng.integers(len(kinds)))])


def enlarge(net: Net, x: ir.Value) -> ir.Value:
    """Resizing by two, or a transposed convolution, of a quarter of the size."""
    _, c, h, w = dims(x)
    small = net.input(1, min(c, 256), max(4, h // 2), max(4, w // 2))
    if net.rng.random() < 0.5:
        return net.resize(small, 2, "nearest" if net.rng.random() < 0.6 else "linear")
    out = min(any_channels(net.rng), 128)
    return net.conv_transpose(small, out, int(net.rng.choice([2, 2, 3, 4])), 2, _act(net))


def concat(net: Net, x: ir.Value) -> ir.Value:
    """Concatenation of two maps along the channels."""
    _, _, h, w = dims(x)
    most = max(4, MAX_ELEMENTS // (h * w))
    return net.concat([x, net.input(1, min(any_channels(net.rng), most), h, w)])


def softmax(net: Net, x: ir.Value) -> ir.Value:
    """Softmax over a class vector."""
    return net.softmax(net.input(1, log_uniform(net.rng, 2, 1280)))


def matmul(net: Net, x: ir.Value) -> ir.Value:
    """A matrix product of a token sequence with constant weights."""
    tokens = net.input(1, log_uniform(net.rng, 4, 256), log_uniform(net.rng, 16, 512))
    return net.matmul(tokens, log_uniform(net.rng, 16, 1024))


def uneven(net: Net, x: ir.Value) -> ir.Value:
    """Kernels 1xN, grouped and dilated convolutions."""
    draw = net.rng.random()
    if draw < 0.4:
        kernel = (
            (1, int(net.rng.choice([3, 5]))) if net.rng.random() < 0.5 else (int(net.rng.choice([3, 5])), 1)
        )
        return net.window(x, _out(net, x, 2), kernel, act=_act(net))
    if draw < 0.7 and channels(x) % 4 == 0:
        return net.window(x, channels(x), (3, 3), groups=int(net.rng.choice([2, 4])), act=_act(net))
    return net.window(x, _out(net, x, 3), (3, 3), dilation=2, act=_act(net))


OPERATORS: dict[str, Operator] = {
    "pointwise": pointwise,
    "full_conv": full_conv,
    "depthwise": depthwise,
    "diagonal": diagonal,
    "stem": stem,
    "gemm": gemm,
    "add": add,
    "gate": gate,
    "product": product,
    "pool": pool,
    "global_pool": global_pool,
    "activation": activation,
    "enlarge": enlarge,
    "concat": concat,
    "softmax": softmax,
    "matmul": matmul,
    "uneven": uneven,
}
OPERATOR_WEIGHTS = {
    "pointwise": 16,
    "full_conv": 14,
    "depthwise": 12,
    "diagonal": 4,
    "stem": 3,
    "gemm": 9,
    "add": 5,
    "activation": 5,
    "pool": 3,
    "enlarge": 4,
    "concat": 2,
    "gate": 2,
    "product": 2,
    "uneven": 2,
}
