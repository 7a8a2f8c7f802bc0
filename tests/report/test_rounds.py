"""The plans that were measured stand in the report, with the link that they gave."""

from __future__ import annotations

from hwopt.accuracy import Drop
from hwopt.damage.link import Link, Point
from hwopt.damage.measure import Damage
from hwopt.decide import Decision, Round
from hwopt.estimate import Estimate, Source
from hwopt.report.rounds import link_info, round_lines, round_rows
from hwopt.report.schema import LinkInfo, Missing
from hwopt.scope import Price
from hwopt.search.problem import Outcome
from hwopt.settings import AccuracyLimit

LIMIT = AccuracyLimit("max_drop", 0.02)


def decision(link: Link | None) -> Decision:
    drop = Drop(0.015, 0.0, (0.015, 0.015))
    damage = Damage("kl", 0.03, 0.95, "top1", 0.9, 0.885, drop, 100, (0.03,))
    price = Price(Estimate(800.0, 1.0, Source.PREDICTED), damage=0.04)
    measured = Round({"a": "x", "b": "y"}, price, damage, True)
    return Decision({"a": "x"}, price, Outcome({}, "milp", 1, 0.0, 0.0), damage, (measured,), link)


def test_a_round_tells_what_was_added_up_measured_and_suffered() -> None:
    (row,) = round_rows(decision(None), LIMIT)
    assert (row.values, row.added_up, row.joint, row.suffered) == (2, 0.04, 0.03, 0.015)
    assert row.within_limit
    assert "2 values" in round_lines((row,), Missing("none"))[0]


def test_the_link_stands_beside_them() -> None:
    link = link_info(decision(Link(0.75, 0.5, (Point(0.04, 0.03, 0.015),))))
    assert link == LinkInfo(0.75, 0.5, 1)
    assert "from 1 plans" in round_lines((), link)[0]
    assert isinstance(link_info(decision(None)), Missing)
