"""What an analysis says in sentences: memory, weights, what has no price, and the most there is to gain."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from math import isclose

from hwopt.estimate import Estimate
from hwopt.report import words
from hwopt.report.analysis_gains import gains
from hwopt.report.analysis_shares import kind_of, percent
from hwopt.report.analysis_table import words_of
from hwopt.report.schema import BestPlan, ChoiceRow, Missing, Number, Potential, Report

_NAMED = 3
_LEAST = 0.0005  # a share that does not round to 0.0%
GAINS_SHOWN = 5
PASSES_HEADER = ("pass", "risk", "choices", "values", "alone at most")
GAINS_HEADER = ("largest gains alone", "value", "by", "saves", "choice")
_BOUNDS = {"compute": "compute", "on_chip": "on-chip memory", "off_chip": "off-chip memory"}


def whole(report: Report) -> str:
    """The model's own figures in a line."""
    costs = report.before
    parts = [f"latency {words.latency(costs.latency_us)} {_source(costs.latency_us)}".strip()]
    parts += [f"{row.what} {row.before} {row.source}" for row in words.summary(report) if "whole" in row.what]
    parts.append(f"peak memory {words.size(costs.peak_bytes)}")
    parts.append(f"weights {words.size(costs.weight_bytes)}")
    if not isinstance(costs.macs, Missing) and costs.macs:
        parts.append(f"{words.number(costs.macs / 1e6)} M multiply-adds")
    return ", ".join(parts)


def _source(figure: Estimate | Missing) -> str:
    return f"({figure.source.value})" if isinstance(figure, Estimate) else ""


def bounds(report: Report) -> str:
    """How much of the time is spent waiting for what; "" where nobody knows."""
    found = report.where_time_goes
    if isinstance(found, Missing):
        return ""
    known = [
        f"{_BOUNDS[row.name]} {percent(row.share)}"
        for row in found.bounds
        if row.name in _BOUNDS and not isinstance(row.share, Missing) and row.share >= _LEAST
    ]
    return f"what limits the time: {', '.join(known)}" if known else ""


def memory(report: Report) -> str:
    """The peak of the arena, which subgraph causes it, and what is alive then."""
    peak, rows = report.before.peak, report.subgraphs.before
    if peak is None or peak.subgraph >= len(rows):
        return ""
    row = rows[peak.subgraph]
    alive = [f"'{tensor.name}' {words.byte_count(tensor.bytes)}" for tensor in peak.tensors[:_NAMED]]
    more = f" and {len(peak.tensors) - _NAMED} more" if len(peak.tensors) > _NAMED else ""
    name = row.nodes[0] if row.nodes else row.id
    where = f"{words.byte_count(peak.live_bytes)} at '{name}' ({words_of(kind_of(row))})"
    arena = report.before.peak_bytes
    layout = ""
    if isinstance(arena, Estimate) and not isclose(arena.value, peak.live_bytes):
        layout = f"; with its layout the arena takes {words.size(arena)}"
    return f"memory peak: {where}, alive: {', '.join(alive)}{more}{layout}"


def weights(report: Report) -> str:
    """The layers that hold most of the weights."""
    rows = sorted(report.subgraphs.before, key=lambda row: -row.weight_bytes)[:_NAMED]
    sum_ = sum(row.weight_bytes for row in report.subgraphs.before)
    if not sum_:
        return ""
    named = [
        f"'{row.nodes[0]}' {words.byte_count(row.weight_bytes)} ({percent(row.weight_bytes / sum_)})"
        for row in rows
        if row.weight_bytes and row.nodes
    ]
    return f"weights: {words.byte_count(sum_)}, most of them in {', '.join(named)}"


def unpriced(report: Report) -> Iterator[str]:
    """What has no price, one line per reason: never passed over in silence."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for item in report.before.unpriced:
        reasons[item.reason].append(f"{item.op} '{item.node}'")
    for reason, names in reasons.items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        yield f"not priced: {', '.join(names[:_NAMED])}{more}: {reason}"


def bound_lines(found: Potential) -> Iterator[str]:
    """The most that there is to gain: without data, and with it."""
    if isinstance(found.exact.change, Missing):
        yield f"what rewriting could gain: unknown, {found.exact.change.unavailable}"
        return
    yield (
        f"exact rewrites: {_up_to(found.exact, 'up to ')}; with calibration data: "
        f"{_up_to(found.everything, 'at most ')}, before accuracy is looked at."
    )
    yield (
        "Predicted, by the best plans on the search's tables: nothing was written or verified, and a limit "
        "on accuracy allows a part of it. hwopt optimize makes a plan and proves it."
    )


def _up_to(plan: BestPlan, how: str) -> str:
    if isinstance(plan.change, Missing) or round(100 * plan.change, 1) == 0:
        return "nothing to gain"
    return f"{how}{percentage(plan.change)} ({_time(plan)})"


def _time(plan: BestPlan) -> str:
    figure = plan.latency_us
    return "no price" if isinstance(figure, Missing) else words.microseconds(figure.value)


def percentage(change: Number) -> str:
    """-2.5%, with its sign; a dash for nothing."""
    if isinstance(change, Missing):
        return change.unavailable
    return f"{100 * change:+.1f}%" if abs(change) >= 0.0005 else "-"


def pass_rows(found: Potential) -> list[list[str]]:
    """What every pass could do by itself."""
    return [
        [row.name, row.risk, str(row.choices), str(row.values), percentage(row.change)]
        for row in found.passes
    ]


def gain_rows(report: Report, most: int = GAINS_SHOWN) -> list[list[str]]:
    """The choices with the largest gains, each alone, all others kept."""
    found = report.potential
    start = 0.0 if isinstance(found, Missing) else words.value_of(found.before_us) or 0.0
    rows = []
    for gain in gains(report.choices)[:most]:
        share = f" ({100 * gain.saved_us / start:.1f}%)" if start else ""
        rows.append(
            [
                _nodes(gain.choice),
                gain.value.name,
                f"{', '.join(gain.value.passes)} ({gain.value.risk})",
                words.microseconds(gain.saved_us, 3) + share,
                gain.choice.id,
            ]
        )
    return rows


def _nodes(choice: ChoiceRow) -> str:
    """Where a choice is: its first node, and how many more it touches."""
    if choice.kind in ("model", "input"):
        return "the whole model"
    first, more = choice.nodes[:1], len(choice.nodes) - 1
    return f"{first[0]}{f' +{more}' if more > 0 else ''}" if first else "-"
