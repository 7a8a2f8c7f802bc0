"""Two convolutions written as one: the weights of their composition, and kernels cropped to 3x3."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hwopt.nodes import Conv, FloatArray

Kernel = tuple[int, int]
SMALLEST = 3  # what larger kernels are cropped to, axis by axis


def kernels(conv: Conv) -> Iterator[Kernel]:
    """The kernel sizes worth offering: its own, and 3 on longer axes where the padding allows the crop."""
    yield conv.kernel[0], conv.kernel[1]
    small = (min(conv.kernel[0], SMALLEST), min(conv.kernel[1], SMALLEST))
    crop = _crop(conv, small)
    odd = all(k % 2 == 1 or k < SMALLEST for k in conv.kernel)
    if odd and any(crop) and all(p >= c for p, c in zip(conv.pads, crop * 2, strict=True)):
        yield small


def _crop(conv: Conv, kernel: Kernel) -> tuple[int, int]:
    return (conv.kernel[0] - kernel[0]) // 2, (conv.kernel[1] - kernel[1]) // 2


def cropped(conv: Conv, weight: FloatArray, kernel: Kernel) -> tuple[FloatArray, tuple[int, ...]]:
    """The middle of a weight [out, in, *conv.kernel], and the pads that keep the output's size."""
    top, left = _crop(conv, kernel)
    middle = weight[:, :, top : top + kernel[0], left : left + kernel[1]]
    pads = tuple(p - c for p, c in zip(conv.pads, (top, left, top, left), strict=True))
    return np.ascontiguousarray(middle), pads


def after_pointwise(expand: Conv, depthwise: Conv) -> tuple[FloatArray, FloatArray]:
    """Weight [hidden, in, kh, kw] and bias [hidden] of a depthwise convolution behind a 1x1 one.

    The bias is that of the interior: next to a zero-padded border the depthwise convolution
    does not see the expansion's bias in the padding (`with_constant` is exact there too).
    """
    weight = _behind(depthwise, expand.weight[:, :, 0, 0])
    kernel = depthwise.weight[:, 0].astype(np.float64)
    bias = depthwise.bias + kernel.sum(axis=(1, 2)) * expand.bias
    return weight, bias.astype(np.float32)


def with_constant(expand: Conv, depthwise: Conv) -> tuple[FloatArray, FloatArray]:
    """The same for an input with one more channel, the last, that is 1 inside and padded with 0.

    The expansion's bias is that channel's weight, so that it ends where the image ends.
    """
    matrix = np.concatenate([expand.weight[:, :, 0, 0], expand.bias[:, None]], axis=1)
    return _behind(depthwise, matrix), depthwise.bias


def _behind(depthwise: Conv, matrix: FloatArray) -> FloatArray:
    """The depthwise kernels spread over the inputs of a matrix [channels, in]."""
    kernel = depthwise.weight[:, 0].astype(np.float64)
    weight: FloatArray = np.einsum("hyx,hc->hcyx", kernel, matrix.astype(np.float64)).astype(np.float32)
    return weight


def before_pointwise(depthwise: Conv, project: Conv) -> tuple[FloatArray, FloatArray]:
    """Weight [out, channels, kh, kw] and bias [out] of a 1x1 convolution behind a depthwise one.

    Exact on every border: nothing is added before the padding.
    """
    matrix = project.weight[:, :, 0, 0].astype(np.float64)
    weight = np.einsum("oc,cyx->ocyx", matrix, depthwise.weight[:, 0].astype(np.float64))
    bias = project.bias + matrix @ depthwise.bias
    return weight.astype(np.float32), bias.astype(np.float32)


def diagonal(depthwise: Conv) -> FloatArray:
    """[channels, channels, kh, kw]: a depthwise convolution's kernels in a dense weight."""
    count = depthwise.out_channels
    dense = np.zeros((count, count, *depthwise.kernel), np.float32)
    dense[np.arange(count), np.arange(count)] = depthwise.weight[:, 0]
    return dense


def identity_and_one(channels: int) -> tuple[FloatArray, FloatArray]:
    """Weight and bias of a 1x1 convolution that copies its input and appends a channel of ones."""
    weight = np.eye(channels + 1, channels, dtype=np.float32)[:, :, None, None]
    bias = np.zeros(channels + 1, np.float32)
    bias[-1] = 1.0
    return weight, bias
