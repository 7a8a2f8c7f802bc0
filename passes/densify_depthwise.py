"""Depthwise Conv  -->  dense Conv with the same kernels on the diagonal (EXACT).

More multiply-adds, better use of a MAC array that runs one group at a time (Gupta and Akin,
"Accelerator-aware Neural Network Design using AutoML", 2020, section 3).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import prod

import numpy as np
import onnx_ir as ir

from hwopt.choice import Kind, Pass, Risk, Skip, Stage, Value
from hwopt.edit import set_attribute, set_made
from hwopt.errors import RewriteFailed
from hwopt.nodes import Conv, FloatArray, as_conv, attr_int, is_op, label
from hwopt.places import node_at, place_of
from hwopt.target import Target

# A dense weight beyond this is legal but helps nobody: 4 Mi elements are 16 MB of float32.
LARGEST_WEIGHT = 1 << 22


class DensifyDepthwise(Pass):
    """One value per depthwise convolution: the same function as a dense convolution."""

    name = "densify_depthwise"
    stage = Stage.FORM
    risk = Risk.EXACT
    summary = "depthwise Conv --> dense Conv with the kernels on its diagonal"

    def values(self, model: ir.Model, target: Target) -> Iterator[Value | Skip]:
        del target
        for node in model.graph:
            if not is_op(node, "Conv") or attr_int(node, "group", 1) == 1:
                continue
            conv = as_conv(node)
            reason = "its weight is not a float32 constant" if conv is None else why_not(conv)
            if reason:
                yield Skip(self.name, label(node), reason)
            else:
                yield self._value(place_of(node))

    def _value(self, place: str) -> Value:
        rewrite = partial(make_dense, place=place)
        return Value(
            f"form:{place}", Kind.FORM, "dense", self.name, Risk.EXACT, self.stage, (place,), rewrite
        )


def why_not(conv: Conv) -> str:
    """The reason why a grouped convolution is left alone; empty where it can be made dense."""
    if conv.shape[1] != 1:
        return f"{conv.shape[1]} input channels per group: grouped, not depthwise"
    elements = prod(conv.shape) * conv.in_channels
    if elements > LARGEST_WEIGHT:
        return f"its dense weight would have {elements:,} elements (limit {LARGEST_WEIGHT:,})"
    return ""


def make_dense(model: ir.Model, place: str) -> None:
    """Rewrites the depthwise convolution at that place."""
    conv = as_conv(node_at(model, place))
    if conv is None:
        raise RewriteFailed(f"no convolution with constant weights at {place}")
    dims = (conv.out_channels, conv.in_channels, *conv.kernel)
    set_made(conv.node, 1, ir.DataType.FLOAT, dims, partial(dense_weight, conv))
    set_attribute(conv.node, "group", 1)


def dense_weight(conv: Conv) -> FloatArray:
    """[out, in, kh, kw] from [out, 1, kh, kw]: output o reads input o // multiplier only."""
    multiplier = conv.out_channels // conv.group
    dense = np.zeros((conv.out_channels, conv.in_channels, *conv.kernel), np.float32)
    outputs = np.arange(conv.out_channels)
    dense[outputs, outputs // multiplier] = conv.weight[:, 0]
    return dense


PASSES: tuple[Pass, ...] = (DensifyDepthwise(),)
