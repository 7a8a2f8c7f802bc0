"""Leaves out loop orders that are mirror images of others.

ZigZag tries every order of a layer's temporal loops. For a square layer on an array that treats
rows and columns alike, exchanging x and y everywhere turns one order into another of exactly the
same cost, so half of the orders say nothing new. A test compares with the full search.
"""

from __future__ import annotations

from typing import Any

from zigzag.datatypes import LayerDim, OADimension
from zigzag.hardware.architecture.accelerator import Accelerator
from zigzag.opt.loma.multipermute import PermutationConstraint
from zigzag.workload.layer_attributes import LayerDimSizes, LayerTemporalOrdering
from zigzag.workload.layer_node import LayerNode

_MIRROR = {"OX": "OY", "OY": "OX", "FX": "FY", "FY": "FX", "IX": "IY", "IY": "IX"}
_PAIRS = (("OX", "OY"), ("FX", "FY"))

Unrolling = tuple[tuple[str, int], ...]


def is_mirrored(accelerator: Accelerator, layer: LayerNode) -> bool:
    """Whether exchanging x and y changes neither the layer nor how the array is used."""
    return _square(layer) and _array_mirrored(accelerator, layer)


def _square(layer: LayerNode) -> bool:
    sizes = _by_name(layer.layer_dim_sizes)
    if any(sizes.get(x) != sizes.get(y) for x, y in _PAIRS):
        return False
    inputs = _by_name(layer.pr_layer_dim_sizes)
    steps = {
        relation.dim_1.name: (relation.coef_2, relation.coef_3) for relation in layer.dimension_relations
    }
    return inputs.get("IX") == inputs.get("IY") and steps.get("IX") == steps.get("IY")


def _by_name(sizes: LayerDimSizes | None) -> dict[str, float]:
    return {} if sizes is None else {dim.name: size for dim, size in sizes.data.items()}


def _array_mirrored(accelerator: Accelerator, layer: LayerNode) -> bool:
    """Whether the array's dimensions pair up under the exchange, each pair served by the same memories."""
    sizes = accelerator.operational_array.dimension_sizes
    used = {dim: _unrolling(layer, dim) for dim in sizes if dim in layer.spatial_mapping}
    if set(used) != set(sizes):
        return False  # the mapping leaves choices open: ZigZag searches them, and so it should
    for dim, unrolling in used.items():
        mirrored = tuple(sorted((_MIRROR.get(name, name), size) for name, size in unrolling))
        twins = [other for other, theirs in used.items() if theirs == mirrored]
        if not any(sizes[dim] == sizes[twin] and _served_alike(accelerator, dim, twin) for twin in twins):
            return False
    return True


def _unrolling(layer: LayerNode, dim: OADimension) -> Unrolling:
    loops = layer.spatial_mapping[dim]
    return tuple(sorted((inner.name, int(loops[inner])) for inner in loops.layer_dims))


def _served_alike(accelerator: Accelerator, first: OADimension, second: OADimension) -> bool:
    levels = accelerator.memory_hierarchy.mem_level_list
    return all((first in level.served_dimensions) == (second in level.served_dimensions) for level in levels)


class _OneOfTwo(PermutationConstraint):
    """Keeps the first of an order and its mirror image, in the alphabet's order."""

    def is_valid(self, permutation: list[tuple[LayerDim, int]]) -> bool:
        order = [(dim.name, size) for dim, size in permutation]
        mirror = [(_MIRROR.get(name, name), size) for name, size in order]
        return sorted(order) != sorted(mirror) or order <= mirror

    def is_empty(self) -> bool:
        return False


class MirroredOrders(LayerTemporalOrdering):
    """No order asked for, but of two mirror images only one is tried."""

    def __init__(self) -> None:
        super().__init__([])

    def is_complete(self, temporal_loop_sizes: Any) -> bool:
        return False

    def get_constraints(self) -> list[PermutationConstraint]:
        return [_OneOfTwo()]
