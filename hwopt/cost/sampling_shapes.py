"""Static shapes of values while a sampled network is built."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir


def dims(value: ir.Value) -> tuple[int, ...]:
    """The static shape of a value."""
    assert value.shape is not None, f"value {value.name} has no shape"
    return tuple(int(d) for d in value.shape.numpy())


def channels(value: ir.Value) -> int:
    """The size of axis 1."""
    return dims(value)[1]


def broadcast(x: ir.Value, y: ir.Value) -> tuple[int, ...]:
    """The shape of an elementwise operator's result."""
    return tuple(int(d) for d in np.broadcast_shapes(dims(x), dims(y)))


def same_pads(
    size: tuple[int, int], kernel: tuple[int, int], s: int, dilation: int
) -> tuple[int, int, int, int]:
    """ONNX pads (top, left, bottom, right) that give ceil(size / s), more at the end where odd."""
    begins, ends = [], []
    for length, k in zip(size, kernel, strict=True):
        total = max(0, (-(-length // s) - 1) * s + dilation * (k - 1) + 1 - length)
        begins.append(total // 2)
        ends.append(total - total // 2)
    return begins[0], begins[1], ends[0], ends[1]
