"""Convolutions and pooling with ONNX's padding: any number of pixels on either side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from hwopt.nodes import attr_int, attr_ints, attr_string, constant
from hwopt.tuning.static import Unsupported

if TYPE_CHECKING:
    from torch import Tensor

Operator = Callable[[Sequence["Tensor | None"]], Sequence["Tensor"]]


@dataclass(frozen=True)
class Window:
    """Kernel, strides and dilations per axis; pads as ONNX orders them: begins, then ends."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]

    @property
    def rank(self) -> int:
        return len(self.kernel)

    @property
    def even(self) -> bool:
        """Whether both sides are padded alike."""
        return self.pads[: self.rank] == self.pads[self.rank :]

    @property
    def torch_pads(self) -> list[int]:
        """Pads as torch's `pad` orders them: pairs, the last axis first."""
        return [
            p for axis in reversed(range(self.rank)) for p in (self.pads[axis], self.pads[axis + self.rank])
        ]


def window_of(node: ir.Node) -> Window:
    """The window of a convolution or a pooling. Raises Unsupported."""
    weight = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    spatial = tuple(weight.shape.numpy())[2:] if weight is not None else ()
    kernel = attr_ints(node, "kernel_shape", spatial)
    rank = len(kernel)
    if rank not in (1, 2):
        raise Unsupported("only one or two spatial axes")
    if attr_string(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise Unsupported("its padding depends on the size of its input")
    ones = (1,) * rank
    return Window(
        kernel, attr_ints(node, "strides", ones), attr_ints(node, "pads", (0,) * 2 * rank),
        attr_ints(node, "dilations", ones),
    )  # fmt: skip


def conv(node: ir.Node) -> Operator:
    """Conv, grouped or not."""
    import torch.nn.functional as F

    window, group = window_of(node), attr_int(node, "group", 1)
    function = F.conv1d if window.rank == 1 else F.conv2d
    inside = window.pads[: window.rank] if window.even else (0,) * window.rank

    def operator(inputs: Sequence[Tensor | None]) -> Sequence[Tensor]:
        x = inputs[0] if window.even else F.pad(inputs[0], window.torch_pads)
        bias = inputs[2] if len(inputs) > 2 else None
        return (function(x, inputs[1], bias, window.strides, inside, window.dilations, group),)

    return operator


def conv_transpose(node: ir.Node) -> Operator:
    """ConvTranspose: computed without padding, then cropped."""
    import torch.nn.functional as F

    window, group = window_of(node), attr_int(node, "group", 1)
    if "output_shape" in node.attributes:
        raise Unsupported("its padding is given by the shape of its output")
    extra = attr_ints(node, "output_padding", (0,) * window.rank)
    function = F.conv_transpose1d if window.rank == 1 else F.conv_transpose2d

    def operator(inputs: Sequence[Tensor | None]) -> Sequence[Tensor]:
        bias = inputs[2] if len(inputs) > 2 else None
        y = function(inputs[0], inputs[1], bias, window.strides, 0, extra, group, window.dilations)
        crop = [
            slice(window.pads[axis], y.shape[2 + axis] - window.pads[axis + window.rank])
            for axis in range(window.rank)
        ]
        return (y[(slice(None), slice(None), *crop)],)

    return operator


def max_pool(node: ir.Node) -> Operator:
    """MaxPool, without its indices."""
    import torch.nn.functional as F

    if len(node.outputs) > 1:
        raise Unsupported("its indices are used")
    window, ceil = window_of(node), bool(attr_int(node, "ceil_mode", 0))
    function = F.max_pool1d if window.rank == 1 else F.max_pool2d

    def operator(inputs: Sequence[Tensor | None]) -> Sequence[Tensor]:
        assert inputs[0] is not None
        pads = _pads_for(window, inputs[0], ceil)
        x = F.pad(inputs[0], pads, value=float("-inf")) if any(pads) else inputs[0]
        return (function(x, window.kernel, window.strides, 0, window.dilations),)

    return operator


def average_pool(node: ir.Node) -> Operator:
    """AveragePool: sums of windows over how much of them counts."""
    import torch
    import torch.nn.functional as F

    window, ceil = window_of(node), bool(attr_int(node, "ceil_mode", 0))
    padding_counts = bool(attr_int(node, "count_include_pad", 0))
    if set(window.dilations) != {1}:
        raise Unsupported("a dilated average")
    function = F.avg_pool1d if window.rank == 1 else F.avg_pool2d

    def operator(inputs: Sequence[Tensor | None]) -> Sequence[Tensor]:
        x = inputs[0]
        assert x is not None
        pads = _pads_for(window, x, ceil)
        if not any(pads):
            return (function(x, window.kernel, window.strides),)
        counted = torch.ones((1, 1, *x.shape[2:]))
        declared = window.torch_pads
        if padding_counts:
            counted = F.pad(counted, declared, value=1.0)
        beyond = [all_ - own if padding_counts else all_ for all_, own in zip(pads, declared, strict=True)]
        counted = function(F.pad(counted, beyond), window.kernel, window.strides)
        return (function(F.pad(x, pads), window.kernel, window.strides) / counted,)

    return operator


def _pads_for(window: Window, x: Tensor, ceil: bool) -> list[int]:
    """The declared pads, and at the ends what `ceil_mode` needs so that the last window is whole."""
    pads = window.torch_pads
    for axis in range(window.rank if ceil else 0):
        at = 2 * (window.rank - 1 - axis)
        size = x.shape[2 + axis] + pads[at] + pads[at + 1]
        span = window.dilations[axis] * (window.kernel[axis] - 1) + 1
        steps = -(-(size - span) // window.strides[axis])
        if steps * window.strides[axis] >= x.shape[2 + axis] + pads[at]:
            steps -= 1  # a window that would start beyond the input does not exist
        pads[at + 1] += max(0, steps * window.strides[axis] + span - size)
    return pads
