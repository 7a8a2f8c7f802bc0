"""Activations written out as several operators  -->  the one operator that they are, where the opset has it.

Add 3, Clip 0..6, Mul, Div 6  -->  HardSwish (opset 14)
Sigmoid, Mul                  -->  Swish (opset 24)
Add 3, Clip 0..6, Div 6       -->  HardSigmoid
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from hwopt.activations import following_activation
from hwopt.canonical.common import Fold, View, remove_with_constants, rename, required
from hwopt.edit import insert_node
from hwopt.nodes import is_op
from hwopt.places import inherit_place

NATIVE = "native_activation"
_OPERATORS: dict[str, tuple[str, int]] = {
    "hardswish": ("HardSwish", 14),
    "silu": ("Swish", 24),
    "hardsigmoid": ("HardSigmoid", 7),
    "gelu": ("Gelu", 20),
}


def find_native_activations(view: View) -> None:
    """Takes the nodes of every decomposed activation, so that no other rule tears it apart."""
    for value in _values(view.model.graph):
        match = following_activation(value)
        if match is None or not match.decomposed or any(node in view.taken for node in match.nodes):
            continue
        operator, since = _OPERATORS[match.activation.kind]
        if view.opset >= since:
            view.fold(NATIVE, match.nodes)
        else:
            view.kept.update(match.nodes)
            view.skip(NATIVE, match.nodes[0], f"{operator} needs opset {since}, the model is in {view.opset}")


def _values(graph: ir.Graph) -> list[ir.Value]:
    return [
        *graph.inputs,
        *(value for node in graph if not is_op(node, "Constant") for value in node.outputs),
    ]


def apply_native(model: ir.Model, fold: Fold) -> None:
    """nodes: those of one decomposed activation, the last one last."""
    nodes, graph = fold.nodes, model.graph
    source = required(_source(nodes), NATIVE, nodes[-1])
    match = required(following_activation(source), NATIVE, nodes[-1])
    required(match if set(match.nodes) == set(nodes) else None, NATIVE, nodes[-1])
    activation, last = match.activation, match.output
    hard = activation.kind == "hardsigmoid"
    attributes = {"alpha": activation.alpha, "beta": activation.beta} if hard else {}
    operator = _OPERATORS[activation.kind][0]
    node = insert_node(match.nodes[-1], operator, [source], attributes, f"{last.name}.native")
    inherit_place(node, match.nodes[-1])
    name, dtype, shape = last.name, last.type, last.shape
    last.replace_all_uses_with(node.outputs[0], replace_graph_outputs=True)
    remove_with_constants(graph, list(match.nodes))
    rename(node.outputs[0], name, dtype, shape)


def _source(nodes: Sequence[ir.Node]) -> ir.Value | None:
    """The value that the activation is applied to: what the first node reads and is not constant."""
    inside = {value for node in nodes for value in node.outputs}
    for value in nodes[0].inputs:
        if value is not None and value not in inside and following_activation(value) is not None:
            return value
    return None
