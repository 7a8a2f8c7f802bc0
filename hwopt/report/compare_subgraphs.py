"""Where the time of two results differs: parts that come from the same nodes of the input model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import hypot

from hwopt.estimate import Estimate, total
from hwopt.report.schema import Figure, Missing, Report, SubgraphRow

Side = tuple[SubgraphRow, ...]
GONE = Missing("nothing is left of it")


@dataclass(frozen=True)
class SubgraphChange:
    """Nodes of the input model, and the subgraphs that came of them in both runs; change_us: b - a."""

    sources: tuple[str, ...]
    a_kinds: tuple[str, ...]
    b_kinds: tuple[str, ...]
    a_latency_us: Figure
    b_latency_us: Figure
    change_us: Figure
    a_bounds: tuple[str, ...]
    b_bounds: tuple[str, ...]


def subgraph_changes(a: Report, b: Report) -> tuple[SubgraphChange, ...]:
    """Parts that differ, those whose latency changed most first."""
    sides = tuple(report.subgraphs.after or report.subgraphs.before for report in (a, b))
    rows = [_change(one, two) for one, two in _matched(*sides) if _telling(one) != _telling(two)]
    return tuple(sorted(rows, key=lambda row: (-_size(row.change_us), row.sources)))


def _names(row: SubgraphRow) -> tuple[str, ...]:
    """What a subgraph is known by in both results."""
    return row.sources or row.nodes


def _matched(a: Side, b: Side) -> list[tuple[Side, Side]]:
    """The smallest groups of subgraphs of both sides that share no source with any other."""
    groups = _Groups()
    for row in (*a, *b):
        groups.join(_names(row))
    found: dict[str, tuple[list[SubgraphRow], list[SubgraphRow]]] = {}
    for side, rows in enumerate((a, b)):
        for row in rows:
            if names := _names(row):
                found.setdefault(groups.head(names[0]), ([], []))[side].append(row)
    return [(tuple(one), tuple(two)) for one, two in found.values()]


class _Groups:
    """Names that belong together, because one subgraph has them all."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def head(self, name: str) -> str:
        """The name that stands for its group."""
        while (above := self._above.setdefault(name, name)) != name:
            self._above[name] = self._above[above]
            name = above
        return name

    def join(self, names: Sequence[str]) -> None:
        """Makes one group of them all."""
        for name in names[1:]:
            self._above[self.head(name)] = self.head(names[0])


def _telling(rows: Side) -> Counter[tuple[str, Figure]]:
    """What must differ to be worth a line; another neighbour alone is not."""
    return Counter((row.kind, row.latency_us) for row in rows)


def _change(a: Side, b: Side) -> SubgraphChange:
    sources = dict.fromkeys(name for row in (*a, *b) for name in _names(row))
    one, two = _latency(a), _latency(b)
    return SubgraphChange(
        tuple(sources), _kinds(a), _kinds(b), one, two, _difference(one, two), _bounds(a), _bounds(b)
    )


def _difference(a: Figure, b: Figure) -> Figure:
    """b - a, where nothing left is no time; its error is at most that of both."""
    for figure in (a, b):
        if isinstance(figure, Missing) and figure != GONE:
            return figure
    known = [figure for figure in (a, b) if isinstance(figure, Estimate)]
    value = sum(figure.value if figure is b else -figure.value for figure in known)
    return Estimate(value, hypot(*(figure.spread for figure in known)), total(known).source)


def _size(figure: Figure) -> float:
    return 0.0 if isinstance(figure, Missing) else abs(figure.value)


def _kinds(rows: Iterable[SubgraphRow]) -> tuple[str, ...]:
    return tuple(row.kind for row in rows)


def _bounds(rows: Iterable[SubgraphRow]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(row.bound for row in rows if row.bound))


def _latency(rows: Side) -> Figure:
    """The sum; missing where a part of it is, or where nothing is left."""
    if not rows:
        return GONE
    priced = [row.latency_us for row in rows if isinstance(row.latency_us, Estimate)]
    missing = next((row.latency_us for row in rows if isinstance(row.latency_us, Missing)), None)
    return missing if missing is not None else total(priced)
