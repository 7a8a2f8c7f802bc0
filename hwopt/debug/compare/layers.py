"""Every tensor that two models both have, beside each other, and the first that differs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat

import onnx_ir as ir

from hwopt.debug.compare.pairs import Pair, pair_tensors
from hwopt.debug.compare.pieces import Piece
from hwopt.debug.compare.ports import inputs_for
from hwopt.debug.compare.stats import Gap
from hwopt.debug.compare.tolerance import Tolerance, within
from hwopt.debug.compare.walk import Seen, Side, Unseen, noises, walk
from hwopt.nodes import Array, is_op, label
from hwopt.provenance import rewrites_of
from hwopt.trace import Listeners, Progress, emit


@dataclass(frozen=True)
class Maker:
    """A node that has a part in a tensor. node: its name, or that of its first output."""

    op: str
    node: str


@dataclass(frozen=True)
class LayerGap:
    """One tensor in both models.

    name: in the first; other: in the second; how: what pairs them. gap: statistics. limit, noise: shares of
    the largest magnitude; noise is 0 where nobody had to know it. own: how much of the difference (largest,
    over the largest magnitude) is left where the second model computes the tensor from what the first one
    has: what its own nodes add; None where it is within the limit anyway, or could not be had. one, two: the
    nodes that make it, from the last tensors that both have. rewrites: what made the nodes of the second.
    channels: how many were compared, where the second has others than the first.
    """

    name: str
    other: str
    how: str
    gap: Gap
    limit: float
    noise: float
    same: bool
    own: float | None
    one: tuple[Maker, ...]
    two: tuple[Maker, ...]
    rewrites: tuple[str, ...]
    channels: int | None = None

    @property
    def excess(self) -> float:
        """The largest difference over the limit."""
        found = self.gap.max_rel
        return found / self.limit if self.limit else (float("inf") if found else 0.0)

    @property
    def begins(self) -> bool:
        """Whether what its own nodes add is beyond the limit: a difference begins here."""
        return self.own is not None and self.own > self.limit


@dataclass(frozen=True)
class NotCompared:
    """A tensor that could not be compared. in_: "both" models, or "first" or "second" alone."""

    name: str
    in_: str
    reason: str


@dataclass(frozen=True)
class Layers:
    """Tensors that both models have, in the order of the first; what was left out, and why.

    nested: nodes of graphs within nodes (If, Loop), whose tensors are not looked at, by model.
    """

    tensors: tuple[LayerGap, ...]
    not_compared: tuple[NotCompared, ...]
    nested: tuple[int, int]

    @property
    def first(self) -> LayerGap | None:
        """The first tensor that differs, None where none does."""
        return next((tensor for tensor in self.tensors if not tensor.same), None)

    @property
    def differing(self) -> tuple[LayerGap, ...]:
        """All that differ, in order."""
        return tuple(tensor for tensor in self.tensors if not tensor.same)

    @property
    def same(self) -> bool:
        """Whether no tensor differs."""
        return self.first is None


def compare_layers(
    one: ir.Model,
    two: ir.Model,
    feeds: Mapping[str, Array],
    tolerance: float | None = None,
    listeners: Listeners = (),
) -> Layers:
    """Compares every tensor that both models compute, on one set of inputs, one tensor at a time.

    feeds: by the names of the first model's inputs. tolerance: the largest difference allowed, as a share
    of a tensor's largest magnitude; None: what verify holds an exact rewrite to. Both are run piece by
    piece; what lives at a time is what those pieces still need, never all tensors.
    """
    pairing = pair_tensors(one, two)
    pairs = pairing.pairs
    sides = (
        Side.of(one, feeds, [pair.one for pair in pairs]),
        Side.of(two, inputs_for(one, two, feeds), [pair.two for pair in pairs]),
    )
    allowed = Tolerance(tolerance)
    found = []
    for done, item in enumerate(walk(*sides, pairs, allowed.least), start=1):
        found.append(item)
        emit(listeners, Progress("layers", done, len(pairs)))
    noise = _noise(sides[0], found, allowed)
    tensors = tuple(
        _layer(item, allowed, moved)
        for item, moved in zip(found, noise, strict=True)
        if isinstance(item, Seen)
    )
    left_out = [
        NotCompared(str(item.pair.one.name), "both", item.reason)
        for item in found
        if isinstance(item, Unseen)
    ]
    for side, names in zip(("first", "second"), pairing.alone, strict=True):
        left_out += [NotCompared(name, side, "the other model does not have it") for name in names]
    return Layers(tensors, tuple(left_out), (_nested(one), _nested(two)))


def _noise(side: Side, found: Sequence[Seen | Unseen], allowed: Tolerance) -> Iterable[float]:
    """How far each tensor moves by itself; not computed where all agree without that."""
    far = any(isinstance(item, Seen) and not within(item.gap, allowed.limit(item.gap, 0.0)) for item in found)
    return noises(side) if far and allowed.wants_noise else repeat(0.0, len(found))


def _layer(seen: Seen, allowed: Tolerance, noise: float) -> LayerGap:
    own, limit = None if seen.own is None else seen.own.max_rel, allowed.limit(seen.gap, noise)
    return LayerGap(
        name=str(seen.pair.one.name),
        other=str(seen.pair.two.name),
        how=seen.pair.how,
        gap=seen.gap,
        limit=limit,
        noise=noise,
        same=within(seen.gap, limit),
        own=own,
        one=tuple(_makers(seen.pieces[0])),
        two=tuple(_makers(seen.pieces[1])),
        rewrites=tuple(dict.fromkeys(step for node in seen.pieces[1].nodes for step in rewrites_of(node))),
        channels=_channels(seen.pair),
    )


def _makers(piece: Piece) -> Iterator[Maker]:
    for node in piece.nodes:
        if not is_op(node, "Constant"):
            yield Maker(node.op_type, label(node))


def _channels(pair: Pair) -> int | None:
    return None if pair.channels is None else sum(index >= 0 for index in pair.channels.kept)


def _nested(model: ir.Model) -> int:
    whole = sum(1 for _ in ir.traversal.RecursiveGraphIterator(model.graph))
    return whole - model.graph.num_nodes()
