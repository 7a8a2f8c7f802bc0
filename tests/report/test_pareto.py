"""The trade-off in the report: what is on the front, what was measured, and few rows for people."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

from hwopt.accuracy import Drop
from hwopt.damage.link import Link
from hwopt.damage.measure import Damage
from hwopt.decide import Decision, Round
from hwopt.estimate import Estimate, Source
from hwopt.report.pareto import SHOWN_ROWS, pareto_rows, pareto_table, spread
from hwopt.report.schema import ParetoRow
from hwopt.scope import Price
from hwopt.search.problem import Outcome, Point


def price(latency: float, damage: float, weight: int = 100, peak: int = 50) -> Price:
    return Price(Estimate(latency, 1.0, Source.PREDICTED), weight, ((0, peak),), damage=damage)


def plan(name: str) -> dict[str, str]:
    return {} if name == "keep" else {"form": name}


MEASURED = Damage("kl", 0.03, 0.9, "top1", 0.9, 0.88, Drop(0.02, 0.01, (0.0, 0.04)), 60, (0.03,))
FRONT = (Point(plan("a"), price(8, 0.1)), Point(plan("b"), price(7, 0.2)))
BEATEN = Point(plan("worse"), price(9, 0.3))


def decision(chosen: str, at: Price) -> Decision:
    outcome = Outcome(plan(chosen), "milp", 3, front=(BEATEN, Point(plan("keep"), price(10, 0.0))))
    rounds = (Round(plan("a"), price(8, 0.1), MEASURED, True),)
    return Decision(plan(chosen), at, outcome, MEASURED, rounds, Link(0.5, 1.0), front=FRONT)


def test_the_front_is_by_latency_with_what_was_measured_marked() -> None:
    rows = pareto_rows(decision("a", price(8, 0.1)))
    assert [dict(row.values) for row in rows] == [plan("b"), plan("a"), {}]
    assert [row.measured for row in rows] == [False, True, False]
    assert [row.chosen for row in rows] == [False, True, False]
    assert [row.drop for row in rows] == [None, 0.02, None]
    # Measured together, or half of what is added up, as the link says.
    assert [row.damage for row in rows] == [0.1, 0.03, 0.0]
    assert {row.footprint_bytes for row in rows} == {150}


def test_a_plan_that_is_beaten_stays_where_it_was_chosen() -> None:
    rows = pareto_rows(decision("worse", price(9, 0.3)))
    assert [dict(row.values) for row in rows if row.chosen] == [plan("worse")]


def test_less_memory_is_a_reason_to_be_on_the_front() -> None:
    small = Point(plan("small"), price(9.5, 0.15, weight=10))
    made = replace(decision("a", price(8, 0.1)), front=(*FRONT, small))
    assert plan("small") in [dict(row.values) for row in pareto_rows(made)]


def test_few_rows_for_people_span_the_front() -> None:
    rows = [
        ParetoRow(Estimate(float(i), 0.0, Source.PREDICTED), 100.0 - i, 0, 0, 0, {}, measured=i == 33)
        for i in range(100)
    ]
    shown = [int(row.latency_us.value) for row in spread(rows, SHOWN_ROWS)]
    assert len(shown) == SHOWN_ROWS
    assert shown == sorted(shown)
    assert {0, 33, 99} <= set(shown)
    gaps = [b - a for a, b in pairwise(shown)]
    assert max(gaps) <= math.ceil(99 / (SHOWN_ROWS - 2))
    assert spread(rows[:5], SHOWN_ROWS) == rows[:5]
    assert len(pareto_table(rows)) == SHOWN_ROWS
