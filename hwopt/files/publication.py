"""Several files get their names together: all of them, or nothing has changed.

What they replace is moved aside first, then they are renamed, the last one being the one that counts. A
journal in the stage says what is under way: whoever finds a stage whose owner is dead (the janitor, the
next run) undoes it, unless the last file has its name. A disk that refuses is answered in the same way.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType

from hwopt.files.leftovers import OLD, Entry, flush_file, flush_folder, mark_done, undo, write_journal

Handler = Callable[[int, FrameType | None], object]


def publish_together(stage: Path, names: Sequence[str], replaced: Sequence[str]) -> None:
    """Moves files from a stage into the folder that it lies in.

    names: in the order in which they appear, the file that counts last. replaced: of files there that go,
    in the order in which they go; those of `names` that exist must be among them. Ctrl-C is too late
    here: it is not heard. Raises OSError where the disk refuses; the folder is then as it was.
    """
    with _deaf():
        _publish(stage, names, replaced)


def _publish(stage: Path, names: Sequence[str], replaced: Sequence[str]) -> None:
    out = stage.parent
    for name in names:
        flush_file(stage / name)
    (stage / OLD).mkdir(exist_ok=True)
    gone = [name for name in replaced if name not in names]
    write_journal(stage, [*(_nothing(name) for name in gone), *(Entry.of(stage / name) for name in names)])
    try:
        for name in replaced:
            os.replace(out / name, stage / OLD / name)
        for name in names:
            if name == names[-1]:
                flush_folder(out)
            os.replace(stage / name, out / name)
    except OSError:
        undo(stage)
        raise
    flush_folder(out)
    mark_done(stage)


def _nothing(name: str) -> Entry:
    """The journal's entry of a file that goes and is not replaced."""
    return Entry(name, -1, -1, -1)


@contextmanager
def _deaf() -> Iterator[None]:
    """Handlers that would raise something here (Ctrl-C does) are not called meanwhile."""
    silenced: dict[int, Handler] = {}
    try:
        for number in map(int, (signal.SIGINT, signal.SIGTERM)):
            if current_thread() is main_thread() and callable(handler := signal.getsignal(number)):
                silenced[number] = handler
                signal.signal(number, lambda *_: None)
        yield
    finally:
        for number, handler in silenced.items():
            signal.signal(number, handler)
