"""Gemm or 1x1 Conv  -->  the same with its smallest weights at zero (LOSSY).

For targets whose weight stream is compressed (a zero is cheap to fetch there, though not
skipped), or whose array skips zeros wherever they stand. Magnitude per layer (Han et al., "Learning
both Weights and Connections", NIPS 2015, section 3); the weights that stay are refitted.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import onnx_ir as ir

from hwopt.choice import Kind, Pass, Risk, Skip, Stage, Value
from hwopt.edit import set_constant
from hwopt.errors import RewriteFailed
from hwopt.nodes import Array, as_conv, constant, constant_array, is_op, label
from hwopt.places import node_at, place_of
from hwopt.repair.marks import Origin, mark_origin, origin_of, request_fit
from hwopt.target import Target

SHARES = (0.25, 0.5, 0.75)
# Layers below this share of all weights are not worth a decision: their stream is short.
SMALLEST_SHARE = 0.03


class Sparsify(Pass):
    """A few shares of zeros for each large matrix of weights."""

    name = "sparsify"
    stage = Stage.WEIGHTS
    risk = Risk.LOSSY
    summary = "a large 1x1 Conv or Gemm --> most of its weights zero"

    def values(self, model: ir.Model, target: Target) -> Iterator[Value | Skip]:
        if not target.gains_from("unstructured"):
            return
        smallest = SMALLEST_SHARE * sum(_weight_elements(node) for node in model.graph)
        for node in model.graph:
            if not is_op(node, "Gemm", "Conv") or _weight_elements(node) < smallest:
                continue
            reason = why_not(node)
            if reason:
                yield Skip(self.name, label(node), reason)
            else:
                yield from self._values(place_of(node))

    def _values(self, place: str) -> Iterator[Value]:
        for share in SHARES:
            yield Value(
                choice=f"weights:{place}",
                kind=Kind.WEIGHTS,
                name=f"zeros_{round(100 * share)}",
                pass_name=self.name,
                risk=Risk.LOSSY,
                stage=self.stage,
                places=(place,),
                rewrite=partial(zero_smallest, place=place, share=share),
                parameters={"share_of_zeros": share},
            )


def _weight_elements(node: ir.Node) -> int:
    tensor = constant(node.inputs[1]) if is_op(node, "Conv", "Gemm") and len(node.inputs) > 1 else None
    return 0 if tensor is None else int(tensor.size)


def why_not(node: ir.Node) -> str:
    """The reason why a large layer is left dense; empty where it can be thinned out."""
    tensor = constant(node.inputs[1])
    if tensor is None or tensor.dtype != ir.DataType.FLOAT:
        return "its weight is not a float32 constant"
    if is_op(node, "Gemm"):
        return ""
    conv = as_conv(node)
    return "" if conv is not None and conv.pointwise else "only 1x1 convolutions are thinned out"


def zero_smallest(model: ir.Model, place: str, share: float) -> None:
    """Sets the smallest weights of the layer to zero and asks for the others to be refitted."""
    node = node_at(model, place)
    weight = constant_array(node.inputs[1])
    if weight is None:
        raise RewriteFailed(f"the weight at {place} is no longer a constant")
    set_constant(node, 1, thinned(weight, share))
    mark_origin(node, origin_of(node) or Origin(str(node.outputs[0].name)))
    request_fit(node, support=True)


def thinned(weight: Array, share: float) -> Array:
    """The weight with that share of its elements, the smallest in magnitude, at zero."""
    order = np.argsort(np.abs(weight), axis=None, kind="stable")
    flat = weight.flatten()
    flat[order[: round(share * flat.size)]] = 0
    return flat.reshape(weight.shape)


PASSES: tuple[Pass, ...] = (Sparsify(),)
