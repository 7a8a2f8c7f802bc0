"""Convolutions and matrix products as single operators."""

from __future__ import annotations

import onnx_ir as ir

from hwopt.cost import sampling_nodes as nodes
from hwopt.cost.sampling_draws import act, any_channels, log_uniform, out_channels, small_map, stride, tokens
from hwopt.cost.sampling_net import Net
from hwopt.cost.sampling_shapes import channels


def pointwise(net: Net, x: ir.Value) -> ir.Value:
    """1x1."""
    return net.conv(x, out_channels(net, x, 1), 1, 2 if net.rng.random() < 0.08 else 1, act(net))


def full_conv(net: Net, x: ir.Value) -> ir.Value:
    """3x3, 5x5 or 7x7."""
    k = int(net.rng.choice([3, 3, 3, 5, 5, 7]))
    return net.conv(x, out_channels(net, x, k), k, stride(net), act(net))


def depthwise(net: Net, x: ir.Value) -> ir.Value:
    """Depthwise, 3x3 to 7x7."""
    return net.depthwise(x, int(net.rng.choice([3, 3, 5, 5, 7])), stride(net), act(net))


def diagonal(net: Net, x: ir.Value) -> ir.Value:
    """A densified depthwise; wide ones fall back to what they came from."""
    if channels(x) > 400:
        return depthwise(net, x)
    return net.diagonal(x, int(net.rng.choice([3, 3, 5])), stride(net), act(net))


def stem(net: Net, x: ir.Value) -> ir.Value:
    """A first layer: 1 to 4 input channels, large input."""
    size = int(net.rng.choice([64, 96, 112, 128, 160, 192, 224]))
    image = net.input(1, int(net.rng.choice([1, 3, 3, 3, 4])), size, size)
    return net.conv(
        image, any_channels(net.rng, 8) % 128 or 32, int(net.rng.choice([3, 3, 5, 7])), 2, act(net)
    )


def uneven(net: Net, x: ir.Value) -> ir.Value:
    """Kernels 1xN and Nx1, dilated convolutions, dense or depthwise."""
    draw = net.rng.random()
    if draw < 0.5:
        n = int(net.rng.choice([3, 3, 5, 7]))
        return net.window(
            x, out_channels(net, x, 2), (1, n) if draw < 0.25 else (n, 1), stride(net), act=act(net)
        )
    dilation = int(net.rng.choice([2, 2, 3, 4, 6]))
    if draw < 0.8:
        return net.window(x, out_channels(net, x, 3), (3, 3), 1, dilation, act=act(net))
    return net.window(x, channels(x), (3, 3), 1, dilation, channels(x), act(net))


def grouped(net: Net, x: ir.Value) -> ir.Value:
    """A convolution in 2 to 32 groups, outputs as many as inputs or twice as many."""
    c = channels(x)
    groups = [g for g in (2, 4, 8, 16, 32) if c % g == 0 and 1 < c // g <= 64]
    if not groups:
        return pointwise(net, x)
    k = int(net.rng.choice([1, 3, 3, 5]))
    out = 2 * c if c <= 200 and net.rng.random() < 0.2 else c
    return net.window(x, out, (k, k), stride(net), groups=int(net.rng.choice(groups)), act=act(net))


def transposed(net: Net, x: ir.Value) -> ir.Value:
    """A transposed convolution that enlarges by two."""
    small = small_map(net, x)
    out = min(any_channels(net.rng), 160)
    return net.conv_transpose(small, out, int(net.rng.choice([2, 2, 3, 3, 4, 5])), 2, act(net))


def gemm(net: Net, x: ir.Value) -> ir.Value:
    """A fully connected layer on a vector."""
    vector = net.input(1, log_uniform(net.rng, 16, 2048))
    return net.gemm(vector, log_uniform(net.rng, 2, 1280), "relu" if net.rng.random() < 0.3 else "")


def matmul(net: Net, x: ir.Value) -> ir.Value:
    """A matrix product of a token sequence with constant weights, mostly with a bias.

    Some are as wide as an alphabet: the last layer of a recogniser of text.
    """
    if net.rng.random() < 0.2:
        rows = net.input(1, log_uniform(net.rng, 4, 96), log_uniform(net.rng, 32, 192))
        return nodes.linear(net, rows, log_uniform(net.rng, 1024, 8192), net.rng.random() < 0.7)
    return nodes.linear(net, tokens(net), log_uniform(net.rng, 16, 1024), net.rng.random() < 0.7)


def scores(net: Net, x: ir.Value) -> ir.Value:
    """A batched matrix product of two activations, as attention has it."""
    heads, n = int(net.rng.choice([1, 2, 4])), log_uniform(net.rng, 4, 128)
    size, m = log_uniform(net.rng, 8, 96), log_uniform(net.rng, 4, 128)
    return nodes.product(net, net.input(1, heads, n, size), net.input(1, heads, size, m))
