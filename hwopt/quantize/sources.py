"""Where the nodes of an int8 model come from: the quantiser knows of names alone, and takes activations in.

Conv -> Relu  -->  DequantizeLinear -> Conv -> QuantizeLinear: all of it stands for Conv and Relu.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from hwopt.nodes import is_op
from hwopt.provenance import GONE, Channels, channels_of, sources_of, write_sources

QUANTISED = "quantised"
_ROUND = ("QuantizeLinear", "DequantizeLinear")


def keep_sources(model: ir.Model, named: ir.Model, result: ir.Model) -> None:
    """Writes on every node of `result` what it stands for.

    model: what was quantised. named: the copy of it, with a name for every node, that `result` was made of.
    """
    ends = {str(value.name): sources_of(node) for node in model.graph for value in node.outputs}
    by_name = {node.name: str(node.outputs[0].name) for node in named.graph if node.outputs}
    kept = {name: one for node in model.graph for name, one in channels_of(node).items()}
    own = {
        node: (*ends.get(by_name.get(node.name, ""), ()), *_at(node, ends))
        for node in result.graph
        if not is_op(node, *_ROUND)
    }
    if GONE in model.graph.metadata_props:
        result.graph.metadata_props[GONE] = model.graph.metadata_props[GONE]
    for node in result.graph:
        found = own[node] if node in own else _beside(node, own)
        write_sources(node, found, QUANTISED, _channels(node, kept))


def _at(node: ir.Node, ends: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The sources of what gave a node's outputs before: an activation that went into the node."""
    return tuple(source for value in node.outputs for source in ends.get(str(value.name), ()))


def _beside(node: ir.Node, own: Mapping[ir.Node, tuple[str, ...]]) -> tuple[str, ...]:
    """The sources of what computes the tensor that is rounded; of a weight, those of what reads it."""
    before: ir.Node | None = node
    while before is not None and before not in own:
        before = None if not before.inputs or before.inputs[0] is None else before.inputs[0].producer()
    if before is not None:
        return own[before]
    after: ir.Node | None = node
    while after is not None and after not in own:
        after = next((use.node for value in after.outputs for use in value.uses()), None)
    return () if after is None else own[after]


def _channels(node: ir.Node, kept: Mapping[str, Channels]) -> dict[str, Channels]:
    names = [str(value.name) for value in node.outputs]
    return {name: kept[name] for name in names if name in kept}
