"""Optuna's journal file, written a whole cohort at once: one lock, one write, all of it or nothing.

By itself Optuna locks, appends and syncs the disk once per attribute of a trial, and a cohort has
hundreds. Lines are JSON; nothing from the file is ever executed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend, JournalFileOpenLock

from hwopt.errors import BadInput

_START = b'{"op_code":'  # of every line that Optuna writes


class Journal(BaseJournalBackend):
    """A journal file. Within `held` nobody else writes, and lines gather in memory until its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = JournalFileOpenLock(str(path))
        self._file = JournalFileBackend(str(path), self._lock)
        self._lines = 0  # of the file, as far as it was read
        self._pending: list[dict[str, Any]] | None = None

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Entries from that number on; within `held`, those that wait to be written."""
        if self._pending is not None:
            yield from self._pending[max(0, log_number_from - self._lines) :]
            return
        for number, log in enumerate(self._file.read_logs(log_number_from), start=log_number_from):
            self._lines = max(self._lines, number + 1)
            yield log

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Adds entries, at once or at the end of `held`."""
        if self._pending is None:
            self._file.append_logs(logs)
        else:
            self._pending.extend(logs)

    @contextmanager
    def held(self, storage: JournalStorage) -> Iterator[None]:
        """Nobody else writes in here, and `storage` knows all that others wrote before."""
        self._lock.acquire()
        try:
            _cut_torn_line(self._path)
            storage.get_all_studies()  # reads what is new
            self._pending = []
            yield
            self._write(self._pending)
        finally:
            self._pending = None
            self._lock.release()

    def _write(self, logs: list[dict[str, Any]]) -> None:
        if not logs:
            return
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with self._path.open("ab") as file:
            file.write(lines.encode())
            file.flush()
            os.fsync(file.fileno())
        self._lines += len(logs)


def opened(path: Path) -> tuple[JournalStorage, Journal]:
    """The storage in a file, which is made where there is none. Raises BadInput for any other file."""
    try:
        _check(path)
        journal = Journal(path)
        return JournalStorage(journal), journal
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}; name a file that can be written") from error
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        raise damaged(path) from error


def damaged(path: Path) -> BadInput:
    """What is said of a file that is not a store, or no longer."""
    return BadInput(f"{path}: not a store of a search, or damaged; delete it or name another file")


def _check(path: Path) -> None:
    """Reading must not take for empty what others wrote: only the last line may be torn."""
    if not path.exists():
        return
    with path.open("rb") as file:
        start = file.read(len(_START))
    if start != _START[: len(start)]:
        raise damaged(path)


def _cut_torn_line(path: Path) -> None:
    """Takes away what a process that was killed while it wrote left of a line."""
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            return
        file.seek(size - 1)
        if file.read(1) == b"\n":
            return
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
