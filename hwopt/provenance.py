"""Where the nodes of a rewritten model come from, and which rewrites made them.

Every node of the input knows its own label from the start (`node.meta`). A step of a plan that edits a
node, or puts a new one in the place of others, adds what it did: the sources of the nodes that went, and the
step. For readers of the file both stand in the node's `metadata_props` as JSON lists, under SOURCES and
REWRITES; nodes that no rewrite touched stay as they came.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.nodes import label
from hwopt.places import has_place, place_of

SOURCES = "hwopt.sources"  # labels of nodes of the input model
REWRITES = "hwopt.rewrites"  # "STEP PASS CHOICE = VALUE", in the order of the steps

_Snapshot = tuple[str, tuple[ir.Value | None, ...], tuple[ir.Attr, ...]]


def label_sources(model: ir.Model) -> None:
    """Every node of the main graph becomes its own source; done once, on the model that came in."""
    for node in model.graph:
        node.meta[SOURCES] = (label(node),)


def sources_of(node: ir.Node) -> tuple[str, ...]:
    """Labels of the nodes of the input that a node stands for; its own where it was read from a file."""
    known = node.meta.get(SOURCES)
    if isinstance(known, tuple):
        return known
    return _read(node, SOURCES) or (label(node),)


def rewrites_of(node: ir.Node) -> tuple[str, ...]:
    """The steps that made the node what it is; () where it is as it came."""
    return _read(node, REWRITES)


def _read(node: ir.Node, key: str) -> tuple[str, ...]:
    """A list from the node's metadata; () where there is none that can be read."""
    try:
        found = json.loads(node.metadata_props.get(key, "[]"))
    except (ValueError, RecursionError):
        return ()
    return tuple(map(str, found)) if isinstance(found, list) else ()


@dataclass(frozen=True)
class Before:
    """The nodes that a rewrite may edit, as they were."""

    nodes: dict[ir.Node, _Snapshot]
    neighbours: dict[ir.Node, frozenset[ir.Node]]

    @classmethod
    def of(cls, model: ir.Model, places: Iterable[str]) -> Before:
        """A look at the nodes at these places, and at who stands beside each."""
        wanted = frozenset(places)
        nodes = [node for node in model.graph if has_place(node) and place_of(node) in wanted]
        return cls({n: _snapshot(n) for n in nodes}, {n: frozenset(_beside(n)) for n in nodes})

    def record(self, model: ir.Model, step: str) -> None:
        """Says on every node that the rewrite edited or made where it comes from. step: what made it."""
        gone = {node for node in self.nodes if node.graph is None}
        edited = [n for n, was in self.nodes.items() if n not in gone and _snapshot(n) != was]
        new = [node for node in model.graph if SOURCES not in node.meta]
        everything = [name for node in self.nodes if node in gone for name in sources_of(node)]
        whole = everything or [name for node in edited for name in sources_of(node)]
        for node in edited:
            near = self._joined(node, gone)
            taken = [name for other in self.nodes if other in near for name in sources_of(other)]
            _write(node, [*sources_of(node), *taken], step)
        for node in new:
            _write(node, whole, step)

    def _joined(self, node: ir.Node, gone: set[ir.Node]) -> set[ir.Node]:
        """The nodes that went and hung on this one, directly or through others that went."""
        found: set[ir.Node] = set()
        waiting = [node]
        while waiting:
            fresh = (self.neighbours.get(waiting.pop(), frozenset()) & gone) - found
            found |= fresh
            waiting.extend(fresh)
        return found


def _snapshot(node: ir.Node) -> _Snapshot:
    return (node.op_type, tuple(node.inputs), tuple(node.attributes.values()))


def _beside(node: ir.Node) -> Iterator[ir.Node]:
    for value in node.inputs:
        producer = None if value is None else value.producer()
        if producer is not None:
            yield producer
    for value in node.outputs:
        yield from (use.node for use in value.uses())


def _write(node: ir.Node, sources: Iterable[str], step: str) -> None:
    node.meta[SOURCES] = tuple(dict.fromkeys(sources))
    node.metadata_props[SOURCES] = json.dumps(node.meta[SOURCES])
    node.metadata_props[REWRITES] = json.dumps([*rewrites_of(node), step])
