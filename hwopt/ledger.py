"""What is known of a graph while steps are made in it, so that a step costs what it touches, not the graph.

A step of a plan leaves on the nodes that it edits where they come from (`hwopt.provenance`). Looking at every
node of the graph before and after every step is quadratic in the nodes. A value names every node that its
rewrite reads or edits (`Value.places`), so an EXACT step is looked for around those alone: the nodes at its
places, what feeds and reads them, the constant expressions behind them, and the new nodes between them.
Where the number of nodes says that more has happened, and for every other step, the whole graph is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.canonical.constants import constant_producers
from hwopt.choice import Risk, Value
from hwopt.edit import forget_names, know_names, renamed
from hwopt.places import find_node
from hwopt.provenance import Before, Form, sources_of, write_sources
from hwopt.repair.marks import Fit, fit_of, sign


@dataclass(frozen=True)
class Made:
    """What a step did to the nodes of the main graph."""

    gone: int
    new: int


@dataclass(frozen=True)
class _Around:
    """Nodes that a step may edit, in the order of the graph; whole: all of them."""

    nodes: Mapping[ir.Node, Form]
    whole: bool


class Ledger:
    """The nodes of one graph as they were when the last step was made."""

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._forms = {node: Form.of(node) for node in model.graph}
        self._position = {node: float(number) for number, node in enumerate(model.graph)}
        self._fits = {node: fit for node in model.graph if (fit := fit_of(node)) is not None}
        self._last = ""

    @contextmanager
    def step(self, value: Value, text: str = "") -> Iterator[list[Made]]:
        """A step is made inside; behind it, its nodes say so, and the list holds what it did.

        text: what the nodes say; "": nothing, the step is a trial. Where the step fails, they say nothing.
        """
        around, made = self._around(value), list[Made]()
        yield made
        made.append(self._recorded(around, text, value.choice))
        self._last = text

    def settle(self) -> None:
        """Nodes edited without being named, against the contract, are put down to the last step."""
        for node in self._model.graph:
            if self._last and Form.of(node) != self._forms.get(node):
                write_sources(node, sources_of(node), self._last)
                self._note(node)

    def _around(self, value: Value) -> _Around:
        near = _near(self._model, value) if value.risk == Risk.EXACT else None
        if near is None or not self._forms.keys() >= near.keys():
            return self._everywhere()
        ordered = sorted(near, key=self._position.__getitem__)
        return _Around({node: self._forms[node] for node in ordered}, whole=False)

    def _everywhere(self) -> _Around:
        ordered = sorted(self._forms, key=self._position.__getitem__)
        return _Around({node: self._forms[node] for node in ordered}, whole=True)

    def _recorded(self, around: _Around, text: str, choice: str) -> Made:
        graph, around = self._model.graph, self._with_readers(around)
        new = self._new(around)
        gone = [node for node in around.nodes if node.graph is None]
        if not around.whole and len(graph) != len(self._forms) - len(gone) + len(new):
            return self._recorded(self._everywhere(), text, choice)
        before = Before(around.nodes)
        edited = before.record(self._model, text, new) if text else before.edited()
        for node in gone:
            self._drop(node)
        for node in (*edited, *new):
            self._note(node)
        if text:
            self._sign((*around.nodes, *new), choice)
        return Made(len(gone), len(new))

    def _with_readers(self, around: _Around) -> _Around:
        """With those that read a value which has another name now."""
        found = dict.fromkeys(around.nodes)
        for node, form in around.nodes.items() if not around.whole else ():
            if node.graph is not None and _gives(node) != form.gives:
                found |= dict.fromkeys(_reading(node))
        if len(found) == len(around.nodes):
            return around
        known = [node for node in found if node in self._forms]
        if any(node.graph is not self._model.graph for node in found if node not in around.nodes):
            return self._everywhere()
        ordered = sorted(known, key=self._position.__getitem__)
        return _Around({node: self._forms[node] for node in ordered}, whole=False)

    def _new(self, around: _Around) -> list[ir.Node]:
        """Nodes that were not there before, found from their neighbours on."""
        if around.whole:
            return [node for node in self._model.graph if node not in self._forms]
        found: dict[ir.Node, None] = {}
        waiting = [node for node in around.nodes if node.graph is not None]
        while waiting:
            for other in _neighbours(waiting.pop()):
                if other not in self._forms and other not in found and other.graph is self._model.graph:
                    found[other] = None
                    waiting.append(other)
        return list(found)

    def _note(self, node: ir.Node) -> None:
        old = self._forms.get(node)
        self._forms[node] = form = Form.of(node)
        renamed(self._model.graph, () if old is None else old.gives, form.gives)
        if node not in self._position:
            self._position[node] = self._between(node)

    def _between(self, node: ir.Node) -> float:
        """A place in the order behind what feeds a new node, before what reads it."""
        feeds = [self._position[n] for n in _feeding(node) if n in self._position]
        reads = [self._position[n] for n in _reading(node) if n in self._position]
        first = max(feeds, default=min(reads, default=0.0) - 1)
        return (first + min(reads, default=first + 1)) / 2

    def _drop(self, node: ir.Node) -> None:
        renamed(self._model.graph, self._forms.pop(node).gives, ())
        self._position.pop(node)
        self._fits.pop(node, None)

    def _sign(self, nodes: Iterable[ir.Node], choice: str) -> None:
        for node in nodes:
            fit: Fit | None = fit_of(node)
            if fit is not None and node.graph is not None and self._fits.get(node) is not fit:
                sign(node, choice)
                self._fits[node] = fit


@contextmanager
def ledger_of(model: ir.Model) -> Iterator[Ledger]:
    """A ledger of a model in which steps are made; names of its values are known while it is kept."""
    know_names(model.graph)
    try:
        ledger = Ledger(model)
        yield ledger
        ledger.settle()
    finally:
        forget_names(model.graph)


def _near(model: ir.Model, value: Value) -> dict[ir.Node, None] | None:
    """Nodes that a rewrite may edit which keeps to its places; None where that could be anywhere."""
    seeds = [find_node(model, place) for place in value.places]
    found: dict[ir.Node, None] = {}
    for seed in seeds:
        if seed is None:
            return None
        found[seed] = None
        found |= dict.fromkeys(_neighbours(seed))
        for operand in seed.inputs:
            for node in constant_producers(operand):
                found |= dict.fromkeys((node, *_feeding(node)))
    return found if found and all(node.graph is model.graph for node in found) else None


def _neighbours(node: ir.Node) -> list[ir.Node]:
    return [*_feeding(node), *_reading(node)]


def _feeding(node: ir.Node) -> list[ir.Node]:
    return [one for v in node.inputs if v is not None and (one := v.producer()) is not None]


def _reading(node: ir.Node) -> list[ir.Node]:
    return [use.node for value in node.outputs for use in value.uses()]


def _gives(node: ir.Node) -> tuple[str, ...]:
    return tuple(str(value.name) for value in node.outputs)
