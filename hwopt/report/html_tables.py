"""What the page's tables are made of: decisions with their gains, subgraphs in pairs, places passed over."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hwopt.estimate import Estimate
from hwopt.report import words
from hwopt.report.charts.latency import BOUNDS
from hwopt.report.charts.pairs import Pair, latency, pairs, total
from hwopt.report.html_story import KEEP, latencies
from hwopt.report.schema import (
    ChoiceRow,
    Figure,
    Missing,
    Outcome,
    Report,
    SkippedRow,
    SubgraphRow,
    ValueRow,
)

_FOLDS = "canonical"  # the kind of choices that are priced together
_MOST = 5
_PARTS = re.compile(r"[^./:]*[./:]?")  # of a node's name
BOUND_NAMES = {key: name for key, (_, name) in BOUNDS.items()}


@dataclass(frozen=True)
class Decision:
    """One row of the decision table. taken: the value that was chosen; gain: of latency, positive: faster."""

    row: ChoiceRow
    taken: ValueRow | None
    gain: Figure
    changed: bool
    values: tuple[ValueRow, ...]  # empty where none of them has a price of its own


@dataclass(frozen=True)
class Gain:
    """One thing that made the model faster. how: what became what; share: of the input's latency."""

    title: str
    where: str
    how: str
    value: str
    gain: Figure
    share: float
    damage: Figure
    reason: str


def decisions(report: Report) -> tuple[Decision, ...]:
    """Those that gained most first, those without a gain of their own last."""
    analysed = report.outcome == Outcome.ANALYSED
    rows = [_possible(row) if analysed else _decision(row) for row in report.choices]
    return tuple(sorted(rows, key=_order))


def _possible(row: ChoiceRow) -> Decision:
    """Nothing was decided: the most that one of its values could gain."""
    made, keep = _decision(row), next((value for value in row.values if value.name == KEEP), None)
    gains = [_gain(keep, value) for value in row.values if value.name != KEEP]
    known = [gain for gain in gains if isinstance(gain, Estimate)]
    best = max(known, key=lambda gain: gain.value) if known else next(iter(gains), made.gain)
    return replace(made, gain=best)


def _order(item: Decision) -> tuple[bool, bool, float]:
    gain = item.gain.value if isinstance(item.gain, Estimate) else 0.0
    return not item.changed, isinstance(item.gain, Missing), -gain


def _decision(row: ChoiceRow) -> Decision:
    by_name = {value.name: value for value in row.values}
    taken = by_name.get(row.chosen)
    changed = row.chosen != KEEP
    priced = any(isinstance(value.latency_us, Estimate) for value in row.values)
    gain = _gain(by_name.get(KEEP), taken) if changed else Missing("kept")
    return Decision(row, taken, gain, changed, row.values if priced else ())


def _gain(keep: ValueRow | None, value: ValueRow | None) -> Figure:
    """How much faster a value is than *keep*, by itself."""
    if keep is None or value is None:
        return Missing("no value to compare with")
    if isinstance(value.latency_us, Missing):
        return value.latency_us
    if isinstance(keep.latency_us, Missing):
        return keep.latency_us
    return keep.latency_us + value.latency_us.scaled(-1.0)


def top_gains(report: Report) -> tuple[Gain, ...]:
    """What gained most, at most five; the folds of a run count as one."""
    found = [_fold_gain(report), *(_gain_of(report, item) for item in decisions(report) if _own(item))]
    priced = [item for item in found if item is not None]
    return tuple(sorted(priced, key=lambda item: -item.share)[:_MOST])


def _own(item: Decision) -> bool:
    """Whether it was changed, and has a gain of its own."""
    return item.changed and isinstance(item.gain, Estimate) and item.gain.value > 0


def _gain_of(report: Report, item: Decision) -> Gain | None:
    if item.taken is None or isinstance(item.gain, Missing):
        return None
    return Gain(
        title=place(report, item.row.nodes),
        where=some(item.row.nodes, 5),
        how=summary_of(report, item.taken.passes),
        value=named(item.taken),
        gain=item.gain,
        share=_share(report, item.gain.value),
        damage=item.taken.damage,
        reason="exact: the same function" if item.taken.risk == "exact" else _more(item.row.reason),
    )


def _fold_gain(report: Report) -> Gain | None:
    """All folds together: from the input to the plan that keeps everything else, in figures of one source."""
    folds = [row for row in report.choices if row.kind == _FOLDS and row.chosen != KEEP]
    base = next((row for row in report.pareto if not row.values), None)
    known = [
        figure for figure in (latencies(report)[0], report.before.latency_us) if isinstance(figure, Estimate)
    ]
    if not folds or base is None or not known:
        return None
    before = next((figure for figure in known if figure.source == base.latency_us.source), known[-1])
    source = (before + base.latency_us).source  # of two sources: predicted
    gain = Estimate(before.value - base.latency_us.value, 0.0, source)
    first = next((value for value in folds[0].values if value.name == folds[0].chosen), None)
    passes = first.passes if first else ()
    gone = sum(row.nodes_removed - row.nodes_added for row in report.passes if row.name in passes)
    return Gain(
        title=f"{len(folds)} fold{'s' if len(folds) > 1 else ''} all over the model",
        where="",
        how=summary_of(report, passes),
        value=", ".join(passes),
        gain=gain,
        share=_share(report, gain.value),
        damage=Estimate(0.0, 0.0, before.source),
        reason=f"exact, with {gone} operators fewer" if gone else folds[0].reason,
    )


@dataclass(frozen=True)
class Kept:
    """Choices that were left as they are for one reason. title: where the first of them is."""

    title: str
    reason: str
    choices: int


def kept(report: Report) -> tuple[Kept, ...]:
    """Why nothing was changed: at most five reasons, those that speak of most choices first."""
    found: dict[str, list[ChoiceRow]] = {}
    for row in report.choices:
        found.setdefault(row.reason, []).append(row)
    rows = [Kept(place(report, rows[0].nodes), reason, len(rows)) for reason, rows in found.items()]
    return tuple(sorted(rows, key=lambda row: -row.choices)[:_MOST])


def _share(report: Report, gain: float) -> float:
    before = report.before.latency_us
    return gain / before.value if isinstance(before, Estimate) and before.value else 0.0


def summary_of(report: Report, passes: Sequence[str]) -> str:
    """What these passes turn into what; "" where the report does not tell."""
    known = {row.name: row.summary for row in report.passes}
    return "; ".join(known[name] for name in passes if known.get(name))


def _more(reason: str) -> str:
    """A reason without the figures that stand beside it already."""
    return reason.rpartition("; ")[2] if reason.startswith("by itself ") else reason


def place(report: Report, nodes: Sequence[str]) -> str:
    """Where in the model some nodes are: the beginning that their names alone share, or the first of them."""
    shared = ""
    for parts in zip(*(_PARTS.findall(name) for name in nodes), strict=False):
        if len(nodes) < 2 or len(set(parts)) > 1:
            break
        shared += parts[0]
    prefix = shared.rstrip("./:")
    if not prefix:
        return some(nodes, 2)
    everyone = [name for row in report.subgraphs.before for name in row.nodes]
    inside = sum(name.startswith(shared) for name in everyone)
    return f"{prefix} ({len(nodes)} operators)" if 2 * inside < len(everyone) else some(nodes, 2)


def named(value: ValueRow) -> str:
    """A value and who offers it: dense (densify_depthwise)."""
    return f"{value.name} ({', '.join(value.passes)})" if value.passes else value.name


def some(names: Sequence[str], most: int = 3) -> str:
    """The first names of a list, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


@dataclass(frozen=True)
class PairRow:
    """Subgraphs before and after that do the same work."""

    label: str
    before: tuple[str, str]
    after: tuple[str, str]
    figures: tuple[float, float]


def pair_rows(report: Report) -> tuple[PairRow, ...]:
    """The table below the chart of latencies, longest first."""
    return tuple(_pair_row(pair) for pair in sorted(pairs(report), key=lambda pair: -pair.longest))


def _pair_row(pair: Pair) -> PairRow:
    return PairRow(pair.label, _side(pair.before), _side(pair.after), (total(pair.before), total(pair.after)))


def _side(rows: Sequence[SubgraphRow]) -> tuple[str, str]:
    """Latency in words, and what bounds most of it."""
    if not rows:
        return "none", ""
    reasons = [row.latency_us.unavailable for row in rows if isinstance(row.latency_us, Missing)]
    lone = rows[0].latency_us if len(rows) == 1 else None
    text = words.latency(lone) if lone else words.microseconds(total(rows))
    if reasons and lone is None:
        text += f", {len(reasons)} without a price: {reasons[0]}"
    if len(rows) > 1:
        text += f" in {len(rows)} subgraphs"
    longest = max(rows, key=latency)
    return text, BOUND_NAMES.get(longest.bound, longest.bound) if latency(longest) else ""


def bound_shares(rows: Sequence[SubgraphRow]) -> str:
    """What bounds the time, as shares: "62% the MAC array, 38% off-chip memory"."""
    whole = total(rows)
    if not whole:
        return ""
    shares = dict.fromkeys(BOUND_NAMES, 0.0)
    for row in rows:
        shares[row.bound] = shares.get(row.bound, 0.0) + latency(row) / whole
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    return ", ".join(
        f"{100 * share:.0f}% {BOUND_NAMES.get(name, name)}" for name, share in ordered if share > 0.005
    )


@dataclass(frozen=True)
class SkippedGroup:
    """Places that one pass left for one reason."""

    pass_name: str
    reason: str
    nodes: tuple[str, ...]


def skipped_groups(rows: Sequence[SkippedRow]) -> tuple[SkippedGroup, ...]:
    """In order of first appearance."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        found.setdefault((row.pass_, row.reason), []).append(row.node)
    return tuple(SkippedGroup(name, reason, tuple(nodes)) for (name, reason), nodes in found.items())
