"""Latency against damage: the plans that no other beats, those that were measured, and the chosen one."""

from __future__ import annotations

from hwopt.report import words
from hwopt.report.charts.canvas import Canvas, Ink, Width, canvas, unit_of
from hwopt.report.schema import ParetoRow, Report


def pareto_chart(report: Report, width: Width) -> str:
    """Empty where the run knows of one plan alone, or of none that does damage: there is no trade then."""
    rows = sorted(report.pareto, key=lambda row: row.latency_us.value)
    if len(rows) < 2 or not any(row.damage for row in rows):
        return ""
    scale, unit = unit_of(rows[-1].latency_us.value)
    with canvas(width, 320) as chart:
        front = [row for row in rows if _on_front(row, rows)]
        chart.axes.plot(
            [row.latency_us.value / scale for row in front], [row.damage for row in front],
            color=Ink.GRID.value, linewidth=1.5, zorder=1,
        )  # fmt: skip
        for row in rows:
            _plan(chart, row, scale)
        chart.axes.set_xlabel(f"latency, {unit} (predicted)")
        chart.axes.set_ylabel("damage of the output")
        chart.axes.grid()
        for marker, ink, face, label in _KINDS:
            chart.axes.plot(
                [], [], linestyle="", marker=marker, color=ink.value, markerfacecolor=face, label=label
            )
        chart.legend()
        return chart.svg("Plans: latency against damage; the table below has every figure")


_KINDS = (
    ("*", Ink.ACCENT, Ink.ACCENT.value, "chosen"),
    ("o", Ink.AFTER, Ink.AFTER.value, "measured"),
    ("o", Ink.AFTER, "none", "predicted"),
)


def _on_front(row: ParetoRow, rows: list[ParetoRow]) -> bool:
    """Whether nothing is both faster and milder."""
    return not any(
        (other.latency_us.value <= row.latency_us.value and other.damage < row.damage)
        or (other.latency_us.value < row.latency_us.value and other.damage <= row.damage)
        for other in rows
    )


def _plan(chart: Canvas, row: ParetoRow, scale: float) -> None:
    marker, ink, face, label = _KINDS[0 if row.chosen else 1 if row.measured else 2]
    size = 15 if row.chosen else 7
    mark = chart.axes.plot(
        row.latency_us.value / scale, row.damage, marker=marker, color=ink.value, markerfacecolor=face,
        markersize=size, linestyle="", zorder=3 if row.chosen else 2,
    )  # fmt: skip
    drop = "" if row.drop is None else f", drop {100 * row.drop:.2g} points"
    told = f"{label}: {words.latency(row.latency_us)}, damage {row.damage:.3g}{drop}"
    chart.tip(mark[0], f"{told}, {len(row.values)} choices changed")
