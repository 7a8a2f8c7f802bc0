"""Conv or Gemm  -->  the same with few distinct weights (LOSSY).

For targets that fetch weights as a compressed int8 stream: a layer whose weights take 16 values on
the int8 grid of their output channels needs half the bytes of one that takes all 255. The weights
set here are the nearest codes and tell the price only; the repair chooses codes on calibration data
(Han et al., "Deep Compression", ICLR 2016, section 3, for the idea).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import onnx_ir as ir

from hwopt.choice import Kind, Pass, Risk, Skip, Stage, Value
from hwopt.edit import set_constant
from hwopt.errors import RewriteFailed
from hwopt.heavy import heavy_layers, weight_elements
from hwopt.places import node_at, place_of
from hwopt.repair.codebook import clustered
from hwopt.repair.linear import as_linear, stored
from hwopt.repair.marks import Origin, mark_origin, origin_of, request_codebook
from hwopt.target import Target

COUNTS = (8, 16, 32)
# Layers below this share of all weights are not worth a decision: their stream is short.
SMALLEST_SHARE = 0.01


class ClusterWeights(Pass):
    """Codebooks of a few sizes for each large matrix of weights."""

    name = "cluster_weights"
    stage = Stage.WEIGHTS
    risk = Risk.LOSSY
    summary = "a large Conv or Gemm --> its weights take 8, 16 or 32 values"

    def __init__(self, smallest_share: float = SMALLEST_SHARE) -> None:
        self._smallest_share = smallest_share

    def values(self, model: ir.Model, target: Target) -> Iterator[Value | Skip]:
        reason = no_gain(target)
        if reason:
            yield Skip(self.name, "every layer", reason)
            return
        for found in heavy_layers(model, self.name, self._smallest_share):
            if isinstance(found, Skip):
                yield found
            else:
                yield from self._values(place_of(found), weight_elements(found))

    def _values(self, place: str, elements: int) -> Iterator[Value]:
        for count in COUNTS:
            if count < elements:
                yield Value(
                    choice=f"weights:{place}",
                    kind=Kind.WEIGHTS,
                    name=f"codebook_{count}",
                    pass_name=self.name,
                    risk=Risk.LOSSY,
                    stage=self.stage,
                    places=(place,),
                    rewrite=partial(cluster, place=place, count=count),
                    parameters={"distinct_values": count},
                )


def no_gain(target: Target) -> str:
    """Why no layer gains here from few distinct weights; empty where layers do."""
    if not target.weights_compressed:
        return f"{target.name} fetches weights as they are: repeats cost what others cost"
    return "" if target.precision == "int8" else f"codes are int8, {target.name} runs {target.precision}"


def cluster(model: ir.Model, place: str, count: int) -> None:
    """Sets the layer's weights to the nearest of `count` codes and asks for a codebook, fitted."""
    node = node_at(model, place)
    linear = as_linear(node)
    if linear is None or linear.weight.shape[0] != 1:
        raise RewriteFailed(f"the weight at {place} is no longer a dense constant")
    set_constant(node, 1, stored(linear, clustered(linear.weight[0], count)[None]).astype(np.float32))
    mark_origin(node, origin_of(node) or Origin(str(node.outputs[0].name)))
    request_codebook(node, count, linear.weight)


PASSES: tuple[Pass, ...] = (ClusterWeights(),)
