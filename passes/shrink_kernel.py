"""KxK Conv  -->  3x3 (or 5x5) Conv that reproduces its output as far as it can (LOSSY).

For depthwise convolutions with 5x5 or 7x7 kernels above all (7x3 and the like included), which
cost 25 or 49 multiplications where 9 may do; also for dense and grouped ones. The smaller kernel
is fitted on calibration data, and where a 1x1 projection reads a depthwise result, it is fitted
behind it. Cai et al., "Once-for-All", ICLR 2020, section 3.2, shrink kernels within a supernet.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import onnx_ir as ir

from hwopt.bottleneck import tail_of
from hwopt.choice import Kind, Pass, Risk, Skip, Stage, Value
from hwopt.edit import set_attribute, set_constant
from hwopt.errors import RewriteFailed
from hwopt.nodes import Conv, FloatArray, as_conv, convs, label
from hwopt.places import node_at, place_of
from hwopt.repair.marks import Origin, mark_origin, request_fit
from hwopt.target import Target

SIZES = (3, 5)  # edges of the kernels that are offered, where they are smaller than the present one


class ShrinkKernel(Pass):
    """One value per smaller kernel edge: `k3`, and `k5` for kernels of 7 and more."""

    name = "shrink_kernel"
    stage = Stage.FORM
    risk = Risk.LOSSY
    summary = "KxK Conv (depthwise above all) --> 3x3 or 5x5 Conv, fitted"

    def values(self, model: ir.Model, target: Target) -> Iterator[Value | Skip]:
        del target
        for conv in convs(model):
            if max(conv.kernel) <= min(SIZES):
                continue
            reasons = []
            for edge in SIZES:
                reason = why_not(conv, edge)
                if reason:
                    reasons.append(reason)
                elif max(conv.kernel) > edge:
                    yield self._value(conv, edge)
            if reasons:
                yield Skip(self.name, label(conv.node), reasons[0])

    def _value(self, conv: Conv, edge: int) -> Value:
        place = place_of(conv.node)
        kernel = smaller(conv.kernel, edge)
        return Value(
            choice=f"form:{place}",
            kind=Kind.FORM,
            name=f"k{edge}",
            pass_name=self.name,
            risk=self.risk,
            stage=self.stage,
            places=(place,),
            rewrite=partial(shrink, place=place, edge=edge),
            parameters={"kernel": kernel, "from": conv.kernel},
        )


def smaller(kernel: tuple[int, ...], edge: int) -> tuple[int, ...]:
    """The kernel with no edge longer than that; a 1 stays a 1."""
    return tuple(min(k, edge) for k in kernel)


def why_not(conv: Conv, edge: int) -> str:
    """The reason why the kernel cannot be cut to that edge around its centre; empty where it can."""
    if any(k > edge and k % 2 == 0 for k in conv.kernel):
        return f"its kernel {list(conv.kernel)} is even: the part that stays has no centre"
    if any(pad < cut for pad, cut in zip(conv.pads, _cut(conv, edge), strict=True)):
        return (
            f"its padding {list(conv.pads)} is smaller than what a {edge}x{edge} kernel cuts off: "
            "the output would grow"
        )
    return ""


def _cut(conv: Conv, edge: int) -> tuple[int, ...]:
    """What the padding loses at each side, in pixels, ordered as ONNX orders pads."""
    taps = _taps(conv.kernel, edge)
    return tuple(tap * dilation for tap, dilation in zip(taps, conv.dilations, strict=True)) * 2


def _taps(kernel: tuple[int, ...], edge: int) -> tuple[int, ...]:
    """How many taps go at each end of each axis."""
    return tuple((k - s) // 2 for k, s in zip(kernel, smaller(kernel, edge), strict=True))


def shrink(model: ir.Model, place: str, edge: int) -> None:
    """Rewrites the convolution at that place and asks for its fit, and that of the projection behind."""
    conv = as_conv(node_at(model, place))
    if conv is None or max(conv.kernel) <= edge or why_not(conv, edge):
        raise RewriteFailed(f"no convolution that can be cut to {edge}x{edge} at {place}")
    node = conv.node
    project = _projection(conv)
    pads = [pad - cut for pad, cut in zip(conv.pads, _cut(conv, edge), strict=True)]
    set_constant(node, 1, folded(conv.weight, edge))
    set_attribute(node, "kernel_shape", smaller(conv.kernel, edge))
    set_attribute(node, "pads", pads)
    for fitted in [node, *([project] if project is not None else [])]:
        mark_origin(fitted, Origin(str(fitted.outputs[0].name)))
        request_fit(fitted)


def _projection(conv: Conv) -> ir.Node | None:
    """The 1x1 convolution behind a depthwise one, activation and squeeze-and-excite looked through."""
    tail = tail_of(conv.output) if conv.depthwise else None
    return None if tail is None else tail.project.node


def folded(weight: FloatArray, edge: int) -> FloatArray:
    """The kernel [out, in, kh, kw] cut around its centre, what is cut off added to the nearest tap.

    The same function where the input does not change over the width of the cut: a better start for
    the fit than dropping the outer taps.
    """
    part = weight.astype(np.float64)
    for axis, taps in zip((2, 3), _taps(weight.shape[2:], edge), strict=True):
        if taps:
            first, middle, last = np.split(part, [taps, part.shape[axis] - taps], axis)
            middle[_at(axis, 0)] += first.sum(axis=axis, keepdims=True)
            middle[_at(axis, -1)] += last.sum(axis=axis, keepdims=True)
            part = middle
    return np.ascontiguousarray(part, dtype=np.float32)


def _at(axis: int, index: int) -> tuple[slice, ...]:
    """The first or last plane of an axis, kept as an axis."""
    plane = slice(0, 1) if index == 0 else slice(-1, None)
    return tuple(plane if a == axis else slice(None) for a in range(4))


PASSES: tuple[Pass, ...] = (ShrinkKernel(),)
