"""Conv or Gemm  -->  the same with zeros among its weights (LOSSY).

For targets whose weight stream is compressed (a zero is cheap to fetch there, though not
skipped), or whose array skips zeros: anywhere, two of every four neighbours, or whole blocks.
Every large layer gets several shares of zeros: how much it can bear is for the search to weigh
by measured damage (the sensitivity scan of Han et al., "Learning both Weights and Connections",
NIPS 2015, section 3). The zeros that are set here are the smallest weights and tell the price
only; the repair chooses them on calibration data and fits the weights that stay.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx_ir as ir

from hwopt.choice import Kind, Parameter, Pass, Risk, Skip, Stage, Value
from hwopt.edit import set_constant
from hwopt.errors import RewriteFailed
from hwopt.heavy import heavy_layers
from hwopt.nodes import label
from hwopt.places import node_at, place_of
from hwopt.repair.linear import Linear, as_linear, stored
from hwopt.repair.marks import Origin, mark_origin, origin_of, request_sparse_fit
from hwopt.repair.masks import Sparsity, keep, sparsity_of
from hwopt.target import Target

SHARES = (0.25, 0.4, 0.5, 0.6, 0.75, 0.9)
BLOCK_SHARES = (0.25, 0.5, 0.75)
PATTERNS = ("2:4", "1:4", "block", "1x4", "4x1")
# Layers below this share of all weights are not worth a decision: their stream is short.
SMALLEST_SHARE = 0.01


@dataclass(frozen=True)
class _Offer:
    """One value: its name, and the pattern of zeros."""

    name: str
    sparsity: Sparsity


class Sparsify(Pass):
    """Zeros for each large matrix of weights, in the patterns that the target gains from."""

    name = "sparsify"
    stage = Stage.WEIGHTS
    risk = Risk.LOSSY
    summary = "a large Conv or Gemm --> many of its weights zero"

    def __init__(self, smallest_share: float = SMALLEST_SHARE) -> None:
        self._smallest_share = smallest_share

    def values(self, model: ir.Model, target: Target) -> Iterator[Value | Skip]:
        offers = list(offered(target))
        if not offers:
            yield Skip(self.name, "every layer", f"{target.name} gains nothing from zeros")
            return
        for found in heavy_layers(model, self.name, self._smallest_share):
            if isinstance(found, Skip):
                yield found
            else:
                yield from self._values(found, offers)

    def _values(self, node: ir.Node, offers: list[_Offer]) -> Iterator[Value | Skip]:
        linear, place = as_linear(node), place_of(node)
        assert linear is not None
        for offer in offers:
            if not _divides(linear, offer.sparsity):
                group = offer.sparsity.group
                yield Skip(self.name, label(node), f"{offer.name}: no multiple of {group} input channels")
                continue
            yield Value(
                choice=f"weights:{place}",
                kind=Kind.WEIGHTS,
                name=offer.name,
                pass_name=self.name,
                risk=Risk.LOSSY,
                stage=self.stage,
                places=(place,),
                rewrite=partial(zero_smallest, place=place, sparsity=offer.sparsity),
                parameters=_parameters(offer.sparsity),
                strength=_strength(offer.sparsity),
            )


def offered(target: Target) -> Iterator[_Offer]:
    """The patterns that the target gains from, none that costs more accuracy and gains nothing more.

    Where zeros gain wherever they stand, those in a pattern gain the same and cost more.
    """
    if target.gains_from("unstructured"):
        for share in SHARES:
            yield _Offer(f"zeros_{round(100 * share)}", Sparsity(share))
        return
    for word in PATTERNS:
        if not target.gains_from(word):
            continue
        for share in (0.5,) if ":" in word else BLOCK_SHARES:
            sparsity = sparsity_of(word, share)
            assert sparsity is not None
            name = f"zeros_{word.replace(':', '_of_')}"
            yield _Offer(name if ":" in word else f"{name}_{round(100 * share)}", sparsity)


def _strength(sparsity: Sparsity) -> float | None:
    """Zeros anywhere differ in their share alone; a pattern is of its own kind."""
    return sparsity.zeros if sparsity.anywhere else None


def _parameters(sparsity: Sparsity) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {"share_of_zeros": sparsity.zeros}
    if sparsity.group > 1:
        found["of_every"] = sparsity.group
    if sparsity.block != (1, 1):
        found["block"] = sparsity.block
    return found


def _divides(linear: Linear, sparsity: Sparsity) -> bool:
    """Whether the input channels are a multiple of the pattern's group."""
    return linear.features // taps_of(linear) % sparsity.group == 0


def taps_of(linear: Linear) -> int:
    """Kernel positions of a convolution; 1 for a Gemm."""
    return 1 if linear.window is None else math.prod(linear.window.kernel)


def zero_smallest(model: ir.Model, place: str, sparsity: Sparsity) -> None:
    """Sets the smallest weights of the layer to zero and asks for zeros in that pattern, fitted."""
    node = node_at(model, place)
    linear = as_linear(node)
    if linear is None or linear.weight.shape[0] != 1:
        raise RewriteFailed(f"the weight at {place} is no longer a dense constant")
    mask = keep(np.abs(linear.weight[0]), sparsity, taps_of(linear))
    set_constant(node, 1, stored(linear, linear.weight * mask).astype(np.float32))
    mark_origin(node, origin_of(node) or Origin(str(node.outputs[0].name)))
    request_sparse_fit(node, sparsity, linear.weight)


PASSES: tuple[Pass, ...] = (Sparsify(),)
