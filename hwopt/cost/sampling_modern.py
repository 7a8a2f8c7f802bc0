"""Families with branches, grouped or plain convolutions, and feature maps that are enlarged again.

RegNet, DenseNet, Inception, RepVGG, GhostNet as classifiers; EfficientDet's weighted pyramid,
DeepLab's dilated pyramid and ENet-like decoders as networks with maps at their outputs.
"""

from __future__ import annotations

import onnx_ir as ir

from hwopt.cost import sampling_blocks as blocks
from hwopt.cost import sampling_nodes as nodes
from hwopt.cost.sampling_blocks import Draw, round_channels
from hwopt.cost.sampling_net import Net
from hwopt.cost.sampling_shapes import channels, dims

CLASSES = (2, 10, 21, 100, 200, 365, 1000, 1000, 1000)


def _classes(d: Draw) -> int:
    return int(d.rng.choice(CLASSES))


def regnet(net: Net, d: Draw, x: ir.Value) -> list[ir.Value]:
    """Radosavovic et al. 2020 (X and Y): bottlenecks whose 3x3 works in groups of equal width."""
    x = blocks.stem(net, d, x, 32, d.act)
    width, squeeze = int(d.rng.choice([8, 16, 24])), d.happens(0.4)
    for base in (48, 104, 208, 440):
        out = max(1, round(d.channels(base) / width)) * width
        for stride in (2, 1):
            net.next_block()
            h = net.conv(x, out, act=d.act)
            k = d.kernel(3)
            h = net.window(h, out, (k, k), stride, groups=out // width, act=d.act)
            if squeeze:
                h = blocks.squeeze_excite(net, d, h, round_channels(out / 4, 4))
            short = x if stride == 1 and channels(x) == out else net.conv(x, out, 1, stride)
            x = net.add(short, net.conv(h, out), d.act)
    return [blocks.classifier(net, d, x, _classes(d))]


def densenet(net: Net, d: Draw, x: ir.Value) -> list[ir.Value]:
    """Huang et al. 2017: every layer reads all maps before it; norms stand alone or are folded."""
    growth = round_channels(d.channels(24), 4)
    x = net.pool(blocks.stem(net, d, x, 2 * growth, "relu"), "MaxPool", 3, 2)
    standing = d.happens(0.4)
    for stage, layers in enumerate((4, 6, 8)):
        maps = [x]
        for _ in range(min(layers, 3) if d.jitter > 0.2 else layers):
            net.next_block()
            h = net.concat(maps) if len(maps) > 1 else x
            h = nodes.batch_norm(net, h, "relu") if standing else h
            h = net.conv(h, d.pick(4, (2, 4)) * growth, act="relu")
            maps.append(net.conv(h, growth, d.pick(3, (3, 5)), act="" if standing else "relu"))
        net.next_block()
        x = net.conv(net.concat(maps), d.channels(64 * 2**stage), act="relu")
        x = net.pool(x, "AveragePool", 2, 2) if stage < 2 and min(dims(x)[2:]) % 2 == 0 else x
    return [blocks.classifier(net, d, x, _classes(d))]


def _inception_block(net: Net, d: Draw, x: ir.Value, out: int, act: str) -> ir.Value:
    """Four branches: 1x1, a factorised 7x7 or 3x3, two 3x3, and a pool."""
    net.next_block()
    quarter = round_channels(out / 4, 4)
    narrow = d.hidden(quarter)
    n = int(d.rng.choice([3, 5, 7]))
    tall = net.window(net.conv(x, narrow, act=act), narrow, (1, n), act=act)
    deep = net.conv(net.conv(x, narrow, act=act), quarter, d.pick(3, (3, 5)), act=act)
    kind = "AveragePool" if d.happens(0.6) else "MaxPool"
    return net.concat(
        [
            net.conv(x, quarter, act=act),
            net.window(tall, quarter, (n, 1), act=act),
            net.conv(deep, quarter, 3, act=act) if d.happens(0.6) else deep,
            net.conv(net.pool(x, kind, 3, 1), quarter, act=act),
        ]
    )


def inception(net: Net, d: Draw, x: ir.Value) -> list[ir.Value]:
    """Szegedy et al. 2016 (v3), thin: parallel branches with 1xN and Nx1 kernels."""
    x = blocks.stem(net, d, x, 32, d.act)
    x = net.conv(x, d.channels(48), 3, 2, d.act)
    for base in (128, 192, 320):
        x = _inception_block(net, d, x, d.channels(base), d.act)
        x = _inception_block(net, d, x, d.channels(base), d.act)
        x = net.pool(x, "MaxPool", 3, 2)
    return [blocks.classifier(net, d, x, _classes(d))]


def repvgg(net: Net, d: Draw, x: ir.Value) -> list[ir.Value]:
    """Ding et al. 2021 (RepVGG) or Vasu et al. 2023 (MobileOne) as deployed: plain stacks."""
    separable, act = d.happens(0.4), d.act if d.happens(0.4) else "relu"
    for base, repeats in ((48, 1), (48, 2), (96, 3), (192, 3), (512, 1)):
        out = d.channels(base if not separable else 1.5 * base)
        for i in range(repeats):
            stride = 2 if i == 0 else 1
            if separable and base > 48:
                x = blocks.separable(net, d, x, out, 3, stride, act)
            else:
                net.next_block()
                x = net.conv(x, out, d.pick(3, (3, 5, 1)), stride, act)
    return [blocks.classifier(net, d, x, _classes(d))]


def _ghost(net: Net, d: Draw, x: ir.Value, out: int, act: str) -> ir.Value:
    """Half of the maps by 1x1, the other half cheaply from them by a depthwise convolution."""
    half = max(4, out // 2)
    y = net.conv(x, half, act=act)
    return net.concat([y, net.depthwise(y, d.kernel(3), 1, act)])


def ghostnet(net: Net, d: Draw, x: ir.Value) -> list[ir.Value]:
    """Han et al. 2020: inverted bottlenecks of ghost modules."""
    x = blocks.stem(net, d, x, 16, "relu")
    plan = [(48, 24, 2), (72, 24, 1), (120, 40, 2), (200, 80, 2), (480, 112, 1), (672, 160, 2)]
    for hidden, base, stride in plan:
        net.next_block()
        out = 2 * round_channels(d.channels(base) / 2, 4)
        h = _ghost(net, d, x, d.hidden(hidden * d.width), "relu")
        h = net.depthwise(h, d.kernel(3), 2) if stride == 2 else h
        if base >= 40 and d.happens(0.5):
            h = blocks.squeeze_excite(net, d, h, round_channels(channels(h) / 4, 4))
        y = _ghost(net, d, h, out, "")
        x = net.add(x, y) if dims(x) == dims(y) else y
    return [blocks.classifier(net, d, x, _classes(d))]


def _backbone(net: Net, d: Draw, x: ir.Value, act: str) -> list[ir.Value]:
    """Feature maps at a quarter, an eighth, a sixteenth and a thirty-second of the size."""
    x = blocks.stem(net, d, x, 24, act)
    maps = []
    for base, k in ((24, 3), (40, 5), (96, 3), (160, 5)):
        out = d.channels(base)
        x = blocks.inverted_bottleneck(net, d, x, out, 4, k, 2, act)
        x = blocks.inverted_bottleneck(net, d, x, out, 4, k, 1, act)
        maps.append(x)
    return maps


def efficientdet(net: Net, d: Draw, x: ir.Value) -> list[ir.Value]:
    """Tan et al. 2020: a pyramid of upsampled and pooled sums, then separable heads."""
    act = d.act
    maps = _backbone(net, d, x, act)[1:]
    width = d.channels(64)
    maps = [net.conv(m, width) for m in maps]
    mode = "nearest" if d.happens(0.7) else "linear"
    for i in (1, 0):
        net.next_block()
        if dims(maps[i])[2:] == tuple(2 * n for n in dims(maps[i + 1])[2:]):
            both = net.add(maps[i], net.resize(maps[i + 1], 2, mode))
            maps[i] = blocks.separable(net, d, both, width, 3, 1, act)
    for i in (1, 2):
        net.next_block()
        down = net.pool(maps[i - 1], "MaxPool", 3, 2)
        if dims(down) == dims(maps[i]):
            maps[i] = blocks.separable(net, d, net.add(maps[i], down), width, 3, 1, act)
    anchors = int(d.rng.choice([1, 3, 9]))
    outputs = []
    for m in maps:
        outputs.append(net.conv(blocks.separable(net, d, m, width, 3, 1, act), 4 * anchors))
        outputs.append(
            net.conv(net.depthwise(m, 3, 1), int(d.rng.choice([1, 20, 80])) * anchors, act="sigmoid")
        )
    return outputs


def deeplab(net: Net, d: Draw, x: ir.Value) -> list[ir.Value]:
    """Chen et al. 2018 (v3+): dilated convolutions at an eighth or sixteenth, then a large resize."""
    act = d.act
    low, *_, x = _backbone(net, d, x, act)[:3]
    width = d.channels(64)
    net.next_block()
    branches = [net.conv(x, width, act=act)]
    for dilation in (2, 4, 6) if d.happens(0.5) else (2, 3):
        if d.happens(0.5):
            branches.append(net.window(x, width, (3, 3), 1, dilation, act=act))
        else:
            h = net.window(x, channels(x), (3, 3), 1, dilation, channels(x), act)
            branches.append(net.conv(h, width, act=act))
    x = net.conv(net.concat(branches), width, act=act)
    for _ in range(2):
        net.next_block()
        x = net.resize(x, 2, "linear" if d.happens(0.6) else "nearest")
        if dims(x)[2:] == dims(low)[2:]:
            x = net.concat([x, net.conv(low, round_channels(width / 4, 4), act=act)])
        x = blocks.separable(net, d, x, width, 3, 1, act)
    return [net.conv(x, int(d.rng.choice([1, 2, 19, 21])))]


def enet(net: Net, d: Draw, x: ir.Value) -> list[ir.Value]:
    """Paszke et al. 2016, in spirit: asymmetric and dilated bottlenecks, transposed convolutions back up."""
    act = "prelu" if d.happens(0.3) else d.act
    x = net.conv(x, d.channels(16), 3, 2, act)
    for base in (32, 64):
        x = blocks.residual_basic(net, d, x, d.channels(base), 2, act)
        for form in ("plain", "dilated", "tall"):
            net.next_block()
            h = net.conv(x, d.hidden(channels(x) / 2), act=act)
            if form == "tall":
                h = net.window(net.window(h, channels(h), (1, 5), act=act), channels(h), (5, 1), act=act)
            else:
                h = net.window(
                    h, channels(h), (3, 3), 1, 1 if form == "plain" else int(d.rng.choice([2, 4])), act=act
                )
            x = net.add(x, net.conv(h, channels(x)), act)
    for base in (32, 16):
        net.next_block()
        x = net.conv_transpose(x, d.channels(base), int(d.rng.choice([2, 3, 3, 4])), 2, act)
        x = net.conv(x, channels(x), 3, 1, act)
    last = int(d.rng.choice([1, 2, 12, 21]))
    return [net.conv_transpose(x, last, d.pick(2, (2, 3, 4)), 2) if d.happens(0.6) else net.conv(x, last)]
