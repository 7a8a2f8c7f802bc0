"""Regions: pieces cut out of a model so that joint values can be tried without the rest.

A region's values carry static shapes, which rewrites keep right; its open ends may change
their channels. Trying a joint value costs a clone of a dozen nodes, whatever the model's size.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import onnx_ir as ir

from hwopt.channels.groups import open_boundary
from hwopt.choice import Rank, Value, in_order, rank
from hwopt.errors import RewriteFailed
from hwopt.ir.external import EXTERNAL
from hwopt.nodes import constant
from hwopt.reads import outer_reads
from hwopt.rewrite import rewrite
from hwopt.shapes import TensorInfo

Order = Mapping[ir.Node, int]


def order_of(model: ir.Model) -> Order:
    """Where each node of the main graph stands."""
    return {node: number for number, node in enumerate(model.graph)}


def cut_out(
    model: ir.Model,
    nodes: Collection[ir.Node],
    shapes: Mapping[str, TensorInfo],
    order: Order | None = None,
) -> ir.Model:
    """A model of its own that holds these nodes, with open ends and static shapes.

    The nodes' constants are shared with the original, never copied. order: `order_of` the model, for whoever
    cuts out many pieces; the rest of the model is not looked at then.
    """
    inside = set(nodes)
    sources, sinks = _sources(inside), _sinks(inside)
    view = _view(model.graph, inside, sources, sinks, order_of(model) if order is None else order)
    graph = ir.convenience.extract(view, sources, sinks)
    region = ir.Model(graph, ir_version=model.ir_version or 8)
    graph.opset_imports.update(model.graph.opset_imports)
    if EXTERNAL in model.graph.meta:
        graph.meta[EXTERNAL] = model.graph.meta[EXTERNAL]
    for value in (*graph.inputs, *graph.outputs):
        open_boundary(value)
    for value in _values(graph):
        info = shapes.get(value.name or "")
        if info is not None:
            value.shape = ir.Shape(info.shape)
            value.type = ir.TensorType(info.dtype)
    return region


def recorded_shapes(region: ir.Model) -> dict[str, TensorInfo]:
    """The static shapes that a region's values carry."""
    found: dict[str, TensorInfo] = {}
    for value in (*_values(region.graph), *region.graph.initializers.values()):
        if value.name and value.shape is not None and value.shape.is_static() and value.dtype is not None:
            found[value.name] = TensorInfo(tuple(value.shape.numpy()), value.dtype)
    return found


def apply_values(model: ir.Model, values: Iterable[Value]) -> ir.Model:
    """A clone of the model with these values written into it, in the fixed order of stages."""
    return rewrite(model, in_order(values))


def apply_each(model: ir.Model, wanted: Sequence[Collection[Value]]) -> Iterator[tuple[int, ir.Model]]:
    """Clones with each of several sets of values written into them, and which of the sets it is.

    Sets that begin alike share what they begin with, so every clone costs one rewrite: they come in
    another order, and whoever edits one clones it first. Sets of values that exclude one another are
    left out.
    """
    ordered = [[(rank(value), value) for value in in_order(values)] for values in wanted]
    done: list[tuple[Rank, ir.Model | None]] = []
    for number in sorted(range(len(wanted)), key=lambda i: [one for one, _ in ordered[i]]):
        ranks = [one for one, _ in ordered[number]]
        while [one for one, _ in done] != ranks[: len(done)]:
            done.pop()
        for one, value in ordered[number][len(done) :]:
            done.append((one, _applied(done[-1][1] if done else model, value)))
        changed = done[-1][1] if done else model
        if changed is not None:
            yield number, changed


def _applied(model: ir.Model | None, value: Value) -> ir.Model | None:
    """A clone with the value written into it; None where that is not possible."""
    try:
        return None if model is None else apply_values(model, [value])
    except RewriteFailed:
        return None


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    for node in graph:
        yield from node.outputs


def _view(
    graph: ir.Graph, inside: set[ir.Node], inputs: list[ir.Value], outputs: list[ir.Value], order: Order
) -> ir.GraphView:
    """The nodes, and those that make their constants, in the graph's order."""
    makers = (
        value.producer() for node in inside for value in outer_reads(node) if constant(value) is not None
    )
    nodes = inside.union(node for node in makers if node is not None)
    return ir.GraphView(
        inputs, outputs, nodes=sorted(nodes, key=lambda node: order[node]), name=graph.name,
        doc_string=graph.doc_string, opset_imports=graph.opset_imports, metadata_props=graph.metadata_props,
    )  # fmt: skip


def _sources(inside: Collection[ir.Node]) -> list[ir.Value]:
    found: dict[ir.Value, None] = {}
    for node in _stable(inside):
        for value in outer_reads(node):
            if constant(value) is None and value.producer() not in inside:
                found[value] = None
    return list(found)


def _sinks(inside: Collection[ir.Node]) -> list[ir.Value]:
    found: dict[ir.Value, None] = {}
    for node in _stable(inside):
        for value in node.outputs:
            readers = [use.node for use in value.uses()]
            if value.is_graph_output() or any(reader not in inside for reader in readers) or not readers:
                found[value] = None
    return list(found)


def _stable(nodes: Collection[ir.Node]) -> list[ir.Node]:
    """Nodes in an order that does not depend on hashes."""
    return sorted(nodes, key=lambda node: str(node.outputs[0].name))
