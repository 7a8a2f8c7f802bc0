"""Two models in lock-step, each run piece by piece; a pair of tensors is compared as soon as both are there.

What is alive at a time is what later pieces still need. A tensor of the second model that is that of the
first, bit by bit, is held once. Where a tensor differs and the second model's piece reads something else than
the first's, the piece is run once more on what the first computed: what is left then is its own part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from hwopt.debug.compare.pairs import Pair
from hwopt.debug.compare.pieces import Piece, plan_pieces
from hwopt.debug.compare.run import PieceFailed, Runner, Values, let_go
from hwopt.debug.compare.stats import Gap, gap
from hwopt.debug.compare.tolerance import own_noise
from hwopt.nodes import Array, constant, constant_array
from hwopt.provenance import Channels
from hwopt.verify import nudged


@dataclass(frozen=True, eq=False)
class Seen:
    """What was found at one pair.

    own: the gap that is left where the second model's piece reads what the first computed; None where that
    was not tried, or could not be. pieces: of both models, whose nodes made it.
    """

    pair: Pair
    gap: Gap
    own: Gap | None
    pieces: tuple[Piece, Piece]


@dataclass(frozen=True, eq=False)
class Unseen:
    """A pair that could not be compared, and why."""

    pair: Pair
    reason: str


@dataclass(frozen=True, eq=False)
class Side:
    """One model of the two, cut at its tensors of the pairs."""

    model: ir.Model
    feeds: Values
    targets: Sequence[ir.Value]
    pieces: Sequence[Piece]

    @classmethod
    def of(cls, model: ir.Model, feeds: Mapping[str, Array], targets: Sequence[ir.Value]) -> Side:
        """feeds: by name of the model's own inputs."""
        known = {value: feeds[name] for value in model.graph.inputs if (name := str(value.name)) in feeds}
        return cls(model, known, targets, plan_pieces(model, targets))


def walk(one: Side, two: Side, pairs: Sequence[Pair], trifle: float) -> Iterator[Seen | Unseen]:
    """Every pair, in their order, which is that of the first model.

    trifle: the largest difference, as a share of the largest magnitude, whose origin nobody asks for.
    """
    states = _States(one, two, pairs, trifle)
    for number, pair in enumerate(pairs):
        reason = states.advance_first(number)
        reason = states.advance_second(number) or reason
        yield Unseen(pair, reason) if reason else states.compared(number)
        states.forget(number)


def noises(side: Side) -> Iterator[float]:
    """How far every tensor moves by itself, as a share of its largest magnitude.

    By itself: when every input of the model moves by one unit in its last place. 0 where that is unknown.
    """
    plain, moved = dict(side.feeds), {value: nudged(array) for value, array in side.feeds.items()}
    last = last_uses(side.pieces, side.targets)
    for number, (piece, target) in enumerate(zip(side.pieces, side.targets, strict=True)):
        try:
            if piece.makes:
                runner = Runner(side.model, piece, plain)
                plain |= runner.run(plain)
                moved |= runner.run(moved)
                del runner
        except PieceFailed:
            pass
        known = target in plain and target in moved
        yield own_noise(plain[target], moved[target]) if known else 0.0
        let_go(plain, last, number)
        let_go(moved, last, number)


def last_uses(pieces: Sequence[Piece], targets: Sequence[ir.Value]) -> dict[ir.Value, int]:
    """By value the number of the last piece that reads it, or that it is the target of."""
    last: dict[ir.Value, int] = {}
    for number, (piece, target) in enumerate(zip(pieces, targets, strict=True)):
        last |= dict.fromkeys([*piece.reads, target], number)
    return last


class _States:
    """What both models have computed so far and what is still needed."""

    def __init__(self, one: Side, two: Side, pairs: Sequence[Pair], trifle: float) -> None:
        self._one, self._two, self._pairs, self._trifle = one, two, pairs, trifle
        self._first, self._second = dict(one.feeds), dict(two.feeds)
        self._pair_of = {pair.two: pair for pair in pairs}
        self._alike = set(two.feeds)  # values of the second model that are those of the first, bit by bit
        self._found: Gap | None = None
        self._own: Gap | None = (
            None  # where the second model's tensor is computed from what the first one has
        )
        self._last_second = last_uses(two.pieces, two.targets)
        self._last_first = last_uses(one.pieces, one.targets)
        for number, piece in enumerate(two.pieces):
            for value in piece.reads:
                if (pair := self._pair_of.get(value)) is not None:
                    self._last_first[pair.one] = max(self._last_first[pair.one], number)

    def advance_first(self, number: int) -> str:
        """Runs the first model up to this pair. Why it cannot, or ""."""
        piece = self._one.pieces[number]
        try:
            if piece.makes:
                self._first |= Runner(self._one.model, piece, self._first).run(self._first)
        except PieceFailed as error:
            return str(error)
        return "" if self._pairs[number].one in self._first else "it was not computed"

    def advance_second(self, number: int) -> str:
        """Runs the second model up to this pair. Why it cannot, or ""."""
        piece, pair = self._two.pieces[number], self._pairs[number]
        wanted, self._found, self._own = pair.two, None, None
        try:
            if piece.makes:
                runner = Runner(self._two.model, piece, self._second)
                self._second |= runner.run(self._second)
                if wanted in piece.makes and pair.one in self._first:
                    self._found = self._gap(pair, self._second[wanted])
                    far = self._found.max_rel > self._trifle
                    reads = self._as_first_has(piece) if far else None
                    self._own = None if reads is None else self._gap(pair, runner.run(reads)[wanted])
        except PieceFailed as error:
            return f"in the second model: {error}"
        if wanted not in self._second and (fixed := constant_array(wanted)) is not None:
            self._second[wanted] = fixed
        return "" if wanted in self._second else "in the second model: it was not computed"

    def _as_first_has(self, piece: Piece) -> Values | None:
        """What the piece reads, as the first model computed it; None where that is the same, or unknown."""
        if all(value in self._alike for value in piece.reads):
            return None
        found: Values = {}
        for value in piece.reads:
            pair = self._pair_of.get(value)
            theirs = self._second[value]
            ours = theirs if value in self._alike else None if pair is None else self._first.get(pair.one)
            channels = None if pair is None else pair.channels
            merged = None if ours is None else as_second(ours, theirs, channels)
            if merged is None:
                return None
            found[value] = merged
        return found

    def compared(self, number: int) -> Seen:
        """The statistics of this pair."""
        pair, pieces = self._pairs[number], (self._one.pieces[number], self._two.pieces[number])
        ours, theirs = self._first[pair.one], self._second[pair.two]
        found = self._found or self._gap(pair, theirs)
        made_here = pair.two in pieces[1].makes or constant(pair.two) is not None
        same_reads = made_here and all(value in self._alike for value in pieces[1].reads)
        own = found if same_reads else self._own
        whole = pair.channels is None and ours.shape == theirs.shape and ours.dtype == theirs.dtype
        if whole and not found.different:
            self._alike.add(pair.two)
            self._second[pair.two] = ours
        return Seen(pair, found, own, pieces)

    def _gap(self, pair: Pair, theirs: Array) -> Gap:
        return gap(*alike_channels(self._first[pair.one], theirs, pair.channels))

    def forget(self, number: int) -> None:
        """Lets go of what no later pair needs."""
        let_go(self._first, self._last_first, number)
        let_go(self._second, self._last_second, number)


def alike_channels(one: Array, two: Array, channels: Channels | None) -> tuple[Array, Array]:
    """What both hold of a tensor that was resized in the second model; both as they are where it was not."""
    if channels is None or not _fits(one, two, channels):
        return one, two
    kept = np.array([index for index in channels.kept if index >= 0], np.int64)
    places = np.array([place for place, index in enumerate(channels.kept) if index >= 0], np.int64)
    return np.take(one, kept, channels.axis), np.take(two, places, channels.axis)


def as_second(one: Array, two: Array, channels: Channels | None) -> Array | None:
    """The first model's tensor in the second's form, new channels as there; None where it cannot be had."""
    if one.dtype != two.dtype:
        return None
    if channels is None or not _fits(one, two, channels):
        return one if one.shape == two.shape else None
    kept = [index for index in channels.kept if index >= 0]
    merged = two.copy()
    places = [place for place, index in enumerate(channels.kept) if index >= 0]
    merged[(slice(None),) * channels.axis + (places,)] = np.take(one, kept, channels.axis)
    return merged


def _fits(one: Array, two: Array, channels: Channels) -> bool:
    """Whether the file speaks the truth about how a tensor was resized."""
    axis, kept = channels.axis, channels.kept
    if not 0 <= axis < min(one.ndim, two.ndim) or len(kept) != two.shape[axis]:
        return False
    rest = one.shape[:axis] == two.shape[:axis] and one.shape[axis + 1 :] == two.shape[axis + 1 :]
    return rest and max(kept, default=-1) < one.shape[axis]
