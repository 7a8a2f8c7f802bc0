"""An oracle asked through the cache: each job once, what cannot be used never remembered as an answer.

    failures = Failures()                              # one per run
    answers = measure_cached(oracle, jobs, cache, failures=failures)

A job that ended its worker, hung, or was answered with nonsense may do better another time, on another
day; within one run it is asked twice and then no more.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import isfinite

from hwopt.errors import BadInput
from hwopt.oracles.answers import answer_from_json, answer_to_json, sound
from hwopt.oracles.cache import Cache, cache_key
from hwopt.oracles.protocol import Answer, Job, Oracle, Progress, Unmeasured

TRIES = 2  # of one job in one run
TIMEOUT_VARIABLE = "HWOPT_ORACLE_TIMEOUT"
_log = logging.getLogger(__name__)


@dataclass
class Failures:
    """Jobs that failed in this run for reasons that may pass, by their keys."""

    _last: dict[str, Unmeasured] = field(default_factory=dict)
    _times: dict[str, int] = field(default_factory=dict)

    def given_up(self, key: str) -> Unmeasured | None:
        """The last failure of a job that is not asked any more."""
        return self._last[key] if self._times.get(key, 0) >= TRIES else None

    def note(self, key: str, answer: Answer) -> None:
        """Counts an answer that is a failure."""
        if not is_lasting(answer) and isinstance(answer, Unmeasured):
            self._last[key] = answer
            self._times[key] = self._times.get(key, 0) + 1


def timeout_s(default: float) -> float:
    """Seconds that one job of an oracle may take: `$HWOPT_ORACLE_TIMEOUT`, else the oracle's own limit.

    Raises BadInput for a value that is no time.
    """
    text = os.environ.get(TIMEOUT_VARIABLE)
    if not text:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = float("nan")
    if not isfinite(seconds) or not 0 < seconds <= 1e6:
        raise BadInput(f"{TIMEOUT_VARIABLE}={text}: expected seconds, as in {TIMEOUT_VARIABLE}=300")
    return seconds


def measure_cached(
    oracle: Oracle,
    jobs: Sequence[Job],
    cache: Cache,
    progress: Progress | None = None,
    batch: int = 32,
    failures: Failures | None = None,
) -> list[Answer]:
    """One answer per job, in order; the oracle is asked only for what the cache does not hold.

    Equal jobs are asked once. Each batch is written as soon as it is done, so an interrupted
    campaign resumes where it stopped. Transient failures are returned but never stored.
    progress: called with (answered distinct jobs, all distinct jobs). failures: of this run; what
    is given up is not asked again.
    """
    failures = Failures() if failures is None else failures
    distinct = {cache_key(oracle, job): job for job in jobs}
    known = _known_answers(cache, distinct)
    known.update({key: lost for key in distinct if key not in known and (lost := failures.given_up(key))})
    missing = [key for key in distinct if key not in known]
    found = len(known)
    for start in range(0, len(missing), batch):
        keys = missing[start : start + batch]
        report = _shifted(progress, found + start, len(distinct))
        fresh = dict(zip(keys, _asked(oracle, [distinct[key] for key in keys], report), strict=True))
        for key, answer in fresh.items():
            failures.note(key, answer)
        cache.put_many({key: answer_to_json(answer) for key, answer in fresh.items() if is_lasting(answer)})
        known.update(fresh)
    if progress is not None:
        progress(len(distinct), len(distinct))
    return [known[cache_key(oracle, job)] for job in jobs]


def _asked(oracle: Oracle, jobs: Sequence[Job], progress: Progress | None) -> list[Answer]:
    """Answers that make sense, one per job."""
    answers = oracle.measure(jobs, progress)
    if len(answers) != len(jobs):
        reason = f"oracle '{oracle.name}' gave {len(answers)} answers to {len(jobs)} jobs"
        return [Unmeasured(reason, transient=True) for _ in jobs]
    return [sound(answer) for answer in answers]


def _known_answers(cache: Cache, keys: Iterable[str]) -> dict[str, Answer]:
    """What the cache holds and can be read; an unreadable entry counts as missing."""
    known: dict[str, Answer] = {}
    for key, text in cache.get_many(keys).items():
        try:
            known[key] = answer_from_json(text)
        except ValueError:
            _log.warning("cache entry %s cannot be read: measuring again", key)
    return known


def _shifted(progress: Progress | None, done_before: int, all_jobs: int) -> Callable[[int, int], None] | None:
    """Progress of one batch, told as progress of the whole."""
    if progress is None:
        return None
    return lambda done, _: progress(done_before + done, all_jobs)


def is_lasting(answer: Answer) -> bool:
    """Whether an answer says something of the job, not of the day."""
    return not (isinstance(answer, Unmeasured) and answer.transient)
