"""Places: structural ids of nodes, which survive a re-export that renames and reorders.

A node's id is a hash of its operator, its attributes and, recursively, of what feeds it down
to the graph's inputs (a Merkle tree over the dataflow). Twins that are fed alike are told
apart by what they feed, then by their weights, and only then by order.

The id is written into `node.meta` once, on the model that choices are found in. It is kept
by clones and by rewrites, so that a value can find its node in any model derived from it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable

import onnx_ir as ir

from hwopt.errors import RewriteFailed
from hwopt.ir.stored import fingerprint
from hwopt.nodes import constant, is_op, label

_PLACE = "hwopt.place"
_INDEX = "hwopt.place_index"  # in graph.meta
_SMALL = 16  # integer constants up to this size (axes, shapes, pads) are part of the structure


def place_of(node: ir.Node) -> str:
    """The node's structural id. Raises RewriteFailed where none was assigned."""
    place = node.meta.get(_PLACE)
    if place is None:
        raise RewriteFailed(
            f"node '{label(node)}' has no place: assign_places was not run, or a rewrite lost it"
        )
    return str(place)


def has_place(node: ir.Node) -> bool:
    """Whether the node carries a structural id (nodes made by rewrites may not)."""
    return _PLACE in node.meta


def inherit_place(new: ir.Node, old: ir.Node) -> None:
    """The new node stands where the old one stood: later values will find it there."""
    if has_place(old):
        place = new.meta[_PLACE] = old.meta[_PLACE]
        index = _index(old.graph)
        if index is not None:
            index.nodes.setdefault(place, []).append(new)


def node_at(model: ir.Model, place: str) -> ir.Node:
    """The node with that id. Raises RewriteFailed where the model has none."""
    node = find_node(model, place)
    if node is None:
        raise RewriteFailed(f"no node at place {place}: an earlier rewrite removed it without an heir")
    return node


def find_node(model: ir.Model, place: str) -> ir.Node | None:
    """The node with that id, the first one in the graph where several have it; None where there is none.

    An index of the graph is kept from one question to the next. It is made anew where it does not know
    an answer, and what it says is held against the nodes.
    """
    graph = model.graph
    index = _index(graph)
    known = () if index is None else index.nodes.get(place, ())
    there = [node for node in known if node.graph is graph and node.meta.get(_PLACE) == place]
    if len(there) == 1:
        return there[0]
    index = graph.meta[_INDEX] = _Index(graph)
    return next(iter(index.nodes.get(place, ())), None)


class _Index:
    """Nodes of one graph by their places. A clone of the graph shares its meta, but not the index."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self.nodes: dict[str, list[ir.Node]] = {}
        for node in graph:
            if _PLACE in node.meta:
                self.nodes.setdefault(str(node.meta[_PLACE]), []).append(node)


def _index(graph: object) -> _Index | None:
    """The index that is kept of a graph; None where there is none of its own."""
    index = graph.meta.get(_INDEX) if isinstance(graph, ir.Graph) else None
    return index if isinstance(index, _Index) and index.graph is graph else None


def assign_places(model: ir.Model) -> None:
    """Writes a structural id into every node of the main graph that is not a constant."""
    nodes = [node for node in model.graph if not is_op(node, "Constant")]
    forward = _forward(model, nodes)
    backward = _backward(model, nodes)
    groups: dict[tuple[str, str], list[ir.Node]] = defaultdict(list)
    for node in nodes:
        groups[forward[node], backward[node]].append(node)
    for (down, up), twins in groups.items():
        digest = _digest([down, up])
        ordered = twins if len(twins) == 1 else sorted(twins, key=_weights_digest)
        for ordinal, node in enumerate(ordered):
            suffix = f".{ordinal}" if len(ordered) > 1 else ""
            node.meta[_PLACE] = f"{node.op_type.lower()}-{digest[:10]}{suffix}"


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def _attributes(node: ir.Node) -> str:
    return ";".join(f"{name}={_attribute(attribute)}" for name, attribute in sorted(node.attributes.items()))


def _attribute(attribute: ir.Attr) -> str:
    if attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
        graphs = [attribute.value] if attribute.type == ir.AttributeType.GRAPH else attribute.value
        return ",".join("/".join(node.op_type for node in graph) for graph in graphs)
    if attribute.type == ir.AttributeType.TENSOR:
        return _structure(attribute.value)
    return str(attribute.value)


def _structure(tensor: ir.TensorProtocol) -> str:
    """A constant's part in the structure: its shape, and its data only where that is structural."""
    text = f"{tensor.dtype}{tuple(tensor.shape)}"
    if tensor.dtype in (ir.DataType.INT64, ir.DataType.INT32) and tensor.size <= _SMALL:
        return text + str(tensor.numpy().tolist())
    return text


def _source(model: ir.Model, value: ir.Value | None, known: dict[ir.Node, str]) -> str:
    if value is None:
        return "none"
    tensor = constant(value)
    if tensor is not None:
        return "constant:" + _structure(tensor)
    producer = value.producer()
    if producer is not None and producer in known:
        return f"{known[producer]}:{value.index()}"
    if value in model.graph.inputs:
        return f"input:{model.graph.inputs.index(value)}"
    return "unknown"


def _forward(model: ir.Model, nodes: list[ir.Node]) -> dict[ir.Node, str]:
    known: dict[ir.Node, str] = {}
    for node in nodes:
        sources = [_source(model, value, known) for value in node.inputs]
        known[node] = _digest([node.domain, node.op_type, _attributes(node), *sources])
    return known


def _backward(model: ir.Model, nodes: list[ir.Node]) -> dict[ir.Node, str]:
    outputs = {id(value): index for index, value in enumerate(model.graph.outputs)}
    known: dict[ir.Node, str] = {}
    for node in reversed(nodes):
        uses = [f"{known.get(use.node, '?')}:{use.idx}" for value in node.outputs for use in value.uses()]
        ends = [f"output:{outputs[id(value)]}" for value in node.outputs if id(value) in outputs]
        known[node] = _digest([node.op_type, *sorted(uses), *ends])
    return known


def _weights_digest(node: ir.Node) -> str:
    parts = []
    for value in node.inputs:
        tensor = constant(value)
        if tensor is not None and tensor.dtype != ir.DataType.STRING:
            parts.append(fingerprint(tensor))
    return _digest(parts)
