"""How far the measurements reach: what lies outside of them is extrapolated, and says so.

Per kind of operator: the words that were met (operators, activations, neighbours), the range of
every size, and the measured shapes themselves as points on a logarithmic scale, so that holes
inside the ranges are seen too. Small enough for the header of a cost model's file.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from hwopt.cost.raw import Column
from hwopt.signature import KINDS, Signature

FAR = 2.0  # distance from which on a shape counts as extrapolated: a factor of four in one size
BEYOND = 0.15  # of log2: sizes that exceed the range by less than a tenth are no extrapolation
_LARGEST = 8.0  # distances are cut here, and this stands for a kind without any point
_STEPS = 8  # points are kept on a grid of eighths of a factor of two
# Each column of hwopt.cost.raw.table with its weight: strides and kernels matter more than sizes.
_SIZES = {"ci": 1, "co": 1, "ho": 1, "wo": 1, "in_elements": 1, "out_elements": 1, "kh": 2, "sh": 2}
_RANGED = ("ci", "co", "ho", "wo", "kh", "kw", "sh", "macs", "weights", "in_elements", "out_elements")
_ZEROS_WEIGHT = 3.0

Words = tuple[str, str, str]  # (kind, "operator" | "activation" | "producer" | "consumer", word)


@dataclass(frozen=True)
class Outside:
    """How far groups lie outside of what was measured, one entry per group.

    distance: to the nearest measured shape of the kind; 1 is a factor of two in one size.
    strange: an operator, an activation or a neighbour that the kind was never met with.
    excess: how far the worst size is out of its range, log2 of the factor; 0 inside.
    """

    distance: Column
    strange: npt.NDArray[np.bool_]
    excess: Column

    @property
    def extrapolated(self) -> npt.NDArray[np.bool_]:
        """Which of them are called extrapolated."""
        return np.asarray((self.distance > FAR) | self.strange | (self.excess > BEYOND))


@dataclass(frozen=True)
class Reach:
    """What was measured of each kind.

    words: see `words_of`. ranges: kind -> size -> (smallest, largest). points: kind -> shapes as
    bytes in base64, one byte per coordinate. context: whether neighbours are looked at.
    """

    words: frozenset[Words] = frozenset()
    ranges: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    points: Mapping[str, str] = field(default_factory=dict)
    context: bool = True

    def to_json(self) -> dict[str, object]:
        """JSON values; `from_json` reads them."""
        ranges = {kind: {k: list(v) for k, v in table.items()} for kind, table in self.ranges.items()}
        words = [list(word) for word in sorted(self.words)]
        return {"words": words, "ranges": ranges, "points": dict(self.points), "context": self.context}

    def reasons(self, signature: Signature, rows: Mapping[str, Column]) -> list[str]:
        """Why this group is extrapolated, for a reader; [] where it is not. rows: of it alone."""
        found = [
            f"no {signature.kind} with {what} '{word}' was measured"
            for _, what, word in sorted(words_of(signature, self.context) - self.words)
        ]
        for name, (low, high) in self.ranges.get(signature.kind, {}).items():
            value = float(rows[name][0])
            if _log_excess(rows[name], low, high)[0] > BEYOND:
                found.append(f"{name} {value:g} is outside of {low:g} to {high:g}")
        if not found and self._distances([signature], rows)[0] > FAR:
            found.append("nothing of about this shape was measured")
        return found

    def outside(self, signatures: Sequence[Signature], rows: Mapping[str, Column]) -> Outside:
        """How far each group lies outside; rows: hwopt.cost.raw.table of the signatures."""
        strange = np.array([self._is_strange(s) for s in signatures], bool)
        return Outside(self._distances(signatures, rows), strange, self._excess(signatures, rows))

    def _is_strange(self, s: Signature) -> bool:
        key = (s.kind, s.ops, s.activation, s.producers, s.consumers)
        known = self._judged.get(key)
        if known is None:
            known = self._judged[key] = not words_of(s, self.context) <= self.words
        return known

    def _excess(self, signatures: Sequence[Signature], rows: Mapping[str, Column]) -> Column:
        kinds = np.array([s.kind for s in signatures])
        result = np.zeros(len(signatures))
        for kind in np.unique(kinds).tolist():
            own = kinds == kind
            for name, (low, high) in self.ranges.get(kind, {}).items():
                result[own] = np.maximum(result[own], _log_excess(rows[name][own], low, high))
        return result

    def _distances(self, signatures: Sequence[Signature], rows: Mapping[str, Column]) -> Column:
        where = coordinates(rows)
        kinds = np.array([s.kind for s in signatures])
        result = np.full(len(signatures), _LARGEST)
        for kind in np.unique(kinds).tolist():
            tree = self._trees.get(kind)
            if tree is not None:
                own = kinds == kind
                result[own] = np.minimum(tree.query(where[own])[0], _LARGEST)
        return result

    @cached_property
    def _judged(self) -> dict[tuple[object, ...], bool]:
        return {}

    @cached_property
    def _trees(self) -> dict[str, KDTree]:
        return {kind: KDTree(_unpacked(text)) for kind, text in self.points.items()}


def reach_of(signatures: Sequence[Signature], rows: Mapping[str, Column], context: bool) -> Reach:
    """The reach of measured groups; rows: their hwopt.cost.raw.table."""
    kinds = np.array([s.kind for s in signatures])
    where = coordinates(rows)
    ranges, points = {}, {}
    for kind in sorted(set(kinds.tolist()), key=KINDS.index):
        own = kinds == kind
        ranges[kind] = {
            name: (float(rows[name][own].min()), float(rows[name][own].max())) for name in _RANGED
        }
        points[kind] = _packed(where[own])
    words = frozenset(word for signature in signatures for word in words_of(signature, context))
    return Reach(words, ranges, points, context)


def from_json(table: Mapping[str, object]) -> Reach:
    """The reach written by `Reach.to_json`. Raises KeyError, TypeError or ValueError where it is none."""
    words, ranges, points = table["words"], table["ranges"], table["points"]
    if not (isinstance(words, list) and isinstance(ranges, dict) and isinstance(points, dict)):
        raise TypeError("not the reach of a cost model")
    return Reach(
        frozenset((str(a), str(b), str(c)) for a, b, c in words),
        {kind: {k: (float(v[0]), float(v[1])) for k, v in sizes.items()} for kind, sizes in ranges.items()},
        {str(kind): str(text) for kind, text in points.items()},
        bool(table["context"]),
    )


def words_of(signature: Signature, context: bool) -> frozenset[Words]:
    """The words that must have been met: operators, the activation, and each neighbour."""
    kind = signature.kind
    return frozenset(
        (kind, what, word)
        for what, words in (
            ("operator", signature.ops),
            ("activation", (signature.activation,)),
            ("producer", signature.producers if context else ()),
            ("consumer", signature.consumers if context else ()),
        )
        for word in words
    )


def coordinates(rows: Mapping[str, Column]) -> npt.NDArray[np.float64]:
    """Shapes as points, [groups, coordinates]."""
    columns = [weight * np.log2(np.maximum(rows[name], 1.0)) for name, weight in _SIZES.items()]
    return np.column_stack([*columns, _ZEROS_WEIGHT * rows["zeros"]])


def _log_excess(values: Column, low: float, high: float) -> Column:
    values = np.maximum(values, 1.0)
    return np.log2(np.maximum(values / max(high, 1.0), max(low, 1.0) / values))


def _packed(points: npt.NDArray[np.float64]) -> str:
    grid = np.clip(np.round(points * _STEPS), 0, 255).astype(np.uint8)
    return base64.b64encode(np.unique(grid, axis=0).tobytes()).decode()


def _unpacked(text: str) -> npt.NDArray[np.float64]:
    flat = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    return flat.reshape(-1, len(_SIZES) + 1).astype(np.float64) / _STEPS
