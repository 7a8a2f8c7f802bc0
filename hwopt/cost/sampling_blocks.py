"""Building blocks of convolutional networks, with the mutations that an optimizer or a designer makes.

A `Draw` holds one network's random decisions. Its `jitter` says how often a parameter leaves its
default: high for training samples, low for the whole networks that test additivity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import onnx_ir as ir

from hwopt.cost.sampling_net import Net
from hwopt.cost.sampling_shapes import channels, dims

T = TypeVar("T")
PRUNED_SHARES = (1 / 3, 1 / 2, 7 / 12, 2 / 3, 3 / 4, 5 / 6, 11 / 12)
FORMS = ("keep", "dense", "fused", "fused")
MAX_CHANNELS = 1280
MAX_FUSED_MACS = 4e8  # beyond it nobody would fuse, and a simulator takes minutes


@dataclass(frozen=True)
class Draw:
    """Random decisions of one network.

    width: multiplier on all channels. multiple: what channels are rounded to. act: the
    network's non-linearity. jitter: probability that a parameter is mutated.
    """

    rng: np.random.Generator
    width: float
    multiple: int
    act: str
    jitter: float

    def happens(self, probability: float) -> bool:
        """True with the given probability."""
        return bool(self.rng.random() < probability)

    def pick(self, default: T, options: Sequence[T]) -> T:
        """The default, or with probability `jitter` one of the options."""
        return options[int(self.rng.integers(len(options)))] if self.happens(self.jitter) else default

    def channels(self, base: float) -> int:
        """A stream's channels: scaled, sometimes shifted, rounded to a multiple."""
        scaled = base * self.width * (float(self.rng.uniform(0.7, 1.4)) if self.happens(self.jitter) else 1.0)
        return round_channels(scaled, self.pick(self.multiple, (4, 8, 8, 16)))

    def hidden(self, full: float) -> int:
        """Hidden channels of a block: full, pruned to a share, or padded up to 32."""
        if not self.happens(self.jitter):
            return round_channels(full, self.multiple)
        if self.happens(0.15):
            return round_channels(-(-full // 32) * 32, 32)
        share = PRUNED_SHARES[int(self.rng.integers(len(PRUNED_SHARES)))]
        return round_channels(full * share, int(self.rng.choice([4, 8, 8, 8, 16])))

    def kernel(self, default: int) -> int:
        """A kernel size: the default, or another odd one."""
        return self.pick(default, (3, 5, 3, 5, 7))

    def form(self, default: str = "keep") -> str:
        """The form of an inverted bottleneck: as designed, depthwise made dense, or fused."""
        return self.pick(default, FORMS)


def round_channels(count: float, multiple: int) -> int:
    """The nearest positive multiple, at most MAX_CHANNELS."""
    return int(np.clip(round(count / multiple) * multiple, multiple, MAX_CHANNELS))


def stem(net: Net, d: Draw, x: ir.Value, base: int, act: str) -> ir.Value:
    """A network's first layer."""
    return net.conv(x, d.channels(base), d.pick(3, (3, 5, 7)), d.pick(2, (1, 2, 2)), act)


def inverted_bottleneck(
    net: Net, d: Draw, x: ir.Value, out: int, expand: float, k: int, s: int, act: str, squeeze: float = 0.0
) -> ir.Value:
    """Expand, depthwise, project, with the form, kernel and hidden width possibly rewritten."""
    net.next_block()
    k = d.kernel(k)
    form = d.form()
    hidden = d.hidden(channels(x) * d.pick(expand, (2, 3, 4, 6))) if expand != 1 else channels(x)
    if form == "fused" and int(np.prod(dims(x))) * hidden * k * k / s**2 > MAX_FUSED_MACS:
        form = "keep"
    if form == "fused":
        h = net.conv(x, hidden, k, s, act)
    else:
        h = net.conv(x, hidden, 1, 1, act) if expand != 1 else x
        h = net.diagonal(h, k, s, act) if form == "dense" and hidden <= 320 else net.depthwise(h, k, s, act)
    if squeeze:
        h = squeeze_excite(net, d, h, round_channels(hidden * squeeze, 4))
    y = net.conv(h, out)
    return net.add(x, y) if s == 1 and channels(x) == out else y


def fused_bottleneck(
    net: Net, d: Draw, x: ir.Value, out: int, expand: float, k: int, s: int, act: str
) -> ir.Value:
    """Full convolution, then project: EfficientNet-EdgeTPU's block."""
    net.next_block()
    h = net.conv(x, d.hidden(channels(x) * d.pick(expand, (2, 3, 4, 6, 8))), d.kernel(k), s, act)
    y = net.conv(h, out)
    return net.add(x, y) if s == 1 and channels(x) == out else y


def squeeze_excite(net: Net, d: Draw, x: ir.Value, reduced: int) -> ir.Value:
    """Channel attention: pool, two 1x1 convolutions, gate."""
    gate = "sigmoid" if d.happens(0.4) else "hsigmoid"
    y = net.conv(net.global_pool(x), reduced, act="relu")
    return net.mul(x, net.conv(y, channels(x), act=gate))


def separable(net: Net, d: Draw, x: ir.Value, out: int, k: int, s: int, act: str) -> ir.Value:
    """Depthwise, pointwise: MobileNetV1's block, or its dense form."""
    net.next_block()
    k = d.kernel(k)
    dense = d.form() == "dense" and channels(x) <= 320
    h = net.diagonal(x, k, s, act) if dense else net.depthwise(x, k, s, act)
    return net.conv(h, out, act=act)


def residual_basic(net: Net, d: Draw, x: ir.Value, out: int, s: int, act: str) -> ir.Value:
    """Two 3x3 convolutions and a shortcut."""
    net.next_block()
    h = net.conv(x, d.hidden(out), d.pick(3, (3, 5, 1)), s, act)
    y = net.conv(h, out, 3)
    short = x if s == 1 and channels(x) == out else net.conv(x, out, 1, s)
    return net.add(short, y, act)


def residual_bottleneck(net: Net, d: Draw, x: ir.Value, out: int, s: int, act: str) -> ir.Value:
    """1x1, 3x3, 1x1 and a shortcut."""
    net.next_block()
    middle = d.hidden(out / 4)
    h = net.conv(net.conv(x, middle, act=act), middle, d.pick(3, (3, 5)), s, act)
    y = net.conv(h, out)
    short = x if s == 1 and channels(x) == out else net.conv(x, out, 1, s)
    return net.add(short, y, act)


def shuffle_unit(net: Net, d: Draw, x: ir.Value, act: str) -> ir.Value:
    """Split, transform one half, concatenate, sometimes shuffle: ShuffleNetV2's stride-1 unit."""
    net.next_block()
    left, right = net.split(x)
    h = net.depthwise(net.conv(right, channels(right), act=act), d.kernel(3))
    y = net.concat([left, net.conv(h, channels(left), act=act)])
    return net.shuffle(y) if d.happens(0.3) else y


def shuffle_down(net: Net, d: Draw, x: ir.Value, out: int, act: str) -> ir.Value:
    """ShuffleNetV2's stride-2 unit: two transformed branches."""
    net.next_block()
    half = max(4, out // 2)
    left = net.conv(net.depthwise(x, 3, 2), half, act=act)
    right = net.conv(net.depthwise(net.conv(x, half, act=act), d.kernel(3), 2), half, act=act)
    return net.concat([left, right])


def fire(net: Net, d: Draw, x: ir.Value, out: int, act: str) -> ir.Value:
    """SqueezeNet's block: squeeze, two expansions, concatenate."""
    net.next_block()
    h = net.conv(x, d.hidden(out / 8), act=act)
    return net.concat([net.conv(h, out // 2, act=act), net.conv(h, out // 2, 3, act=act)])


def cross_stage(net: Net, d: Draw, x: ir.Value, out: int, act: str) -> ir.Value:
    """YOLO's C2f: half of the channels pass through bottlenecks, all parts are concatenated."""
    net.next_block()
    first, last = net.split(net.conv(x, out, act=act))
    h = net.conv(net.conv(last, d.hidden(channels(last)), 3, act=act), channels(last), 3, act=act)
    return net.conv(net.concat([first, last, net.add(last, h)]), out, act=act)


def pyramid_pool(net: Net, d: Draw, x: ir.Value, act: str) -> ir.Value:
    """YOLO's SPPF: repeated max-pools, concatenated."""
    net.next_block()
    half = max(4, channels(x) // 2)
    parts = [net.conv(x, half, act=act)]
    for _ in range(2):
        parts.append(net.pool(parts[-1], "MaxPool", d.pick(5, (3, 5)), 1))
    return net.conv(net.concat(parts), channels(x), act=act)


def classifier(net: Net, d: Draw, x: ir.Value, classes: int) -> ir.Value:
    """Global pool and a fully connected layer, sometimes with a hidden one or a softmax."""
    net.next_block()
    h = net.flatten(net.global_pool(x))
    if d.happens(d.jitter / 2):
        h = net.gemm(h, d.channels(256), "relu")
    y = net.gemm(h, classes)
    return net.softmax(y) if d.happens(0.3) else y
