"""Windows that slide over a feature map, and how TFLite pads them.

TFLite knows SAME (the padding splits evenly, the odd row goes to the end) and VALID; ONNX
pads explicitly. Where neither says the same, a PAD goes before the operator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from hwopt.nodes import attr_ints, attr_string
from hwopt.oracles.tflite_graph import Builder, Feature, NotLowered
from hwopt.oracles.tflite_schema import TfTensor

SAME, VALID = 0, 1  # Padding of the schema


@dataclass(frozen=True)
class Window:
    """A 2-D window: kernel, strides and dilations as (height, width).

    pads: (top, left, bottom, right), or None where `auto_pad` leaves them to the size.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...] | None
    auto_pad: str

    @classmethod
    def of(cls, node: ir.Node, kernel: Sequence[int]) -> Window:
        """The window of a Conv or pool. Raises NotLowered for anything but two spatial axes."""
        if len(kernel) != 2:
            raise NotLowered(f"a window of rank {len(kernel)} is not supported, only 2-D windows are")
        auto_pad = attr_string(node, "auto_pad", "NOTSET")
        pads = {"NOTSET": attr_ints(node, "pads", (0, 0, 0, 0)), "VALID": (0, 0, 0, 0)}.get(auto_pad)
        return cls(
            tuple(kernel),
            attr_ints(node, "strides", (1, 1)),
            attr_ints(node, "dilations", (1, 1)),
            pads,
            auto_pad,
        )

    def options(self) -> dict[str, int | float | bool]:
        """Strides as option fields."""
        return {"StrideH": self.strides[0], "StrideW": self.strides[1]}

    def explicit_pads(self, sizes: Sequence[int], outputs: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """(before, after) for height and width, as far as the outputs read them."""
        return tuple(self._axis_pads(axis, sizes[axis], outputs[axis]) for axis in (0, 1))

    def same_pads(self, sizes: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """What TFLite's SAME means for an input of these sizes."""
        return tuple(self._even(axis, sizes[axis], -(-sizes[axis] // self.strides[axis])) for axis in (0, 1))

    def _reach(self, axis: int, size: int, output: int) -> int:
        """Rows that `output` windows read beyond `size`."""
        extent = (self.kernel[axis] - 1) * self.dilations[axis] + 1
        return (output - 1) * self.strides[axis] + extent - size

    def _even(self, axis: int, size: int, output: int) -> tuple[int, int]:
        total = max(self._reach(axis, size, output), 0)
        return total // 2, total - total // 2

    def _axis_pads(self, axis: int, size: int, output: int) -> tuple[int, int]:
        if self.pads is None:
            before, after = self._even(axis, size, output)
            return (before, after) if self.auto_pad == "SAME_UPPER" else (after, before)
        before = self.pads[axis]
        return before, max(self._reach(axis, size, output) - before, 0)


def pad_codes(
    builder: Builder, feature: Feature, window: Window, outputs: Sequence[int], filling: float
) -> tuple[Feature, int]:
    """The input, padded if need be, and the TFLite padding that then says what ONNX means.

    outputs: height and width of the result. filling: the padded value (-inf for a maximum).
    """
    sizes = feature.shape[1:3]
    pads = window.explicit_pads(sizes, outputs)
    if not any(amount for axis in pads for amount in axis):
        return feature, VALID
    same = tuple(-(-size // stride) for size, stride in zip(sizes, window.strides, strict=True))
    if pads == window.same_pads(sizes) and same == tuple(outputs):
        return feature, SAME
    return pad(builder, feature, ((0, 0), *pads, (0, 0)), filling), VALID


def pad(
    builder: Builder,
    feature: Feature,
    amounts: Sequence[tuple[int, int]],
    filling: float,
    name: str | None = None,
) -> Feature:
    """The stored tensor with borders of one value; PADV2 where that is not zero."""
    shape = [size + before + after for size, (before, after) in zip(feature.shape, amounts, strict=True)]
    output = builder.new(shape, feature.layout, feature.quant, name)
    paddings = builder.ints(np.asarray(amounts))
    if filling == 0.0:
        return builder.emit("PAD", (feature.index, paddings), output)
    return builder.emit("PADV2", (feature.index, paddings, _filling(builder, feature, filling)), output)


def _filling(builder: Builder, feature: Feature, value: float) -> int:
    """The padded value, stored as the feature map stores it."""
    stored = np.clip(np.divide(value, feature.quant.scales[0]) + feature.quant.zero_point, -128, 127)
    data = np.asarray([np.rint(stored)], np.int8)
    return builder.add(TfTensor(f"{builder.owner}/#fill{feature.index}", (1,), "int8", feature.quant, data))
