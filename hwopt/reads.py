"""What a node reads, nested graphs included."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir


def outer_reads(node: ir.Node) -> Iterator[ir.Value]:
    """What a node reads of the graph that it stands in, its nested graphs included; constants, too."""
    yield from (value for value in node.inputs if value is not None)
    for attribute in node.attributes.values():
        if attribute.is_ref() or attribute.type not in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
            continue
        graphs = [attribute.as_graph()] if attribute.type == ir.AttributeType.GRAPH else attribute.as_graphs()
        for graph in graphs:
            yield from _captured(graph, node.graph)


def _captured(graph: ir.Graph, outer: ir.Graph | ir.Function | None) -> Iterator[ir.Value]:
    """Values of the outer graph that a nested one reads or hands out."""
    inner = (value for node in ir.traversal.RecursiveGraphIterator(graph) for value in node.inputs)
    for value in (*inner, *graph.outputs):
        if value is not None and value.graph is outer:
            yield value
