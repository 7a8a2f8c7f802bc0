"""`hwopt check`: conditions that a report must meet, each held on the figure that counts for it.

A condition whose figure is missing is not met: nobody knows is no yes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from hwopt.estimate import Estimate, Source
from hwopt.limits import Bound
from hwopt.report import counted, words
from hwopt.report.schema import Figure, Limit, Missing, Outcome, Report

NOISE = 1e-6  # reports hold seven digits
_RANK = {Source.PREDICTED.value: 0, Source.COMPILED.value: 1, Source.MEASURED.value: 2}
_SHOWN = 3
Show = Callable[[float], str]


@dataclass(frozen=True)
class Asked:
    """What is asked of a report; None: nothing. Bounds are of microseconds and bytes.

    max_spread: of the latency, as a share of it. precision: of which accuracy speaks; "": the file's own.
    sha256: of the file that the report must be about, under the name in `file`.
    """

    max_latency: Bound | None = None
    max_memory: Bound | None = None
    max_size: Bound | None = None
    max_footprint: Bound | None = None
    max_drop: float | None = None
    max_divergence: float | None = None
    max_spread: float | None = None
    require_source: str | None = None
    target: str | None = None
    outcome: str | None = None
    file: str | None = None
    sha256: str = ""
    precision: str = ""
    allow_unpriced: bool = False


@dataclass(frozen=True)
class Condition:
    """One condition, and whether it is met.

    value, limit: microseconds, bytes, a share or a text; None where there is no figure. source: of the
    value, "" where it is no figure. shown: value and limit for people. why: it has no figure, or what else
    a reader must know.
    """

    name: str
    value: float | str | None
    limit: float | str
    source: str
    met: bool
    shown: tuple[str, str]
    why: str = ""


def conditions(report: Report, asked: Asked) -> tuple[Condition, ...]:
    """Every condition that was asked for, in a fixed order."""
    return tuple(_conditions(report, asked))


def _conditions(report: Report, asked: Asked) -> Iterator[Condition]:
    if asked.target is not None:
        yield _same("target", report.target.name, asked.target)
    if asked.outcome is not None:
        yield _same("outcome", report.outcome.value, asked.outcome)
    if asked.file is not None:
        yield _model(report, asked)
    if asked.max_latency is not None:
        yield _latency(report, asked.max_latency, asked.allow_unpriced)
    yield from _sizes(report, asked)
    yield from _accuracy(report, asked)
    if asked.max_spread is not None:
        yield _spread(report, asked.max_spread)
    if asked.require_source is not None:
        yield _source(report, asked.require_source)


def _same(name: str, value: str, wanted: str) -> Condition:
    return Condition(name, value, wanted, "", value == wanted, (value, wanted))


def _model(report: Report, asked: Asked) -> Condition:
    """Whether the file is the one that was written, or, of an analysis, the one that was analysed."""
    written = report.model if report.outcome == Outcome.ANALYSED else report.output
    if isinstance(written, Missing):
        return _missing("model", asked.sha256, _short(asked.sha256), written.unavailable)
    met = written.sha256 == asked.sha256
    why = "" if met else f"{asked.file} is not the file that the report is about"
    shown = (_short(written.sha256), _short(asked.sha256))
    return Condition("model", written.sha256, asked.sha256, "", met, shown, why)


def _short(sha256: str) -> str:
    return sha256[:12]


def _missing(name: str, limit: float | str, shown: str, why: str) -> Condition:
    return Condition(name, None, limit, "", False, ("unavailable", shown), why)


def _latency(report: Report, bound: Bound, allow_unpriced: bool) -> Condition:
    """A prediction counts with its spread, an oracle's own figure as it is."""
    figures = counted.latency(report)
    before, after = figures.before, figures.after
    added = not figures.whole and not isinstance(after, Missing) and after.spread > 0
    if added and isinstance(after, Estimate):
        after = replace(after, value=after.value + after.spread)
    found = _bounded("max_latency", before, after, bound, _time, "with its spread" if added else "")
    if not figures.unpriced or allow_unpriced or found.value is None:
        return found
    more = " ..." if len(figures.unpriced) > _SHOWN else ""
    names = ", ".join(figures.unpriced[:_SHOWN]) + more
    why = f"it leaves out what has no price ({names}); --allow-unpriced accepts that"
    return replace(found, met=False, why=why)


def _sizes(report: Report, asked: Asked) -> Iterator[Condition]:
    before, after = report.before, counted.delivered(report)
    rows = (
        ("max_memory", asked.max_memory, before.peak_bytes, after.peak_bytes),
        ("max_size", asked.max_size, before.weight_bytes, after.weight_bytes),
        ("max_footprint", asked.max_footprint, counted.footprint(before), counted.footprint(after)),
    )
    for name, bound, old, new in rows:
        if bound is not None:
            yield _bounded(name, old, new, bound, words.byte_count)


def _bounded(name: str, before: Figure, after: Figure, bound: Bound, show: Show, why: str = "") -> Condition:
    """A figure under a bound, which may be relative to the figure before."""
    change = f"{100 * (bound.value - 1):+.4g}%"
    if not bound.relative:
        return _at_most(name, after, bound.value, show(bound.value), show, why)
    missing = next((figure for figure in (after, before) if isinstance(figure, Missing)), None)
    if missing is not None or isinstance(before, Missing):
        return _missing(name, change, change, missing.unavailable if missing else "")
    limit = bound.against(before.value)
    return _at_most(name, after, limit, f"{show(limit)} ({change})", show, why)


def _accuracy(report: Report, asked: Asked) -> Iterator[Condition]:
    precision = asked.precision or counted.written_precision(report)
    rows = (
        ("max_drop", asked.max_drop, counted.drop(report, precision)),
        ("max_divergence", asked.max_divergence, counted.divergence(report, precision)),
    )
    for name, limit, figure in rows:
        if limit is not None:
            held = _held(report, name) if precision == counted.written_precision(report) else None
            found = figure if held is None else held
            yield _at_most(name, found, limit, _number(limit), _number, f"in {precision}")


def _held(report: Report, name: str) -> Estimate | None:
    """The figure that the run itself held its limit on."""
    limits: list[Limit] = [row for row in report.budget.limits if row.name == name]
    if not limits or isinstance(limits[0].value, Missing):
        return None
    return Estimate(limits[0].value, 0.0, Source(limits[0].source))


def _spread(report: Report, limit: float) -> Condition:
    """How far the latency may be off, as a share of it."""
    found = counted.latency(report).after
    share: Figure = found
    if isinstance(found, Estimate):
        share = Estimate(found.spread / found.value if found.value else 0.0, 0.0, found.source)
    return _at_most("max_spread", share, limit, _percent(limit), _percent, "of the latency")


def _source(report: Report, wanted: str) -> Condition:
    """compiled is more than predicted, and measured more than compiled."""
    found = counted.latency(report).after
    if isinstance(found, Missing):
        return _missing("require_source", wanted, wanted, found.unavailable)
    met = _RANK.get(found.source.value, 0) >= _RANK[wanted]
    why = "" if met else "of the latency"
    return Condition("require_source", found.source.value, wanted, "", met, (found.source.value, wanted), why)


def _at_most(
    name: str, figure: Figure, limit: float, limit_shown: str, show: Show, why: str = ""
) -> Condition:
    if isinstance(figure, Missing):
        return _missing(name, limit, limit_shown, figure.unavailable)
    met = figure.value <= limit + NOISE * abs(limit)
    return Condition(
        name, figure.value, limit, figure.source.value, met, (show(figure.value), limit_shown), why
    )


def _time(value: float) -> str:
    return words.microseconds(value, 6)


def _number(value: float) -> str:
    return f"{value:.4g}"


def _percent(value: float) -> str:
    return f"{100 * value:.3g}%"
