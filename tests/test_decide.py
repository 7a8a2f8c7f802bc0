"""The rounds of searching and measuring keep the limit, whatever the measurements say."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hwopt.accuracy import Drop
from hwopt.choice import KEEP, Choice, Kind, Risk, Stage, Value
from hwopt.damage import Damage
from hwopt.decide import MAX_ROUNDS, decide_lossy
from hwopt.estimate import Estimate, Source
from hwopt.scope import Assignment, Price, Problem, Scope
from hwopt.search import Budget
from hwopt.settings import AccuracyLimit


def problem_of(gains: list[float], damages: list[float]) -> Problem:
    """One choice per pair: its value saves so many microseconds at so much damage."""
    choices, scopes = [], []
    for number, (gain, damage) in enumerate(zip(gains, damages, strict=True)):
        name = f"c{number}"
        value = Value(name, Kind.FORM, "v", "t", Risk.LOSSY, Stage.FORM, (), lambda model: None)
        choices.append(Choice(name, Kind.FORM, (value,)))
        keep = Price(Estimate(100.0, 0.0, Source.PREDICTED))
        table: dict[tuple[str, ...], Price] = {
            (KEEP,): keep,
            ("v",): Price(Estimate(100.0 - gain, 0.0, Source.PREDICTED), damage=damage),
        }
        scopes.append(Scope(name, (name,), table))
    return Problem(tuple(choices), tuple(scopes), Price(Estimate(1.0, 0.0, Source.PREDICTED)))


def measured(true: Callable[[Assignment], float], calls: list[Assignment]) -> Callable[[Assignment], Damage]:
    def measure(assignment: Assignment) -> Damage:
        calls.append(assignment)
        value = true(assignment)
        drop = Drop(value, 0.0, (value, value))
        return Damage("kl", 3 * value, 1.0, "top1", 0.9, 0.9 - value, drop, 100, (value,))

    return measure


@pytest.mark.parametrize("factor", [0.05, 0.33, 1.0, 4.0])
def test_the_limit_holds_however_damage_adds_up(factor: float) -> None:
    damages = [0.01 * (i + 1) for i in range(8)]
    problem = problem_of([5.0 + i for i in range(8)], damages)
    calls: list[Assignment] = []

    def true(assignment: Assignment) -> float:
        return factor * sum(damages[int(name[1:])] for name in assignment)

    limit = AccuracyLimit("max_drop", 0.03)
    decision = decide_lossy(problem, Budget(), limit, measured(true, calls), seed=0)
    assert decision is not None
    assert true(decision.assignment) <= 0.03
    assert len(calls) <= MAX_ROUNDS
    if factor <= 1.0:
        assert decision.assignment
        assert decision.damage is not None


def test_where_everything_breaks_the_limit_nothing_is_chosen() -> None:
    problem = problem_of([5.0], [0.01])
    limit = AccuracyLimit("max_divergence", 0.02)
    decision = decide_lossy(problem, Budget(), limit, measured(lambda a: 1.0 if a else 0.0, []), seed=0)
    assert decision is not None
    assert decision.assignment == {}


def test_a_latency_limit_that_needs_too_much_damage_gives_no_plan() -> None:
    problem = problem_of([50.0], [5.0])
    budget = Budget(latency_us=60.0)
    limit = AccuracyLimit("max_drop", 0.01)
    assert decide_lossy(problem, budget, limit, measured(lambda a: 1.0 if a else 0.0, []), seed=0) is None


def test_no_plan_is_measured_twice() -> None:
    calls: list[Assignment] = []
    problem = problem_of([5.0, 6.0], [0.01, 0.5])
    limit = AccuracyLimit("max_drop", 0.01)
    decide_lossy(problem, Budget(), limit, measured(lambda a: 0.002 * len(a), calls), seed=0)
    seen = [tuple(sorted(a.items())) for a in calls]
    assert len(seen) == len(set(seen))
