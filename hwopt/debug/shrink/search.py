"""The smallest piece of a model on which making some steps still fails.

A piece is a set of the source's nodes; what they read from outside becomes inputs, with the data that flow
there when the whole model runs. It is grown around the places that the steps name until they can be made and
fail, and then every node goes that is not needed for that. Constants come along and are not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from hwopt.choice import Value
from hwopt.debug.shrink.cut import Nodes, Outline, cut
from hwopt.debug.shrink.record import Tensors, recording
from hwopt.debug.shrink.sizes import on_smaller_inputs
from hwopt.debug.shrink.sweep import thinned
from hwopt.nodes import Array
from hwopt.rewrite import carry_out_steps
from hwopt.runtime import Feeds
from hwopt.trace import Listeners, Progress, emit

Fails = Callable[[ir.Model, Sequence[Value], Feeds], bool]
MAX_TRIALS = 400
_STAGE = "shrink"
_FEW = 9  # nodes that a piece may have to be found again by the passes, however small it could be


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
    (`case.found_anew` makes it): a piece that fails by this, too, is preferred, unless it has
    10 nodes or more and is twice as large as need be. max_trials: how many pieces may be tried.
    """
    outline, budget = Outline.of(source), _Budget(max_trials)
    with recording(source, feeds) as tensors:
        start = outline.at(place for value in values for place in value.places)
        plain = _Trials(outline, feeds, tensors, values, fails, start, budget, listeners)
        best = _smallest(outline, start, plain)
        if replays is not None:
            begin = start if best is None else best.nodes
            best = _preferred(best, _smallest(outline, begin, plain.strict(replays)))
        before, taken = _on_small_inputs(plain, best)
    return Piece(
        before, _after(before, values), taken,
        nodes=len(outline.nodes if best is None else best.nodes),
        trials=budget.made,
        complete=best is not None and best.complete,
        replays=best is not None and best.trials is not plain,
    )  # fmt: skip


@dataclass
class _Budget:
    """How many trials there may be, and how many were made."""

    limit: int
    made: int = 0

    @property
    def spent(self) -> bool:
        """Whether no more may be made."""
        return self.made >= self.limit


@dataclass
class _Trials:
    """Asks whether a set of nodes fails, never twice for one set.

    inner: nodes that the steps are about. What they make does not leave a piece unless it leaves the whole:
    a rewrite may rely on that.
    """

    outline: Outline
    feeds: Feeds
    tensors: Tensors
    values: Sequence[Value]
    fails: Fails
    inner: Nodes
    budget: _Budget
    listeners: Listeners
    known: dict[Nodes, bool] = field(default_factory=dict)

    def __call__(self, nodes: Nodes) -> bool:
        whole = self.of(nodes)
        if whole not in self.known:
            self.known[whole] = bool(whole) and self._try(whole)
        return self.known[whole]

    def of(self, nodes: Nodes) -> Nodes:
        """The piece that is tried where these nodes are asked about."""
        return self.outline.closed(nodes, self.inner)

    def strict(self, replays: Fails) -> _Trials:
        """Trials of sets that fail by this, too, which itself says where the steps are possible."""

        def both(piece: ir.Model, values: Sequence[Value], feeds: Feeds) -> bool:
            return self.fails(piece.clone(), values, feeds) and replays(piece, values, feeds)

        return replace(self, fails=both, inner=frozenset(), known={})

    def attempt(self, piece: ir.Model, feeds: Feeds) -> bool:
        """One trial, if there may be one. What it raises is not the failure that is looked for."""
        if self.budget.spent:
            return False
        self.budget.made += 1
        emit(self.listeners, Progress(_STAGE, self.budget.made, 0))
        try:
            return self.fails(piece.clone(), self.values, feeds)
        except Exception:
            return False

    def piece(self, nodes: Nodes) -> tuple[ir.Model, Feeds]:
        """The piece that these nodes make, and its inputs; all nodes are the model as it came."""
        if len(nodes) == len(self.outline.nodes):
            return self.outline.model.clone(), self.feeds
        return cut(self.outline, nodes, self.tensors)

    def _try(self, nodes: Nodes) -> bool:
        try:
            piece, feeds = self.piece(nodes)
        except Exception:  # a piece that cannot be cut out does not fail either
            return False
        return self.attempt(piece, feeds)


@dataclass(frozen=True)
class _Best:
    """A set of nodes that fails in these trials. complete: no node of it can go."""

    nodes: Nodes
    complete: bool
    trials: _Trials


def _smallest(outline: Outline, start: Nodes, fails: _Trials) -> _Best | None:
    """A set of nodes that fails, of which none can go; None where not even all nodes together fail."""
    grown = next((nodes for nodes in _growing(outline, start) if fails(nodes)), None)
    if grown is None:
        return None
    begin = outline.ordered(fails.of(grown))
    fails.tensors.record(value for node in begin for value in node.outputs if value.name)
    kept = thinned(begin, lambda some: fails(frozenset(some)), lambda: fails.budget.spent)
    return _Best(fails.of(frozenset(kept)), not fails.budget.spent, fails)


def _preferred(small: _Best | None, replaying: _Best | None) -> _Best | None:
    """The one that replays, unless it is large, and larger than need be."""
    if small is None or replaying is None:
        return replaying or small
    return replaying if len(replaying.nodes) <= max(_FEW, 2 * len(small.nodes)) else small


def _growing(outline: Outline, start: Nodes) -> Iterator[Nodes]:
    """The nodes, what joins them, all between them, their neighbours, and so on to the whole model."""
    nodes, rings = outline.hull(start), 1
    yield from dict.fromkeys(some for some in (start, outline.joined(start), nodes) if some)
    while nodes and len(nodes) < len(outline.nodes):
        known = len(nodes)
        for _ in range(rings):
            nodes = outline.ring(nodes)
        if len(nodes) == known:
            break
        yield nodes
        rings *= 2
    yield frozenset(outline.nodes)


def _on_small_inputs(plain: _Trials, best: _Best | None) -> tuple[ir.Model, Feeds]:
    """The piece on the smallest inputs that fail; the whole model as it came where there is none."""
    nodes = frozenset(plain.outline.nodes) if best is None else best.nodes
    piece, flowing = plain.piece(nodes)
    held: dict[str, Array] = {name: np.array(array) for name, array in flowing.items()}
    if best is None or len(nodes) == len(plain.outline.nodes):
        return piece, held
    return on_smaller_inputs(piece, held, best.trials.attempt)


def _after(before: ir.Model, values: Sequence[Value]) -> ir.Model | None:
    try:
        return carry_out_steps(before, values)
    except Exception:  # that is the failure, then
        return None
