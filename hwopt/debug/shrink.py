"""The smallest piece of a model on which making some steps still fails.

A piece is a set of the source's nodes; what they read from outside becomes inputs, with the data that flow
there when the whole model runs. It is grown around the places that the steps name until they can be made and
fail, and then every node goes that is not needed for that. Constants come along and are not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from hwopt.choice import Value
from hwopt.debug.ddmin import ddmin
from hwopt.debug.shrink_cut import Nodes, Outline, cut
from hwopt.debug.shrink_record import Tensors, recording
from hwopt.debug.shrink_sizes import on_smaller_inputs
from hwopt.nodes import Array
from hwopt.rewrite import carry_out_steps
from hwopt.runtime import Feeds
from hwopt.trace import Listeners, Progress, emit

Fails = Callable[[ir.Model, Sequence[Value], Feeds], bool]
MAX_TRIALS = 400
_STAGE = "shrink"
_FEW = 9  # nodes that a piece may have to be found again by the passes, however small the smallest is


@dataclass(frozen=True)
class Piece:
    """What is left of a model. before, after: without and with the steps made in it.

    after: None where the steps cannot be made (a crash). feeds: by input of `before`. nodes: of `before`,
    constants not counted. trials: how often `fails` was asked. complete: no single node can be taken out;
    False where the trials ran out first, or where not even the whole model fails. replays: the steps are
    found again by the passes in `before` alone and fail there too, so that a plan can be written for it.
    """

    before: ir.Model
    after: ir.Model | None
    feeds: Feeds
    nodes: int
    trials: int
    complete: bool
    replays: bool


def shrink(
    source: ir.Model,
    values: Sequence[Value],
    feeds: Feeds,
    fails: Fails,
    listeners: Listeners = (),
    replays: Fails | None = None,
    max_trials: int = MAX_TRIALS,
) -> Piece:
    """The smallest piece of the source in which making these steps, in their order, still fails.

    source: its nodes carry places; it is not edited. feeds: inputs of the source on which the whole fails.
    fails: handed a piece of the source that carries the same places, with static shapes. What it raises
    counts as "does not fail". replays: as `fails`, with the steps found anew in the piece
    (`hwopt.debug.case.found_anew` makes it): where the smallest piece does not replay, a little larger one
    that does is preferred. max_trials: how often `fails` and `replays` may be asked, each.
    """
    outline = Outline.of(source)
    with recording(source, feeds) as tensors:
        failing = _Trials(outline, tensors, values, fails, listeners, max_trials)
        found = _smallest(outline, outline.at(p for value in values for p in value.places), failing)
        nodes, failed = (frozenset(outline.nodes), False) if found is None else (found, True)
        replaying = failing if replays is None else failing.as_well(replays)
        again = None if replays is None or not failed else _replaying(outline, nodes, replaying)
        nodes = nodes if again is None else again
        counts = replaying if again is not None else failing
        before, taken = _on_small_inputs(outline, nodes, tensors, counts if failed else None)
        trials = failing.made + (replaying.made if replaying is not failing else 0)
        complete = failed and not failing.spent and not counts.spent
        return Piece(before, _after(before, values), taken, len(nodes), trials, complete, again is not None)


@dataclass
class _Trials:
    """Asks whether a set of nodes fails, never twice for one set, and not more often than allowed."""

    outline: Outline
    tensors: Tensors
    values: Sequence[Value]
    fails: Fails
    listeners: Listeners
    limit: int
    made: int = 0
    known: dict[Nodes, bool] = field(default_factory=dict)

    @property
    def spent(self) -> bool:
        """Whether no more may be made."""
        return self.made >= self.limit

    def __call__(self, nodes: Nodes) -> bool:
        if nodes not in self.known:
            self.known[nodes] = bool(nodes) and not self.spent and self._try(nodes)
        return self.known[nodes]

    def as_well(self, other: Fails) -> _Trials:
        """Trials of its own, of sets that fail by both."""

        def both(piece: ir.Model, values: Sequence[Value], feeds: Feeds) -> bool:
            return other(piece.clone(), values, feeds) and self.fails(piece, values, feeds)

        return _Trials(self.outline, self.tensors, self.values, both, self.listeners, self.limit)

    def attempt(self, piece: ir.Model, feeds: Feeds) -> bool:
        """One trial. Whatever it raises, that is not the failure that is looked for."""
        self.made += 1
        emit(self.listeners, Progress(_STAGE, self.made, 0))
        try:
            return self.fails(piece.clone(), self.values, feeds)
        except Exception:
            return False

    def _try(self, nodes: Nodes) -> bool:
        try:
            piece, feeds = cut(self.outline, nodes, self.tensors)
        except Exception:  # a piece that cannot be cut out does not fail either
            return False
        return self.attempt(piece, feeds)


def _smallest(outline: Outline, start: Nodes, fails: _Trials) -> Nodes | None:
    """A set of nodes that fails, of which no node can go; None where not even all of them fail."""
    grown = next((nodes for nodes in _growing(outline, start) if fails(nodes)), None)
    if grown is None:
        return None
    fails.tensors.record(value for node in outline.ordered(grown) for value in node.outputs if value.name)
    kept = ddmin(outline.ordered(grown), lambda some: fails(frozenset(some)), lambda: fails.spent)
    return frozenset(kept)


def _growing(outline: Outline, start: Nodes) -> Iterator[Nodes]:
    """The nodes, all between them, their neighbours, and so on in growing steps to the whole model."""
    if start:
        yield start
    nodes, rings = outline.hull(start), 1
    if nodes != start:
        yield nodes
    while nodes and len(nodes) < len(outline.nodes):
        known = len(nodes)
        for _ in range(rings):
            nodes = outline.ring(nodes)
        if len(nodes) == known:
            break
        yield nodes
        rings *= 2
    yield frozenset(outline.nodes)


def _replaying(outline: Outline, nodes: Nodes, fails: _Trials) -> Nodes | None:
    """The nodes where they replay, else a few more that do; None where that takes too many."""
    found = nodes if fails(nodes) else _smallest(outline, nodes, fails)
    return found if found is not None and len(found) <= max(_FEW, 2 * len(nodes)) else None


def _on_small_inputs(
    outline: Outline, nodes: Nodes, tensors: Tensors, fails: _Trials | None
) -> tuple[ir.Model, Feeds]:
    piece, feeds = cut(outline, nodes, tensors)
    held: dict[str, Array] = {name: np.array(array) for name, array in feeds.items()}
    return (piece, held) if fails is None else on_smaller_inputs(piece, held, fails.attempt)


def _after(before: ir.Model, values: Sequence[Value]) -> ir.Model | None:
    try:
        return carry_out_steps(before, values)
    except Exception:  # that is the failure, then
        return None
