"""Answers of oracles on disk: asked once, kept for every later run.

One sqlite file, JSON text only. A key is SHA-256 over the oracle's identity and the job, so
an upgrade of an oracle or of a lowering asks again by itself. The cache is a convenience and never
ends a run: a damaged file, or one of another layout, is set aside; what cannot be written to, or is
kept locked by another process for longer than LOCK_TIMEOUT_S, is done without for the rest of the
process, and answers are kept in memory. Each is one line on standard error.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from hwopt.files.cache_folder import cache_folder
from hwopt.oracles.protocol import Job, Oracle

LOCK_TIMEOUT_S = 10.0
_FILE = "measurements.sqlite"
_TABLE = "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
_LOCK_RETRY_S = 0.01
_KEYS_PER_QUERY = 500  # sqlite refuses more than 999 parameters in old builds
_FOREIGN = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_CONSTRAINT)
_CLOSED = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH)
Failure = sqlite3.DatabaseError | UnicodeDecodeError  # the latter where a damaged name is told
_FAILURES = (sqlite3.DatabaseError, UnicodeDecodeError)
_memory: dict[Path, dict[str, str]] = {}  # what this process keeps where a file cannot be used
_log = logging.getLogger(__name__)


def cache_key(oracle: Oracle, job: Job) -> str:
    """SHA-256 over the oracle's identity and the job's key."""
    return hashlib.sha256(f"{oracle.identity}\n{job.key}".encode()).hexdigest()


class Cache:
    """Key to JSON text, safe for several processes at once. No method raises for what the disk does.

    folder: where the sqlite file lives; created when missing; `cache_folder()` when None.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.path = (folder or cache_folder()).absolute() / _FILE
        self._db = None if self.path in _memory else self._open()

    def get_many(self, keys: Iterable[str]) -> dict[str, str]:
        """The stored JSON text of those keys that are known."""
        wanted = list(keys)
        kept = _memory.get(self.path, {})
        found = {key: kept[key] for key in wanted if key in kept}
        try:
            return {**self._read(wanted), **found}
        except _FAILURES as error:
            self._failed(error)
            return found

    def put_many(self, values: Mapping[str, str]) -> None:
        """Stores JSON texts in one transaction; equal keys are replaced."""
        for _ in range(2):  # anew where the file was damaged and is set aside
            if self.path in _memory:
                _memory[self.path].update(values)
                return
            try:
                self._write(values)
                return
            except _FAILURES as error:
                self._failed(error)
        self._do_without("it was damaged twice")
        _memory[self.path].update(values)

    def close(self) -> None:
        """Closes the file; the cache must not be used afterwards."""
        if self._db is not None:
            self._db.close()

    def __enter__(self) -> Cache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, keys: Sequence[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for start in range(0, len(keys) if self._db is not None else 0, _KEYS_PER_QUERY):
            part = keys[start : start + _KEYS_PER_QUERY]
            marks = ",".join("?" * len(part))
            assert self._db is not None
            rows = self._db.execute(f"SELECT key, value FROM answers WHERE key IN ({marks})", part)
            found.update({key: value for key, value in rows if isinstance(value, str)})
        return found

    def _write(self, values: Mapping[str, str]) -> None:
        assert self._db is not None
        with self._db:
            self._db.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", sorted(values.items()))

    def _open(self) -> sqlite3.Connection | None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return _connect(str(self.path))
        except OSError as error:
            self._do_without(str(error))
        except _FAILURES as error:
            if _is_damaged(error):
                return self._anew()
            self._do_without(str(error))
            if _code(error) in _CLOSED:
                return _connect_to_read(self.path)
        return None

    def _failed(self, error: Failure) -> None:
        """After this either the file is a new one, or memory is used."""
        if _is_damaged(error):
            self.close()
            self._db = self._healthy() or self._anew()
        else:
            self._do_without(str(error))

    def _do_without(self, why: str) -> None:
        if self.path not in _memory:
            _log.warning("cache %s cannot be used (%s): keeping answers in memory", self.path, why)
        _memory.setdefault(self.path, {})

    def _healthy(self) -> sqlite3.Connection | None:
        """The file, where another process has put a new one there already."""
        try:
            db = _connect(str(self.path))
            if db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",):
                return db
            db.close()
        except _FAILURES:
            pass
        return None

    def _anew(self) -> sqlite3.Connection | None:
        """A new file in the place of a damaged one."""
        _set_aside(self.path)
        try:
            return _connect(str(self.path))
        except _FAILURES as error:
            self._do_without(str(error))
            return None


def _code(error: Failure) -> int:
    """The primary code; the higher bytes say which kind of it."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return 0 if code is None else code & 0xFF


def _is_damaged(error: Failure) -> bool:
    """Whether the file is at fault: no database, a broken one, or one with other tables."""
    return not isinstance(error, sqlite3.OperationalError) or _code(error) in _FOREIGN


def _connect(location: str) -> sqlite3.Connection:
    """Opens (and creates) the table; raises sqlite3.DatabaseError for a damaged file."""
    db = sqlite3.connect(location, timeout=LOCK_TIMEOUT_S)
    try:
        _use_write_ahead_log(db)
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute(_TABLE)
        db.execute("SELECT key, value FROM answers LIMIT 1").fetchone()
    except BaseException:
        db.close()
        raise
    return db


def _connect_to_read(path: Path) -> sqlite3.Connection | None:
    """A file that may only be read, in a folder that may only be read; None where that fails, too."""
    try:
        db = sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
        db.execute("SELECT key, value FROM answers LIMIT 1").fetchone()
    except _FAILURES:
        return None
    return db


def _use_write_ahead_log(db: sqlite3.Connection) -> None:
    """Switches the file to a write-ahead log, waiting for another process that does the same.

    Two processes that open a new file together each hold a read lock that the other's switch
    needs gone; sqlite answers "busy" at once there, without waiting its timeout.
    """
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_LOCK_RETRY_S)


def _set_aside(path: Path) -> None:
    """Renames a damaged database to the first free `.damaged-N` and drops its log."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    _log.warning("cache %s is damaged: set aside as %s", path, aside.name)
    try:
        path.replace(aside)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    except OSError as error:
        _log.warning("cache %s cannot be set aside (%s)", path, error)
