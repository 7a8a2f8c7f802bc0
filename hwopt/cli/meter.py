"""How far a long job is, on standard error: a bar with time left on a terminal, else a line now and then."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from hwopt.cli.bar import bars
from hwopt.visible import visible

Tell = Callable[[int, str], None]  # (units done, what to say beside them)

_SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def meter(label: str, total: int, quiet: bool) -> Iterator[Tell]:
    """Shows `total` units of work being done; total 0 where nobody knows how many there are."""
    if quiet:
        yield lambda done, note: None
    elif sys.stderr.isatty():
        with _bar(label, total) as tell:
            yield tell
    else:
        yield _lines(label, total)


@contextmanager
def _bar(label: str, total: int) -> Iterator[Tell]:
    started = monotonic()
    with bars("{task.fields[note]}") as display:
        task = display.add_task(label, total=total or None, note="")

        def tell(done: int, note: str) -> None:
            display.update(task, completed=done, note=visible(_with_rate(done, note, started)))

        yield tell


def _lines(label: str, total: int) -> Tell:
    started = monotonic()
    last = started
    of = f"/{total}" if total else ""

    def tell(done: int, note: str) -> None:
        nonlocal last
        if monotonic() - last < _SECONDS_BETWEEN_LINES:
            return
        last = monotonic()
        left = f", {_duration((last - started) * (total - done) / done)} left" if 0 < done < total else ""
        print(f"{label}: {done}{of}  {_with_rate(done, note, started)}{left}", file=sys.stderr, flush=True)

    return tell


def _with_rate(done: int, note: str, started: float) -> str:
    seconds = max(monotonic() - started, 1e-3)
    return f"{note}  {60 * done / seconds:.0f} a minute" if done else note


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
