"""Python's search for garbage in cycles, held back until memory has grown.

A graph is all cycles: a node knows its values, a value its producer and its readers. Python looks through
everything that is alive whenever enough objects have outlived two small searches, and on a graph of 10,000
nodes that was 40% of a run's time. Here it waits until the process has needed more memory than at the last
full search. The small searches, which find what dies young, go on as ever.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_STEP_BYTES = 64 * 2**20  # a full search finds hardly more than that in a small run
_STEP_SHARE = 0.5  # of what was needed so far
_OLDEST = 2  # the generation of everything that has outlived two searches
_NEVER = 2**30
_STATUS = Path("/proc/self/status")


class _ByMemory:
    """Called by Python before and after each search."""

    def __init__(self) -> None:
        self._usual = gc.get_threshold()
        self._begin = peak_bytes()
        self._wait()

    def __call__(self, phase: str, info: Mapping[str, int]) -> None:
        if phase != "stop" or info["generation"] == 0:
            return
        peak = peak_bytes()
        if info["generation"] == _OLDEST:
            self._begin = peak
            self._wait()
        elif peak - self._begin > max(_STEP_BYTES, _STEP_SHARE * self._begin):
            self.end()

    def _wait(self) -> None:
        youngest, middle, _ = self._usual
        gc.set_threshold(youngest, middle, _NEVER)

    def end(self) -> None:
        """As Python does it by itself: the next full search comes when there is enough to look at."""
        gc.set_threshold(*self._usual)


@contextmanager
def searched_by_memory() -> Iterator[None]:
    """Within it memory decides when everything is searched; only for a process that is hwopt's own."""
    searches = _ByMemory() if _is_told() else None
    if searches is not None:
        gc.callbacks.append(searches)
    try:
        yield
    finally:
        if searches is not None:
            gc.callbacks.remove(searches)
            searches.end()


def _is_told() -> bool:
    try:
        return peak_bytes() > 0
    except (OSError, StopIteration):  # there is no such file here, or it does not say
        return False


def peak_bytes() -> int:
    """The most memory that this process has had so far."""
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with _STATUS.open() as status:  # getrusage begins with what the process had that started this one
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


__all__ = ["peak_bytes", "searched_by_memory"]
