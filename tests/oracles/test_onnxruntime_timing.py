"""Minima taken in turns, and what is said of their noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, cycle, repeat

import pytest

from hwopt.oracles.onnxruntime_timing import Run, Subject, interleave


def scripted(times: Sequence[int], calls: list[str], name: str) -> Run:
    """A run that takes these nanoseconds, one after the other and from the start again."""
    ahead: Iterator[int] = cycle(times)

    def run() -> int:
        calls.append(name)
        return next(ahead)

    return run


def test_the_fastest_run_counts_and_warm_up_does_not() -> None:
    slow_start = chain([1], repeat(5_000_000))
    (timing,) = interleave([Subject(lambda: next(slow_start))], budget_ms=0, rounds=2, warmup=1)
    assert timing.best_us == 5000.0
    assert timing.noise == 0.0


def test_subjects_take_turns_until_each_has_had_its_time() -> None:
    calls: list[str] = []
    subjects = [
        Subject(scripted([2_000_000], calls, "short"), lambda: None),
        Subject(scripted([9_000_000], calls, "long"), lambda: None),
    ]
    timings = interleave(subjects, budget_ms=18, rounds=1, warmup=0)
    assert calls == ["short", "long", "short", "long", *["short"] * 7]
    assert [timing.runs for timing in timings] == [9, 2]


def test_without_eviction_each_visit_has_a_warm_run() -> None:
    calls: list[str] = []
    cold_first = scripted([9_000_000, 6_000_000], calls, "net")
    (timing,) = interleave([Subject(cold_first)], budget_ms=0, rounds=3, warmup=0)
    assert len(calls) == 6
    assert timing.best_us == 6000.0


def test_noise_is_the_spread_of_independent_minima() -> None:
    """Four sets of visits with minima 100, 102, 104 and 106: standard deviation sqrt(5) of 100."""
    run = scripted([100_000, 102_000, 104_000, 106_000], [], "x")
    (timing,) = interleave([Subject(run, lambda: None)], budget_ms=0, rounds=8, warmup=0)
    assert timing.noise == pytest.approx(5**0.5 / 100)
