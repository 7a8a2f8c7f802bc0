"""A refusal says which limit it is, and what comes closest to it."""

from __future__ import annotations

from hwopt.decide import NearMiss
from hwopt.held import Checked
from hwopt.refusal import closest_plan
from hwopt.settings import AccuracyLimit

DROP = AccuracyLimit("max_drop", 0.01)


def test_a_plan_beyond_a_hard_limit() -> None:
    nearest = NearMiss({"a": "x"}, (Checked("max_latency", 21_550.0, 24_510.0, "compiled"),), 0.0)
    said = "--max-latency 21.55 ms cannot be met: the closest plan has 24.51 ms (a=x)"
    assert closest_plan(nearest, None) == said


def test_a_plan_within_the_hard_limits_that_costs_too_much() -> None:
    """Nobody should read that 90 is beyond 100."""
    nearest = NearMiss({"a": "x"}, (Checked("max_size", 100.0, 90.0, "computed"),), 0.3)
    said = closest_plan(nearest, DROP)
    assert said.startswith("--max-size 100 B cannot be met within --max-drop 0.01: the closest plan has 90")
    assert "damage of 0.3" in said
