"""An analysis as rows of text: one unit per column, so that figures stand below one another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import floor, log10

from hwopt.estimate import Estimate, Source
from hwopt.report.analysis_shares import kind_of, microseconds
from hwopt.report.schema import Figure, Missing, Number, Report, ShareRow, SubgraphRow

DIGITS = 4  # of the largest figure in a column
NONE = "-"
_TIMES = (("s", 1e7), ("ms", 1e4), ("us", 0.0))  # unit, from which largest value in microseconds
_SIZES = (("GB", 1e10), ("MB", 1e7), ("KB", 0.0))
_COUNTS = (("G", 1e10), ("M", 1e5), ("k", 0.0))
_SCALE = {"s": 1e6, "ms": 1e3, "us": 1.0, "GB": 1e9, "MB": 1e6, "KB": 1e3, "G": 1e9, "M": 1e6, "k": 1e3}
_BOUNDS = {"compute": "compute", "on_chip": "on-chip", "off_chip": "off-chip"}
_FLAGS = {Source.COMPILED: "c", Source.MEASURED: "m"}
_EXTRAPOLATED = "*"
_LEGEND = {
    "c": "c: compiled, the oracle's own figure",
    "m": "m: measured by the oracle",
    _EXTRAPOLATED: "*: extrapolated, unlike what was measured",
}

SORTS: Mapping[str, Callable[[SubgraphRow], float]] = {
    "latency": microseconds,
    "macs": lambda row: row.macs,
    "memory": lambda row: row.peak_bytes.value if isinstance(row.peak_bytes, Estimate) else 0.0,
    "weights": lambda row: row.weight_bytes,
    "off-chip": lambda row: row.roofs.off_chip_bytes if row.roofs else 0,
    "array": lambda row: -row.utilisation if isinstance(row.utilisation, float) and row.macs else -2.0,
    "order": lambda row: 0.0,
}
"""By what subgraphs can be sorted; the largest first. array: the least used first; order: of execution."""


@dataclass(frozen=True)
class Unit:
    """One unit for a column of figures, and how many decimals suit the largest of them."""

    name: str
    decimals: int

    def of(self, value: float) -> str:
        """The figure without its unit; what is zero is a dash."""
        return f"{value / _SCALE[self.name]:,.{self.decimals}f}" if value else NONE


def unit_of(values: Sequence[float], units: Sequence[tuple[str, float]]) -> Unit:
    """The unit that suits the largest of some figures."""
    largest = max(map(abs, values), default=0.0)
    name = next(unit for unit, least in units if largest >= least)
    scaled = largest / _SCALE[name]
    before = floor(log10(scaled)) + 1 if scaled >= 1 else 1
    return Unit(name, max(0, DIGITS - before))


@dataclass(frozen=True)
class Units:
    """The units of a table's columns."""

    time: Unit
    size: Unit
    count: Unit

    @staticmethod
    def of(rows: Sequence[SubgraphRow]) -> Units:
        """Those that suit all of these subgraphs."""
        moved = [max(row.roofs.on_chip_bytes, row.roofs.off_chip_bytes) for row in rows if row.roofs]
        alive = [row.peak_bytes.value for row in rows if isinstance(row.peak_bytes, Estimate)]
        return Units(
            unit_of([microseconds(row) for row in rows], _TIMES),
            unit_of([*moved, *alive], _SIZES),
            unit_of([row.macs for row in rows], _COUNTS),
        )


@dataclass(frozen=True)
class Line:
    """One line of the table of subgraphs. share: of the whole, for a bar; flag: see `legend`."""

    name: str
    kind: str
    engine: str
    latency: str
    spread: str
    flag: str
    share: float
    bound: str
    array: str
    macs: str
    on_chip: str
    off_chip: str
    alive: str


@dataclass(frozen=True)
class SubgraphTable:
    """The subgraphs that are shown, and in which units."""

    units: Units
    lines: tuple[Line, ...]
    legend: str


def subgraph_table(
    rows: Sequence[SubgraphRow], sort: str = "latency", most: int | None = None
) -> SubgraphTable:
    """The first of the sorted subgraphs, and one line for all the others.

    sort: a key of SORTS. most: how many; None: all.
    """
    whole = sum(map(microseconds, rows))
    ordered = sorted(rows, key=lambda row: -SORTS[sort](row))
    shown, rest = (
        (ordered, []) if most is None or len(ordered) <= most + 1 else (ordered[:most], ordered[most:])
    )
    units = Units.of(ordered)
    lines = [_line(row, units, whole) for row in shown]
    if rest:
        lines.append(_rest(rest, units, whole))
    flags = sorted({line.flag for line in lines} & set(_LEGEND))
    return SubgraphTable(units, tuple(lines), "; ".join(_LEGEND[flag] for flag in flags))


def _line(row: SubgraphRow, units: Units, whole: float) -> Line:
    latency, spread, flag = _time(row.latency_us, units.time)
    priced = isinstance(row.latency_us, Estimate)
    return Line(
        name=row.nodes[0] if row.nodes else NONE,
        kind=words_of(kind_of(row)),
        engine=row.engine or "none",
        latency=latency,
        spread=spread,
        flag=flag,
        share=microseconds(row) / whole if whole else 0.0,
        bound=_BOUNDS.get(row.bound, NONE) if priced else NONE,
        array=array(row.utilisation, row.macs),
        macs=units.count.of(row.macs),
        on_chip=units.size.of(row.roofs.on_chip_bytes) if row.roofs else NONE,
        off_chip=units.size.of(row.roofs.off_chip_bytes) if row.roofs else NONE,
        alive=units.size.of(row.peak_bytes.value) if isinstance(row.peak_bytes, Estimate) else NONE,
    )


def _rest(rows: Sequence[SubgraphRow], units: Units, whole: float) -> Line:
    spent = sum(map(microseconds, rows))
    roofs = [row.roofs for row in rows if row.roofs]
    return Line(
        name=f"{len(rows)} more",
        kind="",
        engine="",
        latency=units.time.of(spent),
        spread="",
        flag="",
        share=spent / whole if whole else 0.0,
        bound="",
        array="",
        macs=units.count.of(sum(row.macs for row in rows)),
        on_chip=units.size.of(sum(roof.on_chip_bytes for roof in roofs)),
        off_chip=units.size.of(sum(roof.off_chip_bytes for roof in roofs)),
        alive="",
    )


def words_of(kind: str) -> str:
    """A kind as people read it."""
    return kind.replace("_", " ")


def _time(figure: Figure, unit: Unit) -> tuple[str, str, str]:
    """A latency, its spread and its flag."""
    if isinstance(figure, Missing):
        return "no price", "", ""
    return unit.of(figure.value), _spread(figure, unit), _flag(figure)


def _spread(figure: Estimate, unit: Unit) -> str:
    """Nothing where it is zero in these decimals."""
    text = unit.of(figure.spread)
    return text if text.strip("0.,-") else ""


def _flag(figure: Estimate) -> str:
    return _EXTRAPOLATED if figure.extrapolated else _FLAGS.get(figure.source, "")


def array(utilisation: Number, macs: int) -> str:
    """The share of the MAC array that is used; a dash for what has no multiply-adds."""
    if isinstance(utilisation, Missing) or not macs:
        return NONE
    return f"{100 * utilisation:.1f}%"


def totals(rows: Sequence[ShareRow], units: Units) -> Iterator[Line]:
    """Subgraphs that were added up, as lines of that table: how many they are stands for the kind."""
    for row in rows:
        latency, spread, flag = _time(row.latency_us, units.time)
        yield Line(
            name=words_of(row.name),
            kind=str(row.subgraphs),
            engine="",
            latency=latency,
            spread=spread,
            flag=flag,
            share=0.0 if isinstance(row.share, Missing) else row.share,
            bound="",
            array=array(row.utilisation, row.macs),
            macs=units.count.of(row.macs),
            on_chip=units.size.of(row.on_chip_bytes),
            off_chip=units.size.of(row.off_chip_bytes),
            alive=units.size.of(row.weight_bytes),
        )


def total_units(rows: Sequence[ShareRow]) -> Units:
    """The units that suit all of some totals."""
    return Units(
        unit_of([r.latency_us.value for r in rows if isinstance(r.latency_us, Estimate)], _TIMES),
        unit_of([max(r.on_chip_bytes, r.off_chip_bytes, r.weight_bytes) for r in rows], _SIZES),
        unit_of([r.macs for r in rows], _COUNTS),
    )


def engines_used(report: Report) -> int:
    """How many of the target's engines have something to do, "none" among them."""
    return len({row.engine for row in report.subgraphs.before if row.kind != "view"})
