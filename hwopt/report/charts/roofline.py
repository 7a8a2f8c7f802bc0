"""The roofline (Williams, Waterman, Patterson 2009): what the hardware allows, and where subgraphs stand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.collections import PathCollection
from matplotlib.markers import MarkerStyle
from matplotlib.transforms import IdentityTransform

from hwopt.report import words
from hwopt.report.charts.canvas import Canvas, Ink, Width, canvas
from hwopt.report.charts.latency import BOUNDS
from hwopt.report.charts.pairs import latency
from hwopt.report.schema import Hardware, MemoryLevel, Missing, Report, SubgraphRow

_MOST = 200  # dots of one side
_CIRCLE = MarkerStyle("o").get_path().transformed(MarkerStyle("o").get_transform())
_LARGEST = 420.0  # area of the dot of a subgraph that takes all the time, in square pixels


def roofline_chart(report: Report, width: Width) -> str:
    """MACs per second over MACs per byte of the outermost memory; "" where nothing can be placed.

    Dots are subgraphs, their area is their share of the time: rings before, discs after.
    """
    hardware = report.target.hardware
    if isinstance(hardware, Missing):
        return ""
    sides = {"before": report.subgraphs.before, "after": report.subgraphs.after}
    placed = {side: _longest(rows, hardware) for side, rows in sides.items()}
    everything = [row for rows in placed.values() for row in rows]
    if not everything:
        return ""
    with canvas(width, 380) as chart:
        _roofs(chart, hardware, [_intensity(row, hardware) for row in everything])
        for side, rows in placed.items():
            whole = sum(map(latency, sides[side]))
            for row in rows:
                _dot(chart, row, hardware, side, latency(row) / whole)
        chart.axes.set_xscale("log")
        chart.axes.set_yscale("log")
        for axis in (chart.axes.xaxis, chart.axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.set_minor_formatter(lambda value, _: "")
        chart.axes.set_xlabel(f"MACs per byte of {hardware.memories[-1].name}")
        chart.axes.set_ylabel("GMAC/s")
        chart.axes.grid()
        _legend(chart, bool(report.subgraphs.after))
        return chart.svg("Roofline: subgraphs before and after, under what the hardware allows")


def _longest(rows: Sequence[SubgraphRow], hardware: Hardware) -> list[SubgraphRow]:
    """Those with a place in the chart; of very many the ones that take most of the time."""
    placed = [row for row in rows if _intensity(row, hardware)]
    return sorted(placed, key=latency, reverse=True)[:_MOST]


def _intensity(row: SubgraphRow, hardware: Hardware) -> float:
    """MACs per byte of the outermost memory; 0 where the subgraph has no place in the chart."""
    if row.roofs is None or not row.macs or not latency(row):
        return 0.0
    moved = row.roofs.off_chip_bytes if len(hardware.memories) > 1 else row.roofs.on_chip_bytes
    return row.macs / moved if moved else 0.0


def _giga(macs_per_us: float) -> float:
    return macs_per_us / 1e3


def _roofs(chart: Canvas, hardware: Hardware, intensities: list[float]) -> None:
    level: MemoryLevel = hardware.memories[-1]
    ridge = hardware.macs_per_us / level.bytes_per_us
    x = np.geomspace(min(*intensities, ridge) / 3, max(*intensities, ridge) * 4, 200)
    y = np.minimum(hardware.macs_per_us, level.bytes_per_us * x)
    chart.axes.plot(x, y / 1e3, color=Ink.TEXT.value, linewidth=2)
    peak = _giga(hardware.macs_per_us)
    chart.axes.annotate(
        f"MAC array: {peak:,.4g} GMAC/s", (x[-1], peak), xytext=(0, 5), textcoords="offset points",
        ha="right", fontsize=11, color=Ink.TEXT.value,
    )  # fmt: skip
    start = x[0] * 1.15
    chart.axes.annotate(
        f"{level.name}: {level.bytes_per_us / 1e3:.4g} GB/s", (start, level.bytes_per_us * start / 1e3),
        xytext=(0, 10), textcoords="offset points", fontsize=11, color=Ink.TEXT.value,
    )  # fmt: skip


def _dot(chart: Canvas, row: SubgraphRow, hardware: Hardware, side: str, share: float) -> None:
    ink, bound = BOUNDS[row.bound]
    attained = row.macs / latency(row)
    dot = PathCollection(
        (_CIRCLE,), [max(_LARGEST * share, 14.0)], edgecolors=ink.value, alpha=0.85, linewidths=1.4,
        facecolors="none" if side == "before" else ink.value, offset_transform=chart.axes.transData,
        offsets=[(_intensity(row, hardware), _giga(attained))], transform=IdentityTransform(),
    )  # fmt: skip
    chart.axes.add_collection(dot)  # `Axes.scatter` takes longer to read its arguments than to draw
    what = f"{side}: {row.nodes[0]} ({row.kind}), {words.latency(row.latency_us)}"
    chart.tip(dot, f"{what}, {100 * share:.1f}% of the time, {_giga(attained):.3g} GMAC/s, bound by {bound}")


def _legend(chart: Canvas, changed: bool) -> None:
    for ink, name in list(BOUNDS.values())[:3]:
        chart.axes.scatter([], [], color=ink.value, s=40, label=f"bound by {name}")
    chart.axes.scatter([], [], edgecolors=Ink.MUTED.value, facecolors="none", s=40, label="before")
    if changed:
        chart.axes.scatter([], [], color=Ink.MUTED.value, s=40, label="after")
    chart.legend()
