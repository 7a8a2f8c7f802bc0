"""Families with matrix products of activations and layer norms: ConvNeXt, ViT, MobileViT."""

from __future__ import annotations

import onnx_ir as ir

from hwopt.cost import sampling_blocks as blocks
from hwopt.cost import sampling_nodes as nodes
from hwopt.cost.sampling_blocks import Draw, round_channels
from hwopt.cost.sampling_modern import CLASSES
from hwopt.cost.sampling_net import Net
from hwopt.cost.sampling_shapes import channels, dims

MAX_TOKENS = 200  # products of tokens with tokens are slow on accelerators for convolutions


class _Words:
    """How one network writes its norms and its activation: operators of their own, or parts."""

    def __init__(self, d: Draw) -> None:
        self.parts = d.happens(0.5)
        self.act = str(d.rng.choice(["gelu", "gelu", "relu", "hswish", "silu"]))

    def norm(self, net: Net, x: ir.Value) -> ir.Value:
        """Over the last axis."""
        return nodes.layer_norm_parts(net, x) if self.parts else nodes.layer_norm(net, x)

    def activate(self, net: Net, x: ir.Value) -> ir.Value:
        """The network's non-linearity; one written out belongs to norms written out."""
        if self.act == "gelu" and self.parts:
            return nodes.gelu_parts(net, x)
        return net.activate(x, self.act)


def convnext(net: Net, d: Draw, x: ir.Value) -> list[ir.Value]:
    """Liu et al. 2022: 7x7 depthwise, norm over the channels, two linear layers, a shortcut."""
    words = _Words(d)
    normed, as_tokens = d.happens(0.7), d.happens(0.4)
    x = net.conv(x, d.channels(32), 4 if d.happens(0.3) else 3, 4 if min(dims(x)[2:]) % 4 == 0 else 2)
    for stage, base in enumerate((32, 64, 128, 256)):
        out = d.channels(base)
        if stage:
            net.next_block()
            x = net.conv(x, out, d.pick(3, (3, 1)), 2)
        for _ in range(2 if d.jitter > 0.2 else 1 + stage % 2):
            net.next_block()
            h = net.depthwise(x, d.pick(7, (3, 5, 7)))
            hidden = d.hidden(channels(x) * d.pick(4, (2, 3, 4)))
            x = net.add(x, _mixed(net, words, h, hidden, normed, as_tokens))
    net.next_block()
    return [blocks.classifier(net, d, x, int(d.rng.choice(CLASSES)))]


def _mixed(net: Net, words: _Words, x: ir.Value, hidden: int, normed: bool, as_tokens: bool) -> ir.Value:
    """ConvNeXt's two linear layers, as matrix products behind a transposition or as 1x1 convolutions."""
    if as_tokens:
        t = nodes.tokens_last(net, x)
        t = words.norm(net, t) if normed else t
        t = words.activate(net, nodes.linear(net, t, hidden))
        return nodes.images(net, nodes.linear(net, t, channels(x)))
    if normed:
        x = nodes.images(net, words.norm(net, nodes.tokens_last(net, x)))
    return net.conv(words.activate(net, net.conv(x, hidden)), channels(x))


def _encoder(net: Net, d: Draw, words: _Words, t: ir.Value, heads: int) -> ir.Value:
    """A transformer's layer on [1, N, C]: attention, then two linear layers, each with a shortcut."""
    net.next_block()
    t = net.add(t, nodes.attention(net, words.norm(net, t), heads))
    net.next_block()
    c = dims(t)[-1]
    hidden = d.hidden(c * d.pick(2, (2, 3, 4)))
    h = words.activate(net, nodes.linear(net, words.norm(net, t), hidden))
    return net.add(t, nodes.linear(net, h, c))


def _heads(d: Draw, base: float) -> tuple[int, int]:
    """(heads, channels) of an attention block."""
    heads = int(d.rng.choice([1, 2, 4]))
    return heads, heads * round_channels(d.channels(base) / heads, 8)


def vit(net: Net, d: Draw, x: ir.Value) -> list[ir.Value]:
    """Dosovitskiy et al. 2021, small: convolutions make patches, encoders mix them, a mean reads them."""
    words = _Words(d)
    heads, c = _heads(d, 96)
    x = blocks.stem(net, d, x, 24, "relu")
    while dims(x)[2] * dims(x)[3] > MAX_TOKENS * 4:
        x = net.conv(x, d.channels(48), 3, 2, "relu")
    net.next_block()
    t = nodes.tokens(net, net.conv(x, c, 3, 2))
    for _ in range(2):
        t = _encoder(net, d, words, t, heads)
    net.next_block()
    pooled = nodes.mean_of_tokens(net, words.norm(net, t))
    return [net.gemm(pooled, int(d.rng.choice(CLASSES)))]


def mobilevit(net: Net, d: Draw, x: ir.Value) -> list[ir.Value]:
    """Mehta and Rastegari 2022: inverted bottlenecks, and encoders over the pixels of small maps."""
    words = _Words(d)
    act = d.act
    x = blocks.stem(net, d, x, 16, act)
    for base, stride in ((32, 1), (48, 2), (64, 2), (80, 2), (96, 2)):
        x = blocks.inverted_bottleneck(net, d, x, d.channels(base), 3, 3, stride, act)
        size = dims(x)[2:]
        if base < 64 or size[0] * size[1] > MAX_TOKENS:
            continue
        net.next_block()
        heads, c = _heads(d, base)
        before = x
        t = nodes.tokens(net, net.conv(net.conv(x, channels(x), 3, 1, act), c))
        t = _encoder(net, d, words, t, heads)
        net.next_block()
        h = net.conv(nodes.untokens(net, words.norm(net, t), (size[0], size[1])), channels(x), act=act)
        x = net.conv(net.concat([before, h]), channels(x), 3, 1, act)
    return [blocks.classifier(net, d, x, int(d.rng.choice(CLASSES)))]
