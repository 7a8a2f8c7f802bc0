"""What the values of a weight tensor cost a target that compresses its weight stream.

The price of an operator may depend on its weights (zeros and repeats shorten the stream), but
a signature must never hold raw values. A descriptor is the summary that stands for them.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from hwopt.target import Target
from hwopt.weight_sample import sample_of, some_channels

UNREAD = "unread"  # the pattern word where the target's price does not depend on values
_PRECISION_BYTES = {"int8": 1, "fp16": 2, "fp32": 4}
_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16)
_DENSE = 0.3  # up to this share of zeros (rounding makes some) nobody calls a tensor sparse
_BLOCK = 4

Quantised = npt.NDArray[np.float32]


@dataclass(frozen=True)
class WeightDescriptor:
    """A weight tensor at the target's precision, without its values.

    elements: how many weights. zeros: their share that is zero, in hundredths.
    pattern: "dense", "diagonal" (one input channel per output), "2:4", "block", "random", or
        "unread" on targets where values do not matter. distinct: number of distinct values.
    encoded_bytes: size after entropy coding value by value (order-0 entropy), an estimate of
        what a real encoder reaches.
    """

    elements: int
    zeros: float
    pattern: str
    distinct: int
    encoded_bytes: int


_cache: dict[tuple[int, int, str], tuple[weakref.ref[ir.TensorProtocol], WeightDescriptor]] = {}


def describe(tensor: ir.TensorProtocol, axis: int, target: Target) -> WeightDescriptor:
    """The descriptor of a constant tensor whose output channels lie along `axis`.

    Cached by the tensor's identity: tensors are immutable and shared between clones of a model.
    """
    if not target.weights_matter or axis >= len(tensor.shape):
        return unread(int(tensor.size), target)
    key = (id(tensor), axis, target.precision)
    known = _cache.get(key)
    if known is not None and known[0]() is tensor:
        return known[1]
    result = _described(tensor, axis, target.precision)
    _cache[key] = (weakref.ref(tensor, lambda _: _cache.pop(key, None)), result)
    return result


def unread(elements: int, target: Target) -> WeightDescriptor:
    """A descriptor that says nothing about values."""
    return WeightDescriptor(elements, 0.0, UNREAD, 0, elements * target.element_bytes)


def describe_array(weight: npt.NDArray[np.generic], axis: int, precision: str) -> WeightDescriptor:
    """The descriptor of weights, quantised symmetrically per output channel where precision is int8."""
    if weight.size == 0 or not np.issubdtype(weight.dtype, np.floating):
        return _plain(int(weight.size), precision)
    return _of_sample(some_channels(np.moveaxis(weight, axis, 0)), int(weight.size), precision)


def _described(tensor: ir.TensorProtocol, axis: int, precision: str) -> WeightDescriptor:
    """The same for a tensor, of which no more is read than a sample of its channels."""
    elements = int(tensor.size)
    if elements == 0 or tensor.dtype not in _FLOATS:
        return _plain(elements, precision)
    return _of_sample(sample_of(tensor, axis), elements, precision)


def _plain(elements: int, precision: str) -> WeightDescriptor:
    return WeightDescriptor(elements, 0.0, "dense", 0, elements * _PRECISION_BYTES[precision])


def _of_sample(channels: npt.NDArray[np.generic], elements: int, precision: str) -> WeightDescriptor:
    sample = _quantised(channels, precision)
    values, counts = np.unique(sample, return_counts=True)
    zeros = float(counts[values == 0.0].sum()) / sample.size
    bits = 8.0 * _PRECISION_BYTES[precision]
    if precision == "int8":
        bits = max(_entropy(counts), 0.05)
    return WeightDescriptor(
        elements=elements,
        zeros=round(zeros, 2),
        pattern=_pattern(sample, zeros),
        distinct=len(values),
        encoded_bytes=round(elements * round(bits, 2) / 8.0),
    )


def _quantised(channels: npt.NDArray[np.generic], precision: str) -> Quantised:
    weight = channels.astype(np.float32, copy=False)
    if precision != "int8":
        return weight
    flat = weight.reshape(len(weight), -1)
    largest = np.abs(flat).max(axis=1, keepdims=True)
    scale = np.where(largest > 0, largest / 127.0, 1.0)
    return np.rint(flat / scale).reshape(weight.shape).astype(np.float32, copy=False)


def _entropy(counts: npt.NDArray[np.intp]) -> float:
    """Bits per value of a memoryless source with these counts."""
    share = counts / counts.sum()
    return float(-(share * np.log2(share)).sum())


def _pattern(channels: Quantised, zeros: float) -> str:
    """The word for how zeros lie in weights [out, in, ...]."""
    if zeros < _DENSE or channels.ndim < 2:
        return "dense"
    used = np.asarray(channels.reshape(*channels.shape[:2], -1).any(axis=2))  # [out, in]
    if channels.shape[1] > 1 and bool((used.sum(axis=1) <= 1).all()):
        return "diagonal"
    if _is_two_of_four(channels):
        return "2:4"
    blocks = _empty_blocks(used)
    return "block" if blocks > 0.8 * zeros else "random"


def _is_two_of_four(channels: Quantised) -> bool:
    """At most two of every four neighbouring input channels are used, at every tap."""
    if channels.shape[1] % 4:
        return False
    fours = channels.reshape(channels.shape[0], -1, 4, *channels.shape[2:])
    return bool(((fours != 0).sum(axis=2) <= 2).all())


def _empty_blocks(used: npt.NDArray[np.bool_]) -> float:
    """Share of 4 x 4 (out x in) blocks of channels without any weight."""
    rows, columns = (size - size % _BLOCK for size in used.shape)
    if not rows or not columns:
        return 0.0
    blocks = used[:rows, :columns].reshape(rows // _BLOCK, _BLOCK, columns // _BLOCK, _BLOCK)
    return float((~blocks.any(axis=(1, 3))).mean())
