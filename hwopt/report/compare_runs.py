"""Two reports  -->  what differs between the runs: what went in, what came out, and what was decided.

Figures are compared with what is known of their error. Predictions of one cost model are wrong together
where they speak of equal subgraphs, so only subgraphs that the two results do not share count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from math import hypot

from hwopt.estimate import Estimate, Source, total
from hwopt.report import counted, words
from hwopt.report.compare_choices import ChoiceChange, choice_changes
from hwopt.report.compare_inputs import InputChange, input_changes, same_pricing, says_all
from hwopt.report.compare_subgraphs import SubgraphChange, subgraph_changes
from hwopt.report.schema import AccuracyRow, Figure, Missing, Outcome, Report, SubgraphRow

SURE = 2.0  # standard deviations from which a difference is more than chance
_ROUNDING = 1e-6  # reports hold seven digits
_DETERMINED = (Source.COMPUTED, Source.COMPILED)


class Verdict(StrEnum):
    """What a difference is worth."""

    SAME = "same"
    CERTAIN = "certain"  # of what is counted, or what a compiler says the same way every time
    WITHIN = "within the noise"
    BEYOND = "beyond the noise"
    MIXED = "not comparable"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class ResultChange:
    """One figure of both runs. change: b - a; its spread is one standard deviation."""

    what: str
    unit: str
    a: Figure
    b: Figure
    change: Estimate | Missing
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """Everything that differs between two runs; a is the first. notes: what speaks against comparing them."""

    inputs: tuple[InputChange, ...]
    results: tuple[ResultChange, ...]
    choices: tuple[ChoiceChange, ...]
    subgraphs: tuple[SubgraphChange, ...]
    notes: tuple[str, ...]


def compare_runs(a: Report, b: Report) -> Comparison:
    """What differs from a to b."""
    return Comparison(
        inputs=input_changes(a, b),
        results=tuple(_results(a, b)),
        choices=choice_changes(a, b),
        subgraphs=subgraph_changes(a, b),
        notes=tuple(_notes(a, b)),
    )


def _notes(a: Report, b: Report) -> Iterator[str]:
    if a.model.sha256 != b.model.sha256:
        yield "the runs speak of different models: choices are matched by structure, subgraphs by node names"
    if a.target.name != b.target.name:
        yield f"the runs speak of different targets, {a.target.name} and {b.target.name}"
    elif a.target.config != b.target.config:
        yield f"{a.target.name} is not the same in both: its hardware, fusion or oracle tables differ"
    for name, report in (("A", a), ("B", b)):
        if not says_all(report):
            yield f"{name} is of an older hwopt: it does not say which settings, data and versions it had"
        if report.outcome == Outcome.ANALYSED and a.outcome != b.outcome:
            yield f"{name} is an analysis: its figures are those of the model as it came"


def _results(a: Report, b: Report) -> Iterator[ResultChange]:
    """Figures of the inputs where they differ, then those of the results."""
    rows = [_row(*item) for item in _figures(a, b, before=True)]
    if any(report.outcome != Outcome.ANALYSED for report in (a, b)):
        yield from (row for row in rows if row.verdict not in (Verdict.SAME, Verdict.UNKNOWN))
    one, two = counted.delivered(a).latency_us, counted.delivered(b).latency_us
    spread = _unshared_spread(_after(a), _after(b)) if same_pricing(a, b) else None
    yield _row("latency", "us", one, two, spread)
    yield from (_row(*item) for item in _figures(a, b, before=False))
    yield from _accuracy(a, b)


def _figures(a: Report, b: Report, before: bool) -> Iterator[tuple[str, str, Figure, Figure]]:
    one, two = (a.before, b.before) if before else (counted.delivered(a), counted.delivered(b))
    of = " of the input" if before else ""
    if before:
        yield f"latency{of}", "us", one.latency_us, two.latency_us
    whole = [counted.whole_latency(report, before) for report in (a, b)]
    if any(isinstance(figure, Estimate) for figure in whole):
        yield f"latency{of}, whole model by the oracle", "us", whole[0], whole[1]
    yield f"peak memory{of}", "bytes", one.peak_bytes, two.peak_bytes
    yield f"weight size{of}", "bytes", one.weight_bytes, two.weight_bytes
    yield f"MACs{of}", "", counted.count(one.macs), counted.count(two.macs)
    yield f"nodes{of}", "", counted.count(one.nodes), counted.count(two.nodes)


def _after(report: Report) -> tuple[SubgraphRow, ...]:
    return report.subgraphs.after or report.subgraphs.before


def _row(what: str, unit: str, a: Figure, b: Figure, spread: float | None = None) -> ResultChange:
    """spread: of the change, where it is less than what both figures have for themselves."""
    if isinstance(a, Missing) or isinstance(b, Missing):
        why = next(f"{side}: {f.unavailable}" for side, f in (("A", a), ("B", b)) if isinstance(f, Missing))
        same = isinstance(a, Missing) and isinstance(b, Missing)
        return ResultChange(what, unit, a, b, Missing(why), Verdict.SAME if same else Verdict.UNKNOWN)
    noise = hypot(a.spread, b.spread) if spread is None else spread
    change = Estimate(b.value - a.value, noise, _weaker(a.source, b.source))
    if a.source != b.source and a.value != b.value:
        return ResultChange(what, unit, a, b, change, Verdict.MIXED)
    return ResultChange(what, unit, a, b, change, _verdict(change, max(abs(a.value), abs(b.value))))


def _verdict(change: Estimate, scale: float) -> Verdict:
    if abs(change.value) <= _ROUNDING * scale:
        return Verdict.SAME
    if change.spread == 0:
        return Verdict.CERTAIN if change.source in _DETERMINED else Verdict.UNKNOWN
    return Verdict.BEYOND if abs(change.value) > SURE * change.spread else Verdict.WITHIN


def _weaker(a: Source, b: Source) -> Source:
    return a if a == b else Source.PREDICTED


def _unshared_spread(a: Iterable[SubgraphRow], b: Iterable[SubgraphRow]) -> float:
    """Of the difference of two sums, by the subgraphs that only one of them has."""
    one, two = (_priced(rows) for rows in (a, b))
    return hypot(*(total((only).elements()).spread for only in (one - two, two - one)))


def _priced(rows: Iterable[SubgraphRow]) -> Counter[Estimate]:
    return Counter(row.latency_us for row in rows if isinstance(row.latency_us, Estimate))


def _accuracy(a: Report, b: Report) -> Iterator[ResultChange]:
    """The same metric at the same precision in both; what one run alone measured is named."""
    one, two = (_by_metric(report) for report in (a, b))
    for key in dict.fromkeys((*one, *two)):
        metric, precision, against = key
        what = f"{metric}, {precision}" + ("" if against == counted.FP32 else f" against {against}")
        unit = "share" if words.is_share(metric) else ""
        yield _row(what, unit, _after_figure(one.get(key), a), _after_figure(two.get(key), b))


def _by_metric(report: Report) -> dict[tuple[str, str, str], AccuracyRow]:
    rows = () if isinstance(report.accuracy, Missing) else report.accuracy
    return {(row.metric, row.precision, row.against): row for row in rows}


def _after_figure(row: AccuracyRow | None, report: Report) -> Figure:
    """The figure of the result, with the error of its drop."""
    if row is None:
        return Missing("not measured") if not isinstance(report.accuracy, Missing) else report.accuracy
    if isinstance(row.after, Missing):
        return row.after
    low, high = (0.0, 0.0) if isinstance(row.interval, Missing) else row.interval
    return Estimate(row.after, (high - low) / (2 * counted.TWO_SIDED), Source.MEASURED)
