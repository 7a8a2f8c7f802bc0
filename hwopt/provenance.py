"""Where the nodes of a rewritten model come from, and which rewrites made them.

Every node of the input knows its own label from the start (`node.meta`). A step of a plan that edits a
node, or puts a new one in the place of others, adds what it did: the sources of the nodes that went, and the
step. For readers of the file this stands as JSON in `metadata_props`:

    node   hwopt.sources    ["conv1", "bn1"]            labels of nodes of the input model
    node   hwopt.rewrites   ["1 canonicalize canonical:... = fold_after", "repaired"]
    node   hwopt.channels   {"r1": {"axis": 1, "channels": [0, 2, 3, -1]}}       by output
    graph  hwopt.gone       {"shape1": "computed the constant 'shape1.out'"}     nodes without an heir

`hwopt.channels` says which entries of an axis of the value of that name in the input model a resized output
holds, in their order; -1 is a new one that stands for nothing. Nodes that no rewrite touched stay as they
came. A model that carries all this already, being the result of an earlier run, goes on from there: sources
are then labels of nodes of the very first model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.edit import reserve_names
from hwopt.nodes import label

SOURCES = "hwopt.sources"  # labels of nodes of the input model
REWRITES = "hwopt.rewrites"  # "STEP PASS CHOICE = VALUE", in the order of the steps; "repaired", "tuned"
CHANNELS = "hwopt.channels"
GONE = "hwopt.gone"
KEYS = (SOURCES, REWRITES, CHANNELS)
SERIAL = "hwopt.serial"  # in node.meta: tells nodes of the input apart, whatever their labels
_NESTED = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


@dataclass(frozen=True)
class Channels:
    """Which entries of an axis of a value of the input are left, in order; -1: a new one, for nothing."""

    axis: int
    kept: tuple[int, ...]

    def to_json(self) -> dict[str, object]:
        """As it stands in a node's metadata."""
        return {"axis": self.axis, "channels": list(self.kept)}


def label_sources(model: ir.Model) -> None:
    """Every node of the main graph becomes its own source, every name stays for what has it now.

    Done once, on the model that came in.
    """
    reserve_names(model.graph)
    for number, node in enumerate(model.graph):
        node.meta[SOURCES] = _read(node, SOURCES) or (label(node),)
        node.meta[SERIAL] = number
        known = channels_of(node)
        for value in node.outputs:
            value.meta.pop(CHANNELS, None)
            if value.name in known:
                value.meta[CHANNELS] = known[value.name]


def sources_of(node: ir.Node) -> tuple[str, ...]:
    """Labels of the nodes of the input that a node stands for; its own where it was read from a file."""
    known = node.meta.get(SOURCES)
    if isinstance(known, tuple):
        return known
    return _read(node, SOURCES) or (label(node),)


def rewrites_of(node: ir.Node) -> tuple[str, ...]:
    """The steps that made the node what it is; () where it is as it came."""
    return _read(node, REWRITES)


def channels_of(node: ir.Node) -> dict[str, Channels]:
    """Of a node's outputs that were resized, by name: what is left of the input's value of that name."""
    found = {str(v.name): v.meta[CHANNELS] for v in node.outputs if v.name and CHANNELS in v.meta}
    if found:
        return found
    written = _object(node.metadata_props.get(CHANNELS, "{}"))
    return {name: one for name, entry in written.items() if (one := _channels(entry)) is not None}


def channels_since(before: Channels | None, after: Channels | None) -> Channels | None:
    """What is left in `after` of what was left in `before`, both of them of one value of the input.

    None where nothing was resized in between.
    """
    if before is None or after is None or before.axis != after.axis:
        return after if before is None else None
    if before.kept == after.kept:
        return None
    where = {entry: index for index, entry in enumerate(before.kept) if entry >= 0}
    return Channels(after.axis, tuple(where.get(entry, -1) for entry in after.kept))


def gone_of(model: ir.Model) -> dict[str, str]:
    """Labels of nodes of the input that no node stands for any more, and where they went."""
    return {name: str(why) for name, why in _object(model.graph.metadata_props.get(GONE, "{}")).items()}


def note_channels(value: ir.Value, axis: int, size: int, part: slice, kept: Sequence[int]) -> None:
    """Says that a part of a value's axis, which had `size` entries at first, was rebuilt.

    kept: indices into that part, for its new entries; -1: a new one.
    """
    known = value.meta.get(CHANNELS, Channels(axis, tuple(range(size))))
    old = known.kept[part]
    if known.axis != axis or len(old) <= max(kept, default=-1):  # a file said something wrong of it
        value.meta.pop(CHANNELS, None)
        return
    own = tuple(-1 if i < 0 else old[i] for i in kept)
    whole = (*known.kept[: part.start], *own, *known.kept[part.stop :])
    value.meta[CHANNELS] = Channels(axis, whole)


def write_sources(
    node: ir.Node, sources: Iterable[str], step: str, channels: Mapping[str, Channels] | None = None
) -> None:
    """Says on a node which nodes of the input it stands for, and adds a step to those that made it.

    channels: of its outputs, by name; None: as they are noted.
    """
    known = tuple(dict.fromkeys(sources))
    node.meta[SOURCES] = known
    node.metadata_props[SOURCES] = json.dumps(known)
    node.metadata_props[REWRITES] = json.dumps([*rewrites_of(node), step])
    noted = {str(v.name): v.meta[CHANNELS] for v in node.outputs if v.name and CHANNELS in v.meta}
    resized = {name: one.to_json() for name, one in (noted if channels is None else channels).items()}
    node.metadata_props.pop(CHANNELS, None)
    if resized:
        node.metadata_props[CHANNELS] = json.dumps(resized)


def note_made(before: ir.Model, after: ir.Model, word: str) -> None:
    """Says on every node of `after` that has other constants than in `before` what gave it them.

    after: made of a clone of `before`, like a repair. word: "repaired", "tuned".
    """
    known = {_end(node): _tensors(node) for node in before.graph}
    for node in after.graph:
        if known.get(_end(node), ()) != _tensors(node):
            write_sources(node, sources_of(node), word)


def forget(model: ir.Model) -> None:
    """Takes everything out of a model's metadata that this module put there."""
    model.graph.metadata_props.pop(GONE, None)
    for node in model.graph:
        for key in KEYS:
            node.metadata_props.pop(key, None)


@dataclass(frozen=True)
class Form:
    """A node of the main graph as it is written into a file, names for values."""

    kind: tuple[str, str]
    reads: tuple[str, ...]
    gives: tuple[str, ...]
    attributes: tuple[ir.Attr, ...]
    nested: tuple[str, ...]
    channels: tuple[Channels | None, ...]

    @classmethod
    def of(cls, node: ir.Node) -> Form:
        """The node as it is now."""
        return cls(
            kind=(node.domain, node.op_type),
            reads=tuple("" if value is None else str(value.name) for value in node.inputs),
            gives=tuple(str(value.name) for value in node.outputs),
            attributes=tuple(node.attributes.values()),
            nested=tuple(_read_inside(node)),
            channels=tuple(value.meta.get(CHANNELS) for value in node.outputs),
        )

    def beside(self, other: Form) -> bool:
        """Whether one of the two reads what the other gives."""
        return not (
            {*self.reads, *self.nested}.isdisjoint(other.gives)
            and {*other.reads, *other.nested}.isdisjoint(self.gives)
        )


@dataclass(frozen=True)
class Before:
    """The nodes of a model's main graph as they were before a rewrite."""

    nodes: Mapping[ir.Node, Form]

    @classmethod
    def of(cls, model: ir.Model) -> Before:
        """A look at every node."""
        return cls({node: Form.of(node) for node in model.graph})

    def record(self, model: ir.Model, step: str, made: Sequence[ir.Node] | None = None) -> list[ir.Node]:
        """Says on every node that the rewrite edited or made where it comes from; those that it edited.

        step: what made it. made: the nodes that are new; None: what of the model is not known.
        """
        gone = [node for node in self.nodes if node.graph is None]
        edited = self.edited()
        new = [node for node in model.graph if node not in self.nodes] if made is None else made
        everything = [name for node in gone for name in sources_of(node)]
        heirless = set(gone) if not new else set[ir.Node]()
        for node in edited:
            near = self._joined(node, gone)
            heirless -= near
            write_sources(
                node, [*sources_of(node), *(n for g in gone if g in near for n in sources_of(g))], step
            )
        for node in new:
            own = node.meta.get(SOURCES, ())
            write_sources(node, [*own, *(everything or [n for e in edited for n in sources_of(e)])], step)
        if heirless:
            self._bury(model, [node for node in gone if node in heirless])
        return edited

    def edited(self) -> list[ir.Node]:
        """Nodes that are still there, and not as they were."""
        return [n for n, was in self.nodes.items() if n.graph is not None and Form.of(n) != was]

    def _joined(self, node: ir.Node, gone: Iterable[ir.Node]) -> set[ir.Node]:
        """The nodes that went and hung on this one, directly or through others that went."""
        left, found, waiting = list(gone), set[ir.Node](), [node]
        while waiting and left:
            form = self.nodes[waiting.pop()]
            fresh = [other for other in left if form.beside(self.nodes[other])]
            left = [other for other in left if other not in fresh]
            found.update(fresh)
            waiting.extend(fresh)
        return found

    def _bury(self, model: ir.Model, nodes: Iterable[ir.Node]) -> None:
        """Writes down where nodes went that no other node stands for."""
        known = gone_of(model)
        for node in nodes:
            last = self._last(node, nodes)
            constants = [name for name in self.nodes[last].gives if name in model.graph.initializers]
            why = f"computed the constant '{constants[0]}'" if constants else "nothing reads it any more"
            known |= dict.fromkeys(sources_of(node), why)
        model.graph.metadata_props[GONE] = json.dumps(known)

    def _last(self, node: ir.Node, nodes: Iterable[ir.Node]) -> ir.Node:
        """The end of the chain of nodes that went which a node fed."""
        for _ in self.nodes:
            form = self.nodes[node]
            after = [other for other in nodes if not set(form.gives).isdisjoint(self.nodes[other].reads)]
            if not after:
                break
            node = after[0]
        return node


def _end(node: ir.Node) -> str:
    return str(node.outputs[0].name) if node.outputs else ""


def _tensors(node: ir.Node) -> tuple[tuple[str, int], ...]:
    """What a node reads, and which tensors stand behind it: a clone shares them."""
    return tuple((str(value.name), id(value.const_value)) for value in node.inputs if value is not None)


def _read_inside(node: ir.Node) -> Iterator[str]:
    """Names that the graphs inside a node read."""
    for attribute in node.attributes.values():
        if attribute.type in _NESTED and not attribute.is_ref():
            graphs = [attribute.value] if attribute.type == ir.AttributeType.GRAPH else attribute.value
            for graph in graphs:
                for inner in ir.traversal.RecursiveGraphIterator(graph):
                    yield from (str(value.name) for value in inner.inputs if value is not None)
                yield from (str(value.name) for value in graph.outputs)


def _read(node: ir.Node, key: str) -> tuple[str, ...]:
    """A list from the node's metadata; () where there is none that can be read."""
    found = _parsed(node.metadata_props.get(key, "[]"))
    return tuple(map(str, found)) if isinstance(found, list) else ()


def _object(text: str) -> dict[str, object]:
    found = _parsed(text)
    return found if isinstance(found, dict) else {}


def _parsed(text: str) -> object:
    """JSON from a file, which may hold anything; None where it is no JSON."""
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found


def _channels(entry: object) -> Channels | None:
    """An entry of `hwopt.channels` from a file; None where it makes no sense."""
    axis, kept = (entry.get("axis"), entry.get("channels")) if isinstance(entry, dict) else (None, None)
    whole = [i for i in kept if isinstance(i, int) and i >= -1] if isinstance(kept, list) else []
    if not isinstance(axis, int) or not isinstance(kept, list) or len(whole) != len(kept):
        return None
    return Channels(axis, tuple(whole))
