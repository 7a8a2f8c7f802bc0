"""Listeners of the command line: a log for HWOPT_DEBUG, a progress display for a terminal.

Both write to standard error. rich is imported only where a display is shown.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import perf_counter
from typing import TYPE_CHECKING, TextIO

from hwopt import trace
from hwopt.cli.bar import bars

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

# What people read in the place of a step's name.
_WORDS = {
    "load": "loading",
    "find": "looking for rewrites",
    "price": "pricing",
    "calibration": "running the calibration data",
    "folds": "repairs without a fold, judged on it",
    "damage": "measuring what single values do to the output",
    "refine": "plans shown to the oracle",
    "search": "searching",
    "decide": "plans repaired and measured",
    "tune": "gradient steps",
    "verify": "verifying",
    "judge": "judging",
    "quantise": "quantising",
    "write": "writing",
    "measure": "asking the oracle",
    "bisect": "checking steps of the plan",
    "shrink": "making the failing model small",
    "compare": "running both models",
    "layers": "comparing tensors inside",
}
_WITH_BEST = ("search", "decide")  # lines that say what the best plan so far is


class LogListener:
    """Writes one line per event, up to a level of detail (HWOPT_DEBUG), with the seconds since the start.

    A log that nobody reads any more (`2>&1 | head`) goes silent; it does not end the run.
    """

    def __init__(self, level: int, stream: TextIO) -> None:
        from hwopt.cli.lines import Lines  # knows choices, and with them ONNX

        self._level = level
        self._stream = stream
        self._start = perf_counter()
        self._lines = Lines(level)

    def __call__(self, event: trace.Event, /) -> None:
        line = self._lines.of(event)
        if line is None or line[0] > self._level:
            return
        with suppress(OSError):
            self._stream.write(f"[{perf_counter() - self._start:8.2f}s] {line[1]}\n")


class ProgressListener:
    """Keeps one line per running stage on a terminal."""

    def __init__(self, display: Progress) -> None:
        self._display = display
        self._tasks: dict[str, TaskID] = {}
        self._best = ""

    def __call__(self, event: trace.Event, /) -> None:
        if isinstance(event, trace.StageStarted):
            self._task(event.name)
        elif isinstance(event, trace.Progress):
            task = self._task(event.stage)
            self._display.update(task, completed=event.done, total=event.total or None)
        elif isinstance(event, trace.BetterPlan):
            damage = f", damage {event.damage:.3g}" if event.damage > 0 else ""
            self._best = f", best so far {event.latency_us:,.1f} us{damage}"
            for name in (name for name in _WITH_BEST if name in self._tasks):
                self._display.update(self._tasks[name], description=self._words(name))
        elif isinstance(event, trace.StageDone) and event.name in self._tasks:
            self._remove_from(event.name)

    def _remove_from(self, name: str) -> None:
        """The stage's line, and the lines of what was counted inside it."""
        lines = list(self._tasks)
        for line in lines[lines.index(name) :]:
            self._display.remove_task(self._tasks.pop(line))

    def _task(self, name: str) -> TaskID:
        if name not in self._tasks:
            self._tasks[name] = self._display.add_task(self._words(name), total=None)
        return self._tasks[name]

    def _words(self, name: str) -> str:
        return _WORDS.get(name, name) + (self._best if name in _WITH_BEST else "")


@contextmanager
def watching(quiet: bool, debug: int) -> Iterator[trace.Listeners]:
    """Listeners for one command: a log where HWOPT_DEBUG asks for it, else a display on a terminal."""
    if debug > 0:
        yield (LogListener(debug, sys.stderr),)
        return
    if quiet or not sys.stderr.isatty():
        yield ()
        return
    with bars() as display:
        yield (ProgressListener(display),)


@contextmanager
def stdout_kept_clean() -> Iterator[None]:
    """Sends what libraries print to standard error, so that standard output holds results alone.

    Works on the file descriptor, because native code prints past Python's sys.stdout.
    """
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # started without a standard output
        yield
        return
    try:
        os.dup2(2, 1)
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
