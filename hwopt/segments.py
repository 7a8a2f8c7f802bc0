"""Two models cut at the same values, into stretches of a bounded weight (for the verifier).

A cut is a set of names that divides both graphs: what comes behind it needs nothing from before it but
these values (and constants). Names are only where to cut, never a proof: a stretch of the second model
is what computes its names from those of the cut before, so that its stretches, one after the other, are
that model, whatever the names mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.nodes import is_op
from hwopt.reads import outer_reads

Dtypes = Mapping[str, ir.DataType]


@dataclass(frozen=True, eq=False)
class Segment:
    """The same stretch of two models: both compute `makes` from `reads` (names of values).

    one, two: their nodes, in the order of the graph.
    """

    reads: tuple[str, ...]
    makes: tuple[str, ...]
    one: tuple[ir.Node, ...]
    two: tuple[ir.Node, ...]


def segments(one: ir.Model, two: ir.Model, dtypes: Dtypes, most_bytes: int) -> list[Segment]:
    """Stretches of two models with the same interface, in order, that together are all of both.

    dtypes: of the values at which may be cut. most_bytes: weights of a stretch of `one`, where there are
    cuts enough; what cannot be cut is one stretch.
    """
    first, second = _Side(one), _Side(two)
    found = list[Segment]()
    start, reads = 0, frozenset(first.inputs)
    while True:
        end, crossing, made = _next_cut(first, second, (start, reads), dtypes, most_bytes)
        makes = (*sorted(crossing - reads), *(n for n in first.outputs_in(start, end) if n not in crossing))
        if makes:
            found.append(Segment(tuple(sorted(reads)), makes, first.needed(makes, reads) or (), made))
        start, reads = end, crossing
        if end == len(first.nodes):
            return found


def _next_cut(
    one: _Side, two: _Side, begin: tuple[int, frozenset[str]], dtypes: Dtypes, most_bytes: int
) -> tuple[int, frozenset[str], tuple[ir.Node, ...]]:
    """Where the stretch ends, what crosses there, and its nodes of `two`; the end of the graph at last."""
    start, reads = begin
    places = list[tuple[int, frozenset[str]]]()
    for end, crossing, weight in one.crossings(start, reads):
        usable = _usable(crossing, dtypes, two)
        if usable and (weight <= most_bytes or not places):
            places.append((end, crossing))
        if weight <= most_bytes or not places:
            continue
        for place, names in sorted(places, key=lambda item: (len(item[1]), -item[0])):
            made = two.needed((*names - reads, *one.outputs_in(start, place)), reads)
            if made is not None:
                return place, names, made
        places.clear()
    last = two.needed(one.outputs_in(start, len(one.nodes)), reads)
    if last is None:
        raise ValueError("the models have different inputs")
    return len(one.nodes), frozenset(), last


def _usable(crossing: frozenset[str], dtypes: Dtypes, other: _Side) -> bool:
    return all(name in dtypes and name in other.values for name in crossing)


class _Side:
    """One of the models, as the cutting sees it."""

    def __init__(self, model: ir.Model) -> None:
        graph = model.graph
        self.nodes = [node for node in graph if not is_op(node, "Constant")]
        self.order = {node: number for number, node in enumerate(graph)}
        self.inputs = [str(value.name) for value in graph.inputs if not value.is_initializer()]
        self.values = {str(v.name): v for v in graph.inputs if not v.is_initializer()}
        self.values |= {str(v.name): v for node in self.nodes for v in node.outputs if v.name}
        self.outputs = {str(value.name): value for value in graph.outputs}
        self._reads = [[v for v in outer_reads(node) if _varies(v)] for node in self.nodes]
        self._last_read = {value: at for at, values in enumerate(self._reads) for value in values}
        self._made_at = {v: at for at, node in enumerate(self.nodes) for v in node.outputs}

    def outputs_in(self, start: int, end: int) -> tuple[str, ...]:
        """Outputs of the model that are made there; behind the last node also those that no node makes."""
        last = end == len(self.nodes)
        places = ((name, self._made_at.get(value)) for name, value in self.outputs.items())
        return tuple(name for name, at in places if (last if at is None else start <= at < end))

    def crossings(self, start: int, reads: frozenset[str]) -> Iterator[tuple[int, frozenset[str], int]]:
        """Behind every node but the last: what crosses there, and the bytes of weights since the start."""
        alive = {self.values[name] for name in reads}
        seen, weight = set[ir.Value](), 0
        for at in range(start, len(self.nodes) - 1):
            node = self.nodes[at]
            alive.update(v for v in node.outputs if self._last_read.get(v, -1) > at)
            alive = {v for v in alive if self._last_read.get(v, -1) > at} if self._ends(at) else alive
            fresh = {value for value in outer_reads(node) if value.const_value is not None} - seen
            seen |= fresh
            weight += sum(value.const_value.nbytes for value in fresh if value.const_value is not None)
            yield at + 1, frozenset(str(v.name) for v in alive), weight

    def _ends(self, at: int) -> bool:
        return any(self._last_read[value] == at for value in self._reads[at])

    def needed(self, makes: Iterable[str], reads: frozenset[str]) -> tuple[ir.Node, ...] | None:
        """The nodes that compute these names from those; None where they need an input besides."""
        known = {self.values[name] for name in reads}
        waiting = [self.outputs[name] if name in self.outputs else self.values[name] for name in makes]
        found = set[ir.Node]()
        while waiting:
            value = waiting.pop()
            node = value.producer()
            if value in known or value.is_initializer() or (node is not None and node in found):
                continue
            if node is None:
                return None
            found.add(node)
            waiting.extend(outer_reads(node))
        return tuple(sorted(found, key=self.order.__getitem__))


def _varies(value: ir.Value) -> bool:
    """Whether it is computed anew in each run: no constant."""
    return not value.is_initializer() and not is_op(value.producer(), "Constant")
