"""Whether two operators ran as one, from an oracle's rows or from its times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import hypot

from hwopt.cost.fusion_pairs import Built, Case, Shape, alone, chain, reference
from hwopt.oracles.asking import measure_cached
from hwopt.oracles.cache import Cache
from hwopt.oracles.protocol import Answer, Job, Measurement, Oracle, Progress, Unmeasured
from hwopt.oracles.spread import NOISE

ALPHA = 0.5  # nn-Meter's coefficient: the share of the smaller operator that must be saved
_SIGMAS = 2.0  # how far from the threshold a difference must be to decide anything
_LONG = 3  # operators in the longer reference chain
_BATCH = 8  # answers that an interrupt may cost: a device takes seconds for one


class Verdict(StrEnum):
    """What the evidence says of one pair."""

    FUSED = "fused"
    APART = "apart"
    UNCLEAR = "unclear"


@dataclass(frozen=True)
class Pair:
    """`last` behind `first`; `first` holds more than the anchor where a chain is tried."""

    first: tuple[str, ...]
    last: str


@dataclass(frozen=True)
class Evidence:
    """One pair at one shape.

    shape: of the value between the two. how: "rows" or "times", "" where nothing was measured.
    anchor_us, follower_us: of each alone (times), or its own rows inside the pair (rows).
    pair_us: of both together. call_us: what a call costs besides its operators, counted in each
        of the three times; None where rows decided. reason: why it is unclear, "" otherwise.
    """

    pair: Pair
    shape: Shape
    how: str
    anchor_us: float | None
    follower_us: float | None
    pair_us: float | None
    call_us: float | None
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True)
class _Trial:
    """The models of one pair at one size."""

    pair: Pair
    first: Built
    both: Built


def judge_pairs(
    pairs: Sequence[Pair], cases: Sequence[Case], oracle: Oracle, cache: Cache, progress: Progress | None
) -> tuple[Evidence, ...]:
    """Evidence for every pair at every size, in order: rows where there are any, else times.

    All models are measured as they are, not as parts of a network: with neighbours on both sides,
    an operator could hide in one of those.
    """
    trials = [_trial(pair, case) for pair in pairs for case in cases]
    together = _ask([trial.both for trial in trials], oracle, cache, progress)
    hidden = [t for t, answer in zip(trials, together, strict=True) if _first_us(t, answer) == 0.0]
    alone_us = iter(_ask([trial.first for trial in hidden], oracle, cache, progress))
    found = [
        _by_rows(trial, answer, next(alone_us) if _first_us(trial, answer) == 0.0 else None)
        for trial, answer in zip(trials, together, strict=True)
    ]
    undecided = [trial for trial, evidence in zip(trials, found, strict=True) if evidence is None]
    times = iter(_by_times(undecided, oracle, cache, progress))
    return tuple(next(times) if evidence is None else evidence for evidence in found)


def _trial(pair: Pair, case: Case) -> _Trial:
    anchor, *rest = pair.first
    return _Trial(pair, chain(anchor, rest, case), chain(anchor, (*rest, pair.last), case))


def _ask(models: Sequence[Built], oracle: Oracle, cache: Cache, progress: Progress | None) -> list[Answer]:
    if not models:
        return []
    jobs = [Job(built.model) for built in models]
    return measure_cached(oracle, jobs, cache, progress, _BATCH)


def _by_rows(trial: _Trial, answer: Answer, first: Answer | None) -> Evidence | None:
    """What the rows say; None where there are none and times have to be compared.

    first: the answer for the first operator alone, where it has no row of its own in the pair:
    either its cost stands in the row of the second, or it never costs anything.
    """
    if isinstance(answer, Unmeasured):
        return _unclear(trial, answer.reason.splitlines()[0] if answer.reason else "not measured")
    last = trial.both.outputs[-1]
    missing = [name for part in trial.both.outputs for name in part if name in answer.unpriced]
    if missing:
        which = trial.pair.last if missing[0] in last else trial.pair.first[-1]
        return _unclear(trial, f"the oracle has no figure for {which}")
    if not answer.rows:
        return None
    if isinstance(first, Unmeasured) or (first is not None and not first.latency_us):
        return _unclear(trial, f"{trial.pair.first[-1]} costs nothing by itself")
    first_us, last_us = _first_us(trial, answer), _rows_of(answer, last)
    verdict = Verdict.APART if first_us and last_us else Verdict.FUSED
    return Evidence(
        trial.pair, trial.first.shape, "rows", first_us, last_us, answer.latency_us, None, verdict
    )


def _first_us(trial: _Trial, answer: Answer) -> float | None:
    """What the rows say of everything before the last operator; None where there are no rows."""
    if isinstance(answer, Unmeasured) or not answer.rows:
        return None
    return _rows_of(answer, [name for part in trial.both.outputs[:-1] for name in part])


def _rows_of(answer: Measurement, names: Sequence[str]) -> float:
    return sum(row.latency_us for row in answer.rows if row.output in names)


def _unclear(trial: _Trial, reason: str) -> Evidence:
    return Evidence(trial.pair, trial.first.shape, "", None, None, None, None, Verdict.UNCLEAR, reason)


def _by_times(
    trials: Sequence[_Trial], oracle: Oracle, cache: Cache, progress: Progress | None
) -> list[Evidence]:
    """Compares the times of each pair; everything that is needed is asked for at once."""
    if not trials:
        return []
    models = [
        built
        for trial in trials
        for built in (
            trial.both,
            trial.first,
            alone(trial.pair.last, trial.first.shape),
            reference(trial.first.shape, 1),
            reference(trial.first.shape, _LONG),
        )
    ]
    answers = _ask(models, oracle, cache, progress)
    return [_compared(trial, answers[5 * i : 5 * i + 5]) for i, trial in enumerate(trials)]


@dataclass(frozen=True)
class _Time:
    """A time and one standard deviation of it, in microseconds."""

    us: float
    spread: float

    def __add__(self, other: _Time) -> _Time:
        return _Time(self.us + other.us, hypot(self.spread, other.spread))

    def __mul__(self, factor: float) -> _Time:
        return _Time(self.us * factor, self.spread * abs(factor))


def _compared(trial: _Trial, answers: Sequence[Answer]) -> Evidence:
    both, first, last, short, long = (_time(answer) for answer in answers)
    if both is None or first is None or last is None:
        failed = next((a.reason for a in answers[:3] if isinstance(a, Unmeasured)), "no time")
        return _unclear(trial, failed.splitlines()[0] if failed else "not measured")
    call = _call(short, long)
    saved = first + last + both * -1.0 + call * -1.0
    smaller = min(first, last, key=lambda time: time.us)
    verdict, reason = _verdict(saved, (smaller + call * -1.0) * ALPHA)
    times = (first.us, last.us, both.us, call.us)
    return Evidence(trial.pair, trial.first.shape, "times", *times, verdict, reason)


def _verdict(saved: _Time, needed: _Time) -> tuple[Verdict, str]:
    if needed.us <= 0.0:
        return Verdict.UNCLEAR, "one of the two costs no more than an empty call"
    spread = hypot(saved.spread, needed.spread)
    if abs(saved.us - needed.us) < _SIGMAS * spread:
        return Verdict.UNCLEAR, f"the difference is within the noise ({spread:.3g} us)"
    return (Verdict.FUSED if saved.us > needed.us else Verdict.APART), ""


def _call(short: _Time | None, long: _Time | None) -> _Time:
    """What a call costs besides its operators: the intercept of the time over the chain's length."""
    if short is None or long is None:
        return _Time(0.0, 0.0)
    found = short * (_LONG / (_LONG - 1)) + long * (-1.0 / (_LONG - 1))
    return _Time(min(max(found.us, 0.0), short.us), found.spread)


def _time(answer: Answer) -> _Time | None:
    if isinstance(answer, Unmeasured) or answer.unpriced:
        return None
    return _Time(answer.latency_us, answer.latency_us * float(answer.details.get(NOISE, 0.0)))
