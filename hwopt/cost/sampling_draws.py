"""Random shapes and choices that sampled operators share."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from hwopt.cost.sampling_blocks import round_channels
from hwopt.cost.sampling_net import Net
from hwopt.cost.sampling_shapes import dims

MAX_SIZE = 224
MIN_SIZE = 4
MAX_ELEMENTS = 900_000  # of the input: larger ones overflow the memories of every target
ACTS = (*("",) * 3, "relu", "relu", "relu6", "relu6", "hswish", "silu", "leaky", "sigmoid", "hsigmoid")


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


def act(net: Net) -> str:
    """A non-linearity, or none."""
    return ACTS[int(net.rng.integers(len(ACTS)))]


def out_channels(net: Net, x: ir.Value, k: int) -> int:
    """Output channels that keep the layer below about half a billion multiply-adds."""
    shape = dims(x)
    limit = 5e8 / (shape[1] * shape[2] * shape[3] * k * k)
    most = int(np.clip(min(limit, MAX_ELEMENTS / (shape[2] * shape[3])), 4, 1280))
    return min(any_channels(net.rng), most)


def stride(net: Net) -> int:
    """Mostly 1, else 2."""
    return 2 if net.rng.random() < 0.25 else 1


def tokens(net: Net) -> ir.Value:
    """An input of a token sequence, [1, N, C]."""
    return net.input(1, log_uniform(net.rng, 4, 256), log_uniform(net.rng, 16, 512))


def small_map(net: Net, x: ir.Value) -> ir.Value:
    """An input of a quarter of the size, to be enlarged."""
    _, c, h, w = dims(x)
    return net.input(1, min(c, 256), max(4, h // 2), max(4, w // 2))
