"""Interleaved minima: several models are run in turns, and the fastest run of each counts.

What disturbs a machine comes and goes in fractions of a second, and what it does to one model
it then does to all; back-to-back measurements of the same two models were seen to differ by a
factor of two. A minimum is taken, never a mean: nothing makes a run faster than it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import pstdev

Run = Callable[[], int]  # does the work once; its duration in nanoseconds
Before = Callable[[], None]

_GROUPS = 4  # independent sets of visits, whose minima are compared
_MOST_VISITS = 80
_VISIT_NS = 4_000_000  # of runs back to back at one visit


@dataclass(frozen=True)
class Subject:
    """A thing to time. `before` is called before each run and not counted; None: runs follow each other.

    Without `before` a visit is at least two runs back to back: the first finds cold caches.
    """

    run: Run
    before: Before | None = None


@dataclass(frozen=True)
class Timing:
    """The fastest run, and how far the minima of independent sets of visits lie apart.

    noise: standard deviation of the minima of four sets of visits, relative to the minimum.
    """

    best_us: float
    noise: float
    runs: int


def interleave(subjects: Sequence[Subject], budget_ms: float, rounds: int, warmup: int) -> list[Timing]:
    """The timing of each subject, in order: visited in turns until each has had its time.

    budget_ms: least duration of the counted runs of a subject; rounds: least number of visits.
    """
    for subject in subjects:
        for _ in range(warmup):
            _visit_once(subject)
    visits: list[list[int]] = [[] for _ in subjects]
    spent = [0] * len(subjects)
    runs = [0] * len(subjects)
    open_ones = list(range(len(subjects)))
    while open_ones:
        for i in open_ones:
            times = _visit(subjects[i])
            visits[i].append(min(times))
            spent[i] += sum(times)
            runs[i] += len(times)
        open_ones = [i for i in open_ones if not _done(len(visits[i]), spent[i], budget_ms, rounds)]
    return [_timing(best, count) for best, count in zip(visits, runs, strict=True)]


def _visit(subject: Subject) -> list[int]:
    if subject.before is not None:
        return [_visit_once(subject)]
    times = [subject.run(), subject.run()]
    while sum(times) + min(times) < _VISIT_NS:
        times.append(subject.run())
    return times


def _visit_once(subject: Subject) -> int:
    if subject.before is not None:
        subject.before()
    return subject.run()


def _done(visits: int, spent_ns: int, budget_ms: float, rounds: int) -> bool:
    return visits >= _MOST_VISITS or (visits >= rounds and spent_ns >= budget_ms * 1e6)


def _timing(best: Sequence[int], runs: int) -> Timing:
    least = min(best)
    minima = [min(best[i::_GROUPS]) for i in range(min(_GROUPS, len(best)))]
    return Timing(least / 1000.0, pstdev(minima) / max(least, 1), runs)
