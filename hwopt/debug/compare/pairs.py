"""Which tensor of a model is which tensor of its rewritten form."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.nodes import is_op, label
from hwopt.provenance import Channels, channels_of, channels_since, rewrites_of, sources_of

BY_NAME = "name"
BY_SOURCES = "sources"  # the nodes that make them: what `hwopt.sources` in the file says, or their names


@dataclass(frozen=True, eq=False)
class Pair:
    """A tensor of each model that should hold the same numbers. how: why they are thought to.

    channels: which of the first model's are left in the second, where it says so.
    """

    one: ir.Value
    two: ir.Value
    how: str
    channels: Channels | None = None


@dataclass(frozen=True)
class Pairing:
    """pairs: in the order of the first model. alone: tensors that the other model lacks, by model."""

    pairs: tuple[Pair, ...]
    alone: tuple[tuple[str, ...], tuple[str, ...]]


def pair_tensors(one: ir.Model, two: ir.Model) -> Pairing:
    """Pairs what nodes of the main graphs compute: by name, else by the nodes that it comes from.

    What the second model holds as a constant has a pair, too. Constants of the first, and what nothing
    reads, are left out. Tensors of nested graphs are not looked at.
    """
    ours, theirs = list(computed(one)), list(computed(two))
    named = {str(value.name): value for value in (*_constants(two), *theirs)}
    names = {str(value.name) for value in ours}
    found: dict[ir.Value, Pair] = {}
    for value in ours:
        if (same := named.get(str(value.name))) is not None:
            found[value] = _pair(value, same, _stand_in(value, same, names))
    taken = {pair.two for pair in found.values()}
    for left, right in _by_sources(one, two):
        if left not in found and right not in taken and str(right.name) not in names:
            found[left] = Pair(left, right, BY_SOURCES, _resized(left, right))
            taken.add(right)
    return Pairing(
        tuple(found[value] for value in ours if value in found),
        (
            tuple(str(value.name) for value in ours if value not in found),
            tuple(str(value.name) for value in theirs if value not in taken),
        ),
    )


def _pair(one: ir.Value, same_name: ir.Value, stand_in: ir.Value | None) -> Pair:
    if stand_in is not None:
        return Pair(one, stand_in, BY_SOURCES, _resized(one, stand_in))
    return Pair(one, same_name, BY_NAME, _resized(one, same_name))


def _resized(one: ir.Value, two: ir.Value) -> Channels | None:
    """Which of the first tensor's channels are left in the second; both may have been resized before."""
    return channels_since(_channels(one), _channels(two))


def _channels(value: ir.Value) -> Channels | None:
    producer = value.producer()
    return None if producer is None else channels_of(producer).get(str(value.name))


def _stand_in(one: ir.Value, two: ir.Value, names: Collection[str]) -> ir.Value | None:
    """What took a value's place, where its name was left on a step on the way there; None where it was not.

    A rewrite that puts a node behind another may do so: the nodes in between are its own, and what read the
    value in the first model reads in the second what comes behind them. So does a quantiser, which takes an
    activation in and rounds what is left.
    """
    readers, last = _readers(one), two
    for node in () if _readers(two) == readers else _following(two, names):
        if not is_op(node, "QuantizeLinear", "DequantizeLinear") and not _of_one_step(last.producer(), node):
            return None
        last = node.outputs[0]
        if is_op(node, "DequantizeLinear"):
            return last
        if _readers(last) == readers and not is_op(node, "QuantizeLinear"):
            return last
    return None


def _of_one_step(one: ir.Node | None, two: ir.Node) -> bool:
    """Whether the same rewrite had its hand in both."""
    return one is not None and not set(rewrites_of(one)).isdisjoint(rewrites_of(two))


def _following(value: ir.Value, names: Collection[str]) -> Iterator[ir.Node]:
    """The chain of nodes behind a value that have one reader and one output each, and no familiar names."""
    while not value.is_graph_output() and len(value.uses()) == 1:
        node = next(iter(value.uses())).node
        if len(node.outputs) != 1 or str(node.outputs[0].name) in names:
            return
        yield node
        value = node.outputs[0]


def _readers(value: ir.Value) -> set[str]:
    return {str(output.name) for use in value.uses() for output in use.node.outputs}


def computed(model: ir.Model) -> Iterator[ir.Value]:
    """Every tensor that a node of the main graph computes for somebody, in the order of the graph."""
    for node in model.graph:
        if is_op(node, "Constant"):
            continue
        for value in node.outputs:
            if value.name and is_tensor(value) and (value.uses() or value.is_graph_output()):
                yield value


def _constants(model: ir.Model) -> Iterator[ir.Value]:
    yield from model.graph.initializers.values()
    for node in model.graph:
        if is_op(node, "Constant"):
            yield from node.outputs


def is_tensor(value: ir.Value) -> bool:
    """Whether a value is a tensor, as far as anything says; sequences and optional values are not."""
    producer = value.producer()
    if value.type is not None:
        return isinstance(value.type, ir.TensorType)
    return not is_op(producer, *_NO_TENSORS)


_NO_TENSORS = (
    "Optional", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceMap",
    "SplitToSequence",
)  # fmt: skip


def _by_sources(one: ir.Model, two: ir.Model) -> Iterator[tuple[ir.Value, ir.Value]]:
    """What leaves the nodes that came from the same nodes, where it is plain which is which."""
    known: dict[str, list[ir.Node]] = defaultdict(list)
    for node in one.graph:
        known[label(node)].append(node)
    groups: dict[tuple[str, ...], list[ir.Node]] = defaultdict(list)
    for node in two.graph:
        groups[sources_of(node)].append(node)
    claims = Counter(name for sources in groups for name in sources)
    for sources, nodes in groups.items():
        origin = [node for name in sources for node in known.get(name, ())]
        if len(origin) == len(sources) and all(claims[n] == len(known[n]) == 1 for n in sources):
            yield from _matched(origin, nodes)


def _matched(origin: Sequence[ir.Node], nodes: Sequence[ir.Node]) -> Iterator[tuple[ir.Value, ir.Value]]:
    left, right = _exits(origin), _exits(nodes)
    same_kind = len(origin) == len(nodes) == 1 and origin[0].op_type == nodes[0].op_type
    if len(left) == len(right) and (len(left) == 1 or same_kind):
        yield from zip(left, right, strict=True)


def _exits(nodes: Sequence[ir.Node]) -> list[ir.Value]:
    """What these nodes compute for others."""
    inside = set(nodes)
    return [
        value
        for node in nodes
        for value in node.outputs
        if value.is_graph_output() or any(use.node not in inside for use in value.uses())
    ]
