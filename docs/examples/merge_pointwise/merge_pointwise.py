"""1x1 Conv, KxK Conv with nothing between  -->  one KxK Conv.

An example of a pass of one's own, with a real mistake in it that docs/debugging.md finds. Do not use it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import onnx_ir as ir

from hwopt.choice import Kind, Pass, Risk, Skip, Stage, Value
from hwopt.edit import remove_nodes, set_constant
from hwopt.errors import RewriteFailed
from hwopt.nodes import Conv, FloatArray, as_conv, convs, label, single_consumer
from hwopt.places import node_at, place_of
from hwopt.target import Target


class MergePointwise(Pass):
    """One value per pair: the second convolution takes the first one in."""

    name = "merge_pointwise"
    stage = Stage.FORM
    risk = Risk.EXACT
    summary = "1x1 Conv, KxK Conv --> KxK Conv"

    def values(self, model: ir.Model, target: Target) -> Iterator[Value | Skip]:
        del target
        for conv in convs(model):
            first = as_conv(conv.input.producer())
            if first is None or not first.pointwise:
                continue
            reason = why_not(first, conv)
            if reason:
                yield Skip(self.name, label(conv.node), reason)
            else:
                yield self._value(place_of(first.node), place_of(conv.node))

    def _value(self, first: str, place: str) -> Value:
        rewrite = partial(merge, first=first, place=place)
        return Value(
            f"form:{place}", Kind.FORM, "merged", self.name, Risk.EXACT, self.stage, (first, place), rewrite
        )


def why_not(first: Conv, conv: Conv) -> str:
    """The reason why two convolutions in a row are left alone; empty where they can be merged."""
    if single_consumer(first.output) is None:
        return f"what '{label(first.node)}' computes is read elsewhere, too"
    return "it is grouped" if conv.group > 1 else ""


def merge(model: ir.Model, first: str, place: str) -> None:
    """Writes the product of both kernels into the second convolution."""
    before, conv = as_conv(node_at(model, first)), as_conv(node_at(model, place))
    if before is None or conv is None or conv.input is not before.output:
        raise RewriteFailed(f"no convolution at {place} that reads the one at {first}")
    weight, bias = merged(before, conv)
    set_constant(conv.node, 1, weight)
    set_constant(conv.node, 2, bias)
    conv.node.replace_input_with(0, before.input)
    remove_nodes(model.graph, [before.node])


def merged(first: Conv, conv: Conv) -> tuple[FloatArray, FloatArray]:
    """Weight [out, in, kh, kw] and bias [out] of both in one."""
    wide = conv.weight.astype(np.float64)
    weight = np.einsum("omhw,mi->oihw", wide, first.weight[:, :, 0, 0])
    bias = conv.bias + np.einsum("omhw,m->o", wide, first.bias)
    return weight.astype(np.float32), bias.astype(np.float32)


PASSES: tuple[Pass, ...] = (MergePointwise(),)
