"""Families of real networks: each function builds one randomly drawn member as a complete model.

Channel plans follow the published architectures (MobileNetV1-V3, EfficientNet-Lite and EdgeTPU,
MNASNet, ResNet, VGG, ShuffleNetV2, SqueezeNet, LCNet, DS-CNN; more in sampling_dense, _modern
and _attention) and are then mutated. EfficientNet-Lite0 itself is never drawn: it is what the
cost models are tested on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from hwopt.cost import sampling_attention as attention
from hwopt.cost import sampling_blocks as blocks
from hwopt.cost import sampling_dense as dense
from hwopt.cost import sampling_modern as modern
from hwopt.cost.sampling_blocks import Draw
from hwopt.cost.sampling_net import Net
from hwopt.cost.sampling_shapes import channels, dims

Family = Callable[[Net, Draw, ir.Value], list[ir.Value]]
Stage = tuple[float, int, int, int, int]  # expansion, channels, repeats, stride, kernel


def _repeats(d: Draw, count: int) -> int:
    """Repeated blocks have equal shapes: a few of them say as much as all."""
    return min(count, 2) if d.jitter > 0.2 else count


def _bottleneck_stages(
    net: Net, d: Draw, x: ir.Value, stages: Sequence[Stage], acts: Sequence[str], squeezes: Sequence[float]
) -> ir.Value:
    for (expand, base, repeats, stride, k), act, squeeze in zip(stages, acts, squeezes, strict=True):
        out = d.channels(base)
        for i in range(_repeats(d, repeats)):
            s = stride if i == 0 else 1
            x = blocks.inverted_bottleneck(net, d, x, out, expand, k, s, act, squeeze)
    return x


def _classified(net: Net, d: Draw, x: ir.Value, head: int, act: str) -> list[ir.Value]:
    net.next_block()
    x = net.conv(x, blocks.round_channels(head * max(1.0, d.width), d.multiple), act=act)
    return [blocks.classifier(net, d, x, _classes(d))]


def _classes(d: Draw) -> int:
    return int(d.rng.choice([2, 10, 21, 100, 200, 365, 1000, 1000, 1000]))


def mobilenet_v1(net: Net, d: Draw, x: ir.Value) -> list[ir.Value]:
    """Howard et al. 2017, table 1."""
    x = blocks.stem(net, d, x, 32, d.act)
    plan = [(64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2)]
    for base, repeats, stride in plan:
        out = d.channels(base)
        for i in range(_repeats(d, repeats)):
            x = blocks.separable(net, d, x, out, 3, stride if i == 0 else 1, d.act)
    return [blocks.classifier(net, d, x, _classes(d))]


def mobilenet_v2(net: Net, d: Draw, x: ir.Value) -> list[ir.Value]:
    """Sandler et al. 2018, table 2."""
    stages: list[Stage] = [
        (1, 16, 1, 1, 3),
        (6, 24, 2, 2, 3),
        (6, 32, 3, 2, 3),
        (6, 64, 4, 2, 3),
        (6, 96, 3, 1, 3),
        (6, 160, 3, 2, 3),
        (6, 320, 1, 1, 3),
    ]
    x = blocks.stem(net, d, x, 32, d.act)
    x = _bottleneck_stages(net, d, x, stages, [d.act] * 7, [0.0] * 7)
    return _classified(net, d, x, 1280, d.act)


def mobilenet_v3(net: Net, d: Draw, x: ir.Value) -> list[ir.Value]:
    """Howard et al. 2019, tables 1 and 2, merged: squeeze-and-excite and hard swish."""
    hswish = "hswish" if d.happens(0.5) else "hswish_parts"
    stages: list[Stage] = [
        (1, 16, 1, 1, 3),
        (4, 24, 2, 2, 3),
        (3, 40, 3, 2, 5),
        (6, 80, 3, 2, 3),
        (6, 112, 2, 1, 3),
        (6, 160, 3, 2, 5),
    ]
    acts = ["relu", "relu", "relu", hswish, hswish, hswish]
    x = blocks.stem(net, d, x, 16, hswish)
    x = _bottleneck_stages(net, d, x, stages, acts, [0.0, 0.0, 0.25, 0.0, 0.25, 0.25])
    return _classified(net, d, x, 960, hswish)


def efficientnet_lite(net: Net, d: Draw, x: ir.Value) -> list[ir.Value]:
    """EfficientNet-Lite 1-4 and slimmer or wider relatives; the width 1 member is left out."""
    stages: list[Stage] = [
        (1, 16, 1, 1, 3),
        (6, 24, 2, 2, 3),
        (6, 40, 2, 2, 5),
        (6, 80, 3, 2, 3),
        (6, 112, 3, 1, 5),
        (6, 192, 4, 2, 5),
        (6, 320, 1, 1, 3),
    ]
    if 0.97 < d.width < 1.03:
        d = Draw(d.rng, 1.1, d.multiple, d.act, d.jitter)
    x = blocks.stem(net, d, x, 32, "relu6")
    x = _bottleneck_stages(net, d, x, stages, ["relu6"] * 7, [0.0] * 7)
    return _classified(net, d, x, 1280, "relu6")


def mnasnet(net: Net, d: Draw, x: ir.Value) -> list[ir.Value]:
    """Tan et al. 2019, MnasNet-A1 without and with squeeze-and-excite."""
    squeeze = 0.25 if d.happens(0.3) else 0.0
    stages: list[Stage] = [
        (6, 24, 2, 2, 3),
        (3, 40, 3, 2, 5),
        (6, 80, 4, 2, 3),
        (6, 112, 2, 1, 3),
        (6, 160, 3, 2, 5),
        (6, 320, 1, 1, 3),
    ]
    x = blocks.stem(net, d, x, 32, "relu")
    x = blocks.separable(net, d, x, d.channels(16), 3, 1, "relu")
    x = _bottleneck_stages(net, d, x, stages, ["relu"] * 6, [0.0, squeeze, 0.0, squeeze, squeeze, 0.0])
    return _classified(net, d, x, 1280, "relu")


def efficientnet_edgetpu(net: Net, d: Draw, x: ir.Value) -> list[ir.Value]:
    """Gupta and Akin 2020: fused bottlenecks early, inverted bottlenecks late."""
    x = blocks.stem(net, d, x, 32, "relu")
    fused: list[Stage] = [(4, 24, 1, 1, 3), (8, 32, 2, 2, 3), (8, 48, 3, 2, 3)]
    for expand, base, repeats, stride, k in fused:
        out = d.channels(base)
        for i in range(_repeats(d, repeats)):
            x = blocks.fused_bottleneck(net, d, x, out, expand, k, stride if i == 0 else 1, "relu")
    late: list[Stage] = [(8, 96, 3, 2, 5), (8, 144, 3, 1, 5), (8, 192, 2, 2, 5)]
    x = _bottleneck_stages(net, d, x, late, ["relu"] * 3, [0.0] * 3)
    return _classified(net, d, x, 1280, "relu")


def resnet_basic(net: Net, d: Draw, x: ir.Value) -> list[ir.Value]:
    """He et al. 2016, 18 and 34 layers."""
    x = net.conv(x, d.channels(64), d.pick(7, (3, 5, 7)), 2, d.act)
    x = net.pool(x, "MaxPool", 3, 2)
    for base, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        out = d.channels(base)
        for s in (stride, 1):
            x = blocks.residual_basic(net, d, x, out, s, d.act)
    return [blocks.classifier(net, d, x, _classes(d))]


def resnet_bottleneck(net: Net, d: Draw, x: ir.Value) -> list[ir.Value]:
    """He et al. 2016, 50 layers, at a half of the width."""
    x = net.conv(x, d.channels(48), d.pick(7, (3, 5, 7)), 2, d.act)
    x = net.pool(x, "MaxPool", 3, 2)
    for base, stride in ((128, 1), (256, 2), (512, 2), (1024, 2)):
        out = d.channels(base)
        for s in (stride, 1):
            x = blocks.residual_bottleneck(net, d, x, out, s, d.act)
    return [blocks.classifier(net, d, x, _classes(d))]


def vgg(net: Net, d: Draw, x: ir.Value) -> list[ir.Value]:
    """Simonyan and Zisserman 2015, thinner, with a small fully connected head."""
    for base, repeats in ((16, 1), (32, 2), (64, 2), (128, 2), (256, 2)):
        out = d.channels(base)
        for _ in range(repeats):
            net.next_block()
            x = net.conv(x, out, d.pick(3, (3, 5, 1)), 1, d.act)
        x = net.pool(x, "MaxPool", 2, 2)
    net.next_block()
    h = net.gemm(net.flatten(x), d.channels(256), "relu") if dims(x)[2] * dims(x)[3] <= 16 else None
    return [net.gemm(h, _classes(d)) if h is not None else blocks.classifier(net, d, x, _classes(d))]


def shufflenet(net: Net, d: Draw, x: ir.Value) -> list[ir.Value]:
    """Ma et al. 2018 (V2)."""
    x = net.pool(blocks.stem(net, d, x, 24, "relu"), "MaxPool", 3, 2)
    for base, repeats in ((116, 3), (232, 4), (464, 3)):
        x = blocks.shuffle_down(net, d, x, d.channels(base), "relu")
        for _ in range(_repeats(d, repeats)):
            x = blocks.shuffle_unit(net, d, x, "relu")
    return _classified(net, d, x, 1024, "relu")


def squeezenet(net: Net, d: Draw, x: ir.Value) -> list[ir.Value]:
    """Iandola et al. 2016."""
    x = net.pool(blocks.stem(net, d, x, 64, "relu"), "MaxPool", 3, 2)
    for base, repeats in ((128, 2), (256, 2), (384, 2), (512, 2)):
        out = d.channels(base)
        for _ in range(repeats):
            x = blocks.fire(net, d, x, 2 * (out // 2), "relu")
        if min(dims(x)[2:]) > 13:
            x = net.pool(x, "MaxPool", 3, 2)
    net.next_block()
    return [net.flatten(net.global_pool(net.conv(x, _classes(d), act="relu")))]


def lcnet(net: Net, d: Draw, x: ir.Value) -> list[ir.Value]:
    """Cui et al. 2021 (PP-LCNet): separable blocks with hard swish, late ones with attention."""
    act = "hswish" if d.happens(0.5) else "hswish_parts"
    x = blocks.stem(net, d, x, 16, act)
    plan = [
        (32, 1, 3),
        (64, 2, 3),
        (64, 1, 3),
        (128, 2, 3),
        (128, 1, 3),
        (256, 2, 3),
        (256, 1, 5),
        (512, 2, 5),
    ]
    for base, s, k in plan:
        x = blocks.separable(net, d, x, d.channels(base), k, s, act)
        if base >= 256 and d.happens(0.6):
            x = blocks.squeeze_excite(net, d, x, blocks.round_channels(channels(x) / 4, 4))
    return _classified(net, d, x, 1280, act)


def keyword_spotting(net: Net, d: Draw, x: ir.Value) -> list[ir.Value]:
    """Zhang et al. 2017 (DS-CNN): equal separable blocks at one small size."""
    x = net.conv(x, d.channels(64), d.pick(5, (3, 5, 7)), 2, "relu")
    for _ in range(4):
        x = blocks.separable(net, d, x, channels(x), 3, 1, "relu")
    return [blocks.classifier(net, d, x, int(d.rng.choice([2, 10, 12, 35])))]


FAMILIES: dict[str, Family] = {
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3": mobilenet_v3,
    "efficientnet_lite": efficientnet_lite,
    "mnasnet": mnasnet,
    "efficientnet_edgetpu": efficientnet_edgetpu,
    "resnet_basic": resnet_basic,
    "resnet_bottleneck": resnet_bottleneck,
    "vgg": vgg,
    "shufflenet": shufflenet,
    "squeezenet": squeezenet,
    "ssd": dense.ssd,
    "unet": dense.unet,
    "lcnet": lcnet,
    "yolo": dense.yolo,
    "keyword_spotting": keyword_spotting,
    "regnet": modern.regnet,
    "densenet": modern.densenet,
    "inception": modern.inception,
    "repvgg": modern.repvgg,
    "ghostnet": modern.ghostnet,
    "efficientdet": modern.efficientdet,
    "deeplab": modern.deeplab,
    "enet": modern.enet,
    "convnext": attention.convnext,
    "vit": attention.vit,
    "mobilevit": attention.mobilevit,
}
# Inverted bottlenecks are what the passes rewrite most: their families are drawn more often.
FAMILY_WEIGHTS: dict[str, int] = {
    **dict.fromkeys(FAMILIES, 1),
    **{"mobilenet_v2": 4, "efficientnet_lite": 4, "mobilenet_v1": 3},
    **{"efficientnet_edgetpu": 2, "mobilenet_v3": 2, "mnasnet": 2},
}
