"""What of a node is known before it runs."""

from __future__ import annotations

import onnx_ir as ir

from hwopt.nodes import ONNX_DOMAINS, constant_array

NEWEST = 22


class Unsupported(Exception):
    """A node cannot be expressed as a PyTorch function; the text says which and why."""


def integers(node: ir.Node, index: int, attribute: str, *, required: bool = True) -> list[int]:
    """Integers that are an attribute in old versions of an operator, a constant input in newer ones.

    Raises Unsupported where they depend on data, or are required and missing.
    """
    if attribute and attribute in node.attributes:
        return [int(i) for i in node.attributes[attribute].as_ints()]
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        if required:
            raise Unsupported(f"it has no {attribute}")
        return []
    array = constant_array(value)
    if array is None:
        raise Unsupported(f"its {attribute or f'input {index}'} depends on data")
    return [int(i) for i in array.reshape(-1)]


def axes_of(node: ir.Node, index: int) -> list[int]:
    """The axes of an operator; empty where there are none."""
    return integers(node, index, "axes", required=False)


def opset_of(node: ir.Node) -> int:
    """The version of the standard operators that the node's graph uses."""
    graph = node.graph
    imports = graph.opset_imports if isinstance(graph, ir.Graph) else {}
    return next((version for domain, version in imports.items() if domain in ONNX_DOMAINS), NEWEST)
