"""Latency by subgraph, before and after, side by side, coloured by what bounds each."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.patches import Patch

from hwopt.report import words
from hwopt.report.charts.canvas import Canvas, Ink, Width, canvas, shortened, unit_of
from hwopt.report.charts.pairs import Pair, latency, pairs, total
from hwopt.report.schema import Report, SubgraphRow

_SHOWN = {Width.WIDE: 18, Width.NARROW: 12}
_LETTERS = {Width.WIDE: 30, Width.NARROW: 16}
_ROW = 30  # pixels for a pair of bars
_THICK = 0.38
BOUNDS = {
    "compute": (Ink.COMPUTE, "the MAC array"),
    "on_chip": (Ink.ON_CHIP, "on-chip memory"),
    "off_chip": (Ink.OFF_CHIP, "off-chip memory"),
    "": (Ink.MUTED, "nothing known"),
}


def latency_chart(report: Report, width: Width) -> str:
    """The subgraphs that cost most, as bars; the upper one of a pair is the input's."""
    everything = sorted(pairs(report), key=lambda pair: -pair.longest)
    shown = [pair for pair in everything[: _SHOWN[width]] if pair.longest > 0]
    rest = everything[len(shown) :]
    scale, unit = unit_of(max((pair.longest for pair in shown), default=0.0))
    rows = len(shown) + (total_of(rest) > 0)
    with canvas(width, 90 + _ROW * max(rows, 1)) as chart:
        for place, pair in enumerate(shown):
            _bar(chart, place - _THICK / 2, pair.before, scale, "before")
            _bar(chart, place + _THICK / 2, pair.after, scale, "after")
        labels = [shortened(pair.label, _LETTERS[width]) for pair in shown]
        if rows > len(shown):
            labels.append(f"{len(rest)} others")
            _sums(chart, len(shown), rest, scale)
        chart.axes.set_yticks(range(rows), labels)
        chart.axes.invert_yaxis()
        chart.axes.grid(axis="x")
        chart.axes.set_xlabel(f"latency, {unit}")
        _legend(chart, report)
        return chart.svg("Latency by subgraph, before and after; the table below has every figure")


def total_of(rest: Sequence[Pair]) -> float:
    """The latency of what is not shown by itself."""
    return sum(pair.longest for pair in rest)


def _bar(chart: Canvas, place: float, rows: Sequence[SubgraphRow], scale: float, side: str) -> None:
    """One bar, a piece for each subgraph; the input's are hatched, so that no colour is needed to tell."""
    start = 0.0
    for row in rows:
        ink, bound = BOUNDS[row.bound]
        length = latency(row) / scale
        piece = chart.axes.barh(
            place, length, left=start, height=_THICK, color=ink.value, edgecolor=Ink.PAPER.value,
            linewidth=0.5, hatch="////" if side == "before" else "",
        )  # fmt: skip
        what = f"{side}: {', '.join(row.nodes[:3])} ({row.kind}), {words.latency(row.latency_us)}"
        chart.tip(piece[0], f"{what}, bound by {bound}")
        start += length


def _sums(chart: Canvas, place: int, rest: Sequence[Pair], scale: float) -> None:
    for side, shift in (("before", -_THICK / 2), ("after", _THICK / 2)):
        whole = sum(total(pair.before if side == "before" else pair.after) for pair in rest)
        piece = chart.axes.barh(
            place + shift, whole / scale, height=_THICK, color=Ink.GRID.value, edgecolor=Ink.MUTED.value,
            linewidth=0.5, hatch="////" if side == "before" else "",
        )  # fmt: skip
        chart.tip(piece[0], f"{side}: {len(rest)} others together, {words.microseconds(whole)}")


def _legend(chart: Canvas, report: Report) -> None:
    met = {row.bound for row in (*report.subgraphs.before, *report.subgraphs.after) if latency(row) > 0}
    entries = [
        Patch(color=ink.value, label=f"bound by {name}") for key, (ink, name) in BOUNDS.items() if key in met
    ]
    sides = [
        Patch(facecolor=Ink.MUTED.value, edgecolor=Ink.PAPER.value, hatch="////", label="before"),
        Patch(facecolor=Ink.MUTED.value, edgecolor=Ink.PAPER.value, label="after"),
    ]
    chart.legend([*sides[: 1 + bool(report.subgraphs.after)], *entries])
