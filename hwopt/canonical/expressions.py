"""Constant expressions  -->  one constant, under the name that the expression's result had."""

from __future__ import annotations

import onnx_ir as ir

from hwopt.canonical.common import Fold, View, remove_with_constants, required
from hwopt.canonical.constants import constant_producers, constant_value
from hwopt.canonical.growth import room
from hwopt.edit import add_constant

EXPRESSION = "fold_constants"


def find_constant_expressions(view: View) -> None:
    """Adds a fold for every constant expression that somebody else than a fold reads."""
    left = room(view.model)
    for node in view.model.graph:
        producers = constant_producers(node.outputs[0]) if node not in view.taken else []
        if not producers or node.outputs[0].is_graph_output() or not _is_root(node, view):
            continue
        array = constant_value(node.outputs[0], view.opset) if left > 0 else None
        left -= 0 if array is None else array.nbytes
        if array is None or left < 0:
            view.skip(
                EXPRESSION,
                node,
                "its result cannot be computed here, or is much larger than what it is made of",
            )
        else:
            view.fold(EXPRESSION, [node])


def _is_root(node: ir.Node, view: View) -> bool:
    """Whether a node that is not constant itself, and is not about to go, reads the result."""
    leaving = view.taken | view.reweighted
    readers = [use.node for use in node.outputs[0].uses()]
    return any(
        reader not in leaving and not any(constant_producers(output) for output in reader.outputs)
        for reader in readers
    )


def apply_constant_expression(model: ir.Model, fold: Fold) -> None:
    """nodes: the last operator of the expression."""
    nodes, graph = fold.nodes, model.graph
    result = nodes[0].outputs[0]
    array = required(constant_value(result, model.opset_imports.get("", 1)), EXPRESSION, nodes[0])
    name = result.name or "constant"
    constant = add_constant(graph, array, f"{name}.folded")
    result.replace_all_uses_with(constant)
    remove_with_constants(graph, [nodes[0]])
    constant.name = name
