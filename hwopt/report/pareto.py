"""The trade-off that the search saw: plans that no other beats in latency, damage and footprint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from hwopt.decide import Decision, Round
from hwopt.report import words
from hwopt.report.schema import ParetoRow
from hwopt.scope import Assignment, Price

MOST_ROWS = 300
SHOWN_ROWS = 12  # in the table for people
Item = TypeVar("Item")
_Key = frozenset[tuple[str, str]]


def pareto_rows(decision: Decision) -> tuple[ParetoRow, ...]:
    """The front, every plan that was measured, and the one that was chosen; by latency.

    Damage that was not measured is what the measured plans say of the added-up one (`hwopt.damage.link`), so
    that both kinds can be compared.
    """
    share = 1.0 if decision.link is None else decision.link.joint_per_added_up
    chosen = _key(decision.assignment)
    found: dict[_Key, ParetoRow] = {}
    for point in (*decision.front, *decision.outcome.front):
        found.setdefault(_key(point.assignment), _row(point.assignment, point.price, share))
    for measured in decision.rounds:
        found[_key(measured.assignment)] = _measured(measured)
    found.setdefault(chosen, _row(decision.assignment, decision.predicted, share))
    found[chosen] = replace(found[chosen], chosen=True)
    rows = list(found.values())
    kept = [row for row in rows if row.chosen or row.measured or not _beaten(row, rows)]
    return tuple(spread(sorted(kept, key=_figures), MOST_ROWS))


def pareto_table(rows: Sequence[ParetoRow]) -> list[list[str]]:
    """A few rows for people: latency, damage, drop, memory, changes, and how each is known."""
    return [
        [
            words.latency(row.latency_us),
            words.number(row.damage, 3),
            "-" if row.drop is None else words.number(row.drop, 3),
            words.byte_count(row.peak_bytes),
            words.byte_count(row.weight_bytes),
            str(len(row.values)),
            ("measured" if row.measured else "predicted") + (", **chosen**" if row.chosen else ""),
        ]
        for row in spread(rows, SHOWN_ROWS)
    ]


def spread(rows: Sequence[ParetoRow], most: int) -> list[ParetoRow]:
    """At most so many rows: what was measured or chosen, and an even choice of the others in their order."""
    kept = [row for row in rows if row.measured or row.chosen]
    others = [row for row in rows if not (row.measured or row.chosen)]
    room = max(most - len(kept), 0)
    picked = {id(row) for row in (*kept, *_evenly(others, room))}
    return [row for row in rows if id(row) in picked]


def _evenly(items: Sequence[Item], count: int) -> list[Item]:
    """So many of them, both ends among them where there is room for two."""
    if len(items) <= count:
        return list(items)
    if count < 2:
        return list(items[:count])
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def _key(assignment: Assignment) -> _Key:
    return frozenset(assignment.items())


def _row(assignment: Assignment, price: Price, share: float) -> ParetoRow:
    return ParetoRow(
        latency_us=price.latency_us,
        damage=price.damage * share,
        footprint_bytes=price.peak_bytes + price.weight_bytes,
        weight_bytes=price.weight_bytes,
        peak_bytes=price.peak_bytes,
        values=dict(sorted(assignment.items())),
    )


def _measured(found: Round) -> ParetoRow:
    row, drop = _row(found.assignment, found.predicted, 1.0), found.damage.drop
    return replace(
        row, damage=found.damage.divergence, measured=True, drop=None if drop is None else drop.value
    )


def _beaten(row: ParetoRow, rows: Iterable[ParetoRow]) -> bool:
    """Whether another plan is nowhere worse and somewhere better."""
    mine = _figures(row)
    return any(
        theirs != mine and all(t <= m for t, m in zip(theirs, mine, strict=True))
        for theirs in map(_figures, rows)
    )


def _figures(row: ParetoRow) -> tuple[float, float, float]:
    return row.latency_us.value, row.damage, float(row.footprint_bytes)
