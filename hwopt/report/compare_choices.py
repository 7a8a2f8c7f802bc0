"""Choices that two runs decided differently."""

from __future__ import annotations

from dataclasses import dataclass

from hwopt.estimate import Estimate, Source
from hwopt.report.schema import ChoiceRow, Figure, Missing, Outcome, Report, ValueRow

_KEEP = "keep"


@dataclass(frozen=True)
class Decided:
    """What one run decided. gain_us: what the value saves by itself, as predicted."""

    value: str
    gain_us: Figure
    damage: Figure
    reason: str


@dataclass(frozen=True)
class ChoiceChange:
    """A choice, and what both runs made of it."""

    id: str
    kind: str
    nodes: tuple[str, ...]
    a: Decided | Missing
    b: Decided | Missing


def choice_changes(a: Report, b: Report) -> tuple[ChoiceChange, ...]:
    """Choices with another value, those that matter most first; one that only one run has counts as kept."""
    if Outcome.ANALYSED in (a.outcome, b.outcome):
        return ()  # nothing was decided there
    one, two = ({row.id: row for row in report.choices} for report in (a, b))
    rows = [
        ChoiceChange(id_, _any(one, two, id_).kind, _any(one, two, id_).nodes, _of(one, id_), _of(two, id_))
        for id_ in dict.fromkeys((*one, *two))
        if _value(one, id_) != _value(two, id_)
    ]
    return tuple(sorted(rows, key=lambda row: -_weight(row)))


def _any(one: dict[str, ChoiceRow], two: dict[str, ChoiceRow], id_: str) -> ChoiceRow:
    return one.get(id_) or two[id_]


def _value(rows: dict[str, ChoiceRow], id_: str) -> str:
    return rows[id_].chosen if id_ in rows else _KEEP


def _of(rows: dict[str, ChoiceRow], id_: str) -> Decided | Missing:
    row = rows.get(id_)
    if row is None:
        return Missing("no such choice in this run")
    by_name = {value.name: value for value in row.values}
    taken = by_name.get(row.chosen)
    damage = Missing("no such value in this run") if taken is None else taken.damage
    return Decided(row.chosen, _gain(by_name.get(_KEEP), taken), damage, row.reason)


def _gain(kept: ValueRow | None, taken: ValueRow | None) -> Figure:
    if kept is None or taken is None:
        return Missing("no such value in this run")
    for figure in (kept.latency_us, taken.latency_us):
        if isinstance(figure, Missing):
            return figure
    assert isinstance(kept.latency_us, Estimate)
    assert isinstance(taken.latency_us, Estimate)
    return Estimate(kept.latency_us.value - taken.latency_us.value, 0.0, Source.PREDICTED)


def _weight(row: ChoiceChange) -> float:
    """How far the gains are apart, in microseconds."""
    gains = [
        side.gain_us.value if isinstance(side, Decided) and isinstance(side.gain_us, Estimate) else 0.0
        for side in (row.a, row.b)
    ]
    return abs(gains[0] - gains[1])
