"""Families with feature maps as outputs: detectors and segmentation (SSD, U-Net, YOLOv8)."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from hwopt.cost import sampling_blocks as blocks
from hwopt.cost.sampling_blocks import Draw, stem
from hwopt.cost.sampling_net import Net
from hwopt.cost.sampling_shapes import channels, dims


def _head(net: Net, d: Draw, x: ir.Value, outs: Sequence[int], act: str) -> list[ir.Value]:
    """Detection outputs on one feature map: separable or full convolutions."""
    result = []
    for out in outs:
        net.next_block()
        h = net.depthwise(x, 3, 1, act) if d.happens(0.6) else net.conv(x, channels(x), 3, 1, act)
        result.append(net.conv(h, out, d.pick(1, (1, 3))))
    return result


def ssd(net: Net, d: Draw, x: ir.Value) -> list[ir.Value]:
    """Liu et al. 2016 with a MobileNet backbone (SSDLite): boxes and classes at three sizes."""
    x = stem(net, d, x, 24, d.act)
    outputs: list[ir.Value] = []
    for base, stride in ((48, 2), (96, 2), (192, 2), (384, 2)):
        x = blocks.separable(net, d, x, d.channels(base), 3, stride, d.act)
        x = blocks.separable(net, d, x, channels(x), 3, 1, d.act)
        if min(dims(x)[2:]) <= 28:
            anchors = int(d.rng.integers(3, 7))
            outputs += _head(net, d, x, (4 * anchors, int(d.rng.choice([2, 21, 91])) * anchors), d.act)
    return outputs or [x]


def unet(net: Net, d: Draw, x: ir.Value) -> list[ir.Value]:
    """Ronneberger et al. 2015, thin, with transposed convolutions or resizing on the way up."""
    skips: list[ir.Value] = []
    x = net.conv(x, d.channels(16), 3, 2, d.act)
    for base in (32, 64, 128):
        skips.append(x)
        x = blocks.residual_basic(net, d, x, d.channels(base), 2, d.act)
    for skip in reversed(skips):
        net.next_block()
        if d.happens(0.5):
            x = net.conv_transpose(x, channels(skip), d.pick(2, (2, 3, 4)), 2, d.act)
        else:
            mode = "nearest" if d.happens(0.6) else "linear"
            x = net.conv(net.resize(x, 2, mode), channels(skip), 3, 1, d.act)
        x = net.add(x, skip) if d.happens(0.4) else net.concat([x, skip])
        x = net.conv(x, channels(skip), 3, 1, d.act)
    return [net.conv(x, int(d.rng.choice([1, 2, 19, 21])), act="sigmoid" if d.happens(0.3) else "")]


def yolo(net: Net, d: Draw, x: ir.Value) -> list[ir.Value]:
    """YOLOv8-nano's plan: C2f, SPPF, one upsampling, heads."""
    act = "silu" if d.happens(0.6) else d.act
    x = net.conv(x, d.channels(16), 3, 2, act)
    maps: list[ir.Value] = []
    for base in (32, 64, 128):
        net.next_block()
        out = 2 * blocks.round_channels(d.channels(base) / 2, 4)
        x = blocks.cross_stage(net, d, net.conv(x, out, 3, 2, act), out, act)
        maps.append(x)
    x = blocks.pyramid_pool(net, d, x, act)
    net.next_block()
    up = net.concat([net.resize(x, 2), maps[-2]]) if dims(maps[-2])[2] == 2 * dims(x)[2] else x
    up = blocks.cross_stage(net, d, up, 2 * blocks.round_channels(channels(maps[-2]) / 2, 4), act)
    return [*_head(net, d, up, (64, 80), act), *_head(net, d, x, (64, 80), act)]
