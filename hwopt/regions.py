"""Regions: pieces cut out of a model so that joint values can be tried without the rest.

A region's values carry static shapes, which rewrites keep right; its open ends may change
their channels. Trying a joint value costs a clone of a dozen nodes, whatever the model's size.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import onnx_ir as ir

from hwopt.channels import open_boundary
from hwopt.choice import Kind, Value
from hwopt.nodes import constant
from hwopt.shapes import TensorInfo


def cut_out(model: ir.Model, nodes: Collection[ir.Node], shapes: Mapping[str, TensorInfo]) -> ir.Model:
    """A model of its own that holds these nodes, with open ends and static shapes.

    The nodes' constants are shared with the original, never copied.
    """
    inside = set(nodes)
    graph = ir.convenience.extract(model.graph, list(_sources(inside)), list(_sinks(inside)))
    region = ir.Model(graph, ir_version=model.ir_version or 8)
    graph.opset_imports.update(model.graph.opset_imports)
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
    clone = model.clone()
    for value in in_order(values):
        value.rewrite(clone)
    return clone


def in_order(values: Iterable[Value]) -> list[Value]:
    """Values in the order in which they compose: by stage, then by choice; resolutions before forms."""
    return sorted(values, key=lambda v: (v.stage, v.kind != Kind.INPUT, v.choice, v.name))


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    for node in graph:
        yield from node.outputs


def _sources(inside: Collection[ir.Node]) -> Sequence[ir.Value]:
    found: dict[ir.Value, None] = {}
    for node in _stable(inside):
        for value in node.inputs:
            if value is not None and constant(value) is None and value.producer() not in inside:
                found[value] = None
    return list(found)


def _sinks(inside: Collection[ir.Node]) -> Sequence[ir.Value]:
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
