"""Ladders: which rungs are measured, and what is said of those between."""

from __future__ import annotations

import math

import pytest

from hwopt.choice import Choice, Kind, Risk, Stage, Value
from hwopt.damage.ladder import between, ladders, probes


def rung(strength: float | None, risk: Risk = Risk.LOSSY, pass_name: str = "p") -> Value:
    name = f"{pass_name}{strength}"
    return Value(
        "c", Kind.WIDTH, name, pass_name, risk, Stage.PRUNE, (), lambda model: None, strength=strength
    )


def test_a_ladder_holds_the_lossy_values_of_one_pass_mildest_first() -> None:
    exact, loose = rung(0.3, Risk.EXACT), rung(None)
    values = (rung(0.5), rung(0.1), exact, loose, rung(0.2, pass_name="q"))
    found = ladders(Choice("c", Kind.WIDTH, values))
    assert [[value.strength for value in ladder] for ladder in found] == [[0.1, 0.5], [0.2]]


def test_short_ladders_are_measured_whole_and_long_ones_by_half_with_both_ends() -> None:
    assert len(probes([rung(s) for s in (0.1, 0.2, 0.3)])) == 3
    six = [rung(s) for s in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)]
    assert [value.strength for value in probes(six)] == [0.1, 0.3, 0.5, 0.6]


@pytest.mark.parametrize("power", [1.0, 2.0, 3.5])
def test_a_power_law_is_read_off_exactly(power: float) -> None:
    rungs = [rung(s) for s in (0.1, 0.25, 0.5, 0.8)]
    known = {rungs[i].name: 0.4 * (rungs[i].strength or 0) ** power for i in (0, 2, 3)}
    assert between(rungs, known, rungs[1].name) == pytest.approx(0.4 * 0.25**power)


def test_outside_the_measured_rungs_nothing_is_said() -> None:
    rungs = [rung(s) for s in (0.1, 0.25, 0.5)]
    assert between(rungs, {rungs[1].name: 0.1}, rungs[0].name) is None
    assert between(rungs, {rungs[1].name: 0.1}, rungs[2].name) is None


def test_next_to_a_rung_that_cannot_be_written_nothing_is_promised() -> None:
    rungs = [rung(s) for s in (0.1, 0.25, 0.5)]
    assert between(rungs, {rungs[0].name: 0.1, rungs[2].name: math.inf}, rungs[1].name) == math.inf


def test_no_damage_at_all_stays_none() -> None:
    rungs = [rung(s) for s in (0.1, 0.25, 0.5)]
    found = between(rungs, {rungs[0].name: 0.0, rungs[2].name: 0.0}, rungs[1].name)
    assert found is not None
    assert found <= 1e-8
