"""Figures as people read them: 1.23 ms, 512 KB, -12.3%, each with its source."""

from __future__ import annotations

from dataclasses import dataclass

from hwopt.estimate import Estimate
from hwopt.report.schema import AccuracyRow, Costs, Figure, Missing, Number, Report

MOST_ROWS = 1000  # of a table for people; the JSON report has all of them


@dataclass(frozen=True)
class SummaryRow:
    """One line of the table that every run ends with; all cells are ready to print."""

    what: str
    before: str
    after: str
    change: str
    source: str


def microseconds(value: float, digits: int = 4) -> str:
    """A time with the unit that suits it."""
    short = float(f"{value:.{digits}g}")
    for unit, scale in (("s", 1e6), ("ms", 1e3)):
        if abs(short) >= scale:
            return f"{short / scale:g} {unit}"
    return f"{short:g} us"


def byte_count(value: float) -> str:
    """Bytes with decimal multiples (1 KB is 1,000 bytes), as data sheets count them."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if abs(value) >= scale:
            return f"{value / scale:.4g} {unit}"
    return f"{value:.0f} B"


def change_us(change: Estimate) -> str:
    """A difference of two latencies, with its sign and its spread."""
    spread = f" ± {microseconds(change.spread, 2)}" if change.spread > 0 else ""
    return ("+" if change.value > 0 else "") + microseconds(change.value) + spread


def change_bytes(change: float) -> str:
    """A difference of two sizes, with its sign."""
    return ("+" if change > 0 else "") + byte_count(change)


def latency(figure: Figure) -> str:
    """A latency with its spread where it has one, or the reason why there is none."""
    if isinstance(figure, Missing):
        return f"unavailable: {figure.unavailable}"
    spread = f" ± {microseconds(figure.spread, 2)}" if figure.spread > 0 else ""
    return microseconds(figure.value) + spread + (", extrapolated" if figure.extrapolated else "")


def size(figure: Figure) -> str:
    """Bytes, or the reason why nobody knows."""
    return f"unavailable: {figure.unavailable}" if isinstance(figure, Missing) else byte_count(figure.value)


def number(value: Number, digits: int = 4) -> str:
    """A plain number, or the reason why there is none."""
    return f"unavailable: {value.unavailable}" if isinstance(value, Missing) else f"{value:.{digits}g}"


def change(before: Figure, after: Figure) -> str:
    """The relative change in percent; a dash where one side is missing or zero."""
    if isinstance(before, Missing) or isinstance(after, Missing) or before.value == 0:
        return "-"
    return f"{100 * (after.value / before.value - 1):+.1f}%"


def source(before: Figure, after: Figure) -> str:
    """Where the two figures come from; both words where they differ."""
    names = [figure.source.value for figure in (before, after) if isinstance(figure, Estimate)]
    return " / ".join(dict.fromkeys(names)) or "-"


def summary(report: Report) -> list[SummaryRow]:
    """Latency, the oracle's latency where it was asked, memory, weights, accuracy: before and after."""
    after = report.after
    rows = [
        _figure_row("latency", report, "latency_us", after),
        *_oracle_rows(report),
        _figure_row("peak memory", report, "peak_bytes", after),
        _figure_row("weight size", report, "weight_bytes", after),
    ]
    if isinstance(report.accuracy, Missing):
        return [*rows, SummaryRow("accuracy", "-", "-", "-", f"unavailable: {report.accuracy.unavailable}")]
    return [*rows, *map(accuracy_row, report.accuracy)]


def _figure_row(what: str, report: Report, name: str, after: Costs | Missing) -> SummaryRow:
    first: Figure = getattr(report.before, name)
    second: Figure = after if isinstance(after, Missing) else getattr(after, name)
    show = latency if name == "latency_us" else size
    return SummaryRow(what, show(first), show(second), change(first, second), source(first, second))


def _oracle_rows(report: Report) -> list[SummaryRow]:
    """The whole model by the oracle, where that is not what the first row already says."""
    if isinstance(report.verification, Missing) or isinstance(report.verification.oracle, Missing):
        return []
    before, after = report.verification.oracle.before.latency_us, report.verification.oracle.after.latency_us
    if before == report.before.latency_us:
        return []
    what = f"latency, whole model by {report.target.oracle}"
    return [SummaryRow(what, latency(before), latency(after), change(before, after), source(before, after))]


def accuracy_row(row: AccuracyRow) -> SummaryRow:
    """Accuracy with its drop, the drop's 95% interval and the number of samples."""
    scale, unit = (100.0, " points") if is_share(row.metric) else (1.0, "")
    drop = "-" if isinstance(row.drop, Missing) else f"drop {scale * row.drop:.3g}{unit}"
    if not isinstance(row.interval, Missing):
        drop += f" [{scale * row.interval[0]:.3g}, {scale * row.interval[1]:.3g}]"
    where = f"measured on {row.samples} samples"
    before, after = (_score(row, value) for value in (row.before, row.after))
    return SummaryRow(f"{row.metric} ({_precisions(row)})", before, after, drop, where)


def _precisions(row: AccuracyRow) -> str:
    """Of what is compared: a divergence is always from the fp32 input, the int8 input's as well."""
    if row.against == row.precision:
        return row.precision
    distance = row.metric in ("kl", "relative_error", "agreement")
    return f"{row.precision}, to the {row.against} input" if distance else f"{row.against} to {row.precision}"


def is_share(metric: str) -> bool:
    """Whether the metric is a share of samples, which people read in percent."""
    return metric.startswith("top") or metric in ("accuracy", "agreement")


def _score(row: AccuracyRow, value: Number) -> str:
    if isinstance(value, Missing) or not is_share(row.metric):
        return number(value)
    return f"{100 * value:.2f}%"


def value_of(figure: Figure) -> float | None:
    """The bare value for sorting and shares; None where there is none."""
    return None if isinstance(figure, Missing) else figure.value


def beyond(rows: int) -> str:
    """What stands below a table of so many rows that not all are shown."""
    return f"and {rows - MOST_ROWS:,} more, which the JSON report has"
