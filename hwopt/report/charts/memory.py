"""Bytes alive over the schedule, before and after, with the step that needs most and what lives there."""

from __future__ import annotations

from collections.abc import Sequence

from hwopt.report import words
from hwopt.report.charts.canvas import Canvas, Ink, Width, canvas, shortened
from hwopt.report.schema import Costs, Hardware, Missing, Report, SubgraphRow

_HEIGHT = 190
_NAMED = 3
_LETTERS = {Width.WIDE: 40, Width.NARROW: 20}
_COLUMNS = 300  # steps up to which each has a column of its own
_STEPS = {Width.WIDE: 1600, Width.NARROW: 600}  # columns, two to a pixel: more of them nobody sees
_ROOM = 1.6  # for what the peak is made of, above it
_NEAR = 1.6  # a capacity up to so many times the peak is worth a line


def memory_chart(report: Report, width: Width) -> str:
    """Two areas on one scale, one above the other where there is a result."""
    after = report.after
    sides: list[tuple[str, Ink, tuple[SubgraphRow, ...], Costs]] = [
        ("before", Ink.BEFORE, report.subgraphs.before, report.before)
    ]
    if not isinstance(after, Missing):
        sides.append(("after", Ink.AFTER, report.subgraphs.after, after))
    most = max((_bytes(row) for _, _, rows, _ in sides for row in rows), default=0.0)
    scale, unit = (1e6, "MB") if most >= 1e6 else (1e3, "KB")
    together = max(1, *(-(-len(rows) // _STEPS[width]) for _, _, rows, _ in sides))
    with canvas(width, 40 + _HEIGHT * len(sides), len(sides)) as chart:
        for axes, (name, ink, rows, costs) in zip(chart.panels, sides, strict=True):
            part = chart.on(axes)
            _area(part, rows, ink, scale, name, together)
            _peak(part, costs, rows, scale, name, width)
            _capacity(part, report.target.hardware, most, scale)
            axes.set_ylim(0, _ROOM * most / scale)
            axes.set_ylabel(f"{unit} alive, {name}")
        chart.panels[-1].set_xlabel(_steps_in_words(together))
        return chart.svg("Memory over the schedule, before and after, with the step that needs most")


def _bytes(row: SubgraphRow) -> float:
    return 0.0 if isinstance(row.peak_bytes, Missing) else row.peak_bytes.value


def _area(
    chart: Canvas, rows: tuple[SubgraphRow, ...], ink: Ink, scale: float, name: str, together: int
) -> None:
    """An area; of one column per step, so that each can be pointed at, where these are not too many."""
    heights, edges = thinned([_bytes(row) / scale for row in rows], together)
    if together > 1 or len(rows) > _COLUMNS:
        chart.axes.stairs(heights, edges, fill=True, color=ink.value, alpha=0.55, linewidth=0)
    else:
        columns = chart.axes.bar(
            range(len(rows)), heights, width=1.0, color=ink.value, alpha=0.55, linewidth=0
        )
        for step, (column, row) in enumerate(zip(columns, rows, strict=True)):
            chart.tip(column, f"{name}, step {step + 1}: {row.nodes[0]}, {words.size(row.peak_bytes)} alive")
    chart.axes.stairs(heights, edges, color=ink.value, linewidth=1.4)
    chart.axes.grid(axis="y")
    chart.axes.margins(x=0.01)


def thinned(heights: Sequence[float], together: int) -> tuple[list[float], list[float]]:
    """Columns of so many neighbours each, as high as the largest of them, and the columns' edges."""
    starts = range(0, len(heights), together)
    edges = [start - 0.5 for start in (*starts, len(heights))]
    return [max(heights[start : start + together]) for start in starts], edges


def _steps_in_words(together: int) -> str:
    """What the axis counts. together: steps that share a column."""
    return "step of the schedule" + (f", the most of every {together}" if together > 1 else "")


def _peak(
    chart: Canvas, costs: Costs, rows: tuple[SubgraphRow, ...], scale: float, name: str, width: Width
) -> None:
    peak = costs.peak
    if peak is None:
        return
    top = peak.live_bytes / scale
    mark = chart.axes.plot(peak.subgraph, top, marker="v", color=Ink.ACCENT.value, markersize=8)
    tensors = ", ".join(f"{t.name} {words.byte_count(t.bytes)}" for t in peak.tensors)
    most, culprit = words.byte_count(peak.live_bytes), rows[peak.subgraph].nodes[0]
    chart.tip(mark[0], f"peak {name}: {most} at {culprit}: {tensors}")
    lines = [f"peak {most} at {shortened(culprit, _LETTERS[width])}"]
    lines += [
        f"{shortened(t.name, _LETTERS[width])} {words.byte_count(t.bytes)}" for t in peak.tensors[:_NAMED]
    ]
    left = peak.subgraph > len(rows) / 2
    narrow = width == Width.NARROW
    place = (len(rows) - 1) / 2 if narrow else peak.subgraph
    chart.axes.annotate(
        "\n".join(lines), (place, top), xytext=(0 if narrow else -10 if left else 10, 6), va="bottom",
        textcoords="offset points", ha="center" if narrow else "right" if left else "left", fontsize=11,
        color=Ink.TEXT.value,
    )  # fmt: skip


def _capacity(chart: Canvas, hardware: Hardware | Missing, most: float, scale: float) -> None:
    """How much the memory of the arena holds, where that is near enough to be seen."""
    if isinstance(hardware, Missing):
        return
    arena = next(level for level in hardware.memories if level.name == hardware.arena)
    if most and arena.bytes <= _NEAR * most:
        chart.axes.axhline(arena.bytes / scale, color=Ink.ACCENT.value, linestyle="--", linewidth=1.2)
        chart.axes.annotate(
            f"{arena.name}: {words.byte_count(arena.bytes)}", (0, arena.bytes / scale),
            xytext=(4, 3), textcoords="offset points", fontsize=11, color=Ink.ACCENT.value,
        )  # fmt: skip
