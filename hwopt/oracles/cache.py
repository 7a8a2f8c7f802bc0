"""Answers of oracles on disk: asked once, kept for every later run.

One sqlite file, JSON text only. A key is SHA-256 over the oracle's identity and the job, so
an upgrade of an oracle or of a lowering asks again by itself. The cache is a convenience: a
damaged file is set aside, a folder that cannot be written is replaced by memory, and nothing
of that stops a run.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from hwopt.oracles.protocol import Answer, Job, Measurement, Oracle, Progress, Row, Unmeasured

_FILE = "measurements.sqlite"
_TABLE = "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
_LOCK_TIMEOUT_S = 60.0
_LOCK_RETRY_S = 0.01
_KEYS_PER_QUERY = 500  # sqlite refuses more than 999 parameters in old builds
_log = logging.getLogger(__name__)


def default_folder() -> Path:
    """`$HWOPT_CACHE`, else `hwopt` in the platform's cache folder (`~/.cache/hwopt`)."""
    chosen = os.environ.get("HWOPT_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "hwopt"


def cache_key(oracle: Oracle, job: Job) -> str:
    """SHA-256 over the oracle's identity and the job's key."""
    return hashlib.sha256(f"{oracle.identity}\n{job.key}".encode()).hexdigest()


class Cache:
    """Key to JSON text, safe for several processes at once.

    folder: where the sqlite file lives; created when missing; `default_folder()` when None.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.path = (folder or default_folder()) / _FILE
        self._db = self._open()

    def get_many(self, keys: Iterable[str]) -> dict[str, str]:
        """The stored JSON text of those keys that are known."""
        wanted = list(keys)
        try:
            return self._read(wanted)
        except sqlite3.OperationalError as error:
            _log.warning("cache %s cannot be read (%s): measuring again", self.path, error)
        except sqlite3.DatabaseError:
            self._recreate()
        return {}

    def put_many(self, values: Mapping[str, str]) -> None:
        """Stores JSON texts in one transaction; equal keys are replaced."""
        try:
            self._write(values)
        except sqlite3.OperationalError as error:
            _log.warning("cache %s cannot be written (%s): answers are not kept", self.path, error)
        except sqlite3.DatabaseError:
            self._recreate()
            self._write(values)

    def close(self) -> None:
        """Closes the file; the cache must not be used afterwards."""
        self._db.close()

    def __enter__(self) -> Cache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, keys: Sequence[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for start in range(0, len(keys), _KEYS_PER_QUERY):
            part = keys[start : start + _KEYS_PER_QUERY]
            marks = ",".join("?" * len(part))
            found.update(self._db.execute(f"SELECT key, value FROM answers WHERE key IN ({marks})", part))
        return found

    def _write(self, values: Mapping[str, str]) -> None:
        with self._db:
            self._db.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", sorted(values.items()))

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return _connect(str(self.path))
        except (sqlite3.OperationalError, OSError) as error:
            _log.warning("cache %s cannot be used (%s): keeping answers in memory", self.path, error)
        except sqlite3.DatabaseError:
            _set_aside(self.path)
            return _connect_or_memory(self.path)
        return _connect(":memory:")

    def _recreate(self) -> None:
        """Replaces a damaged file by an empty one; another process may have done so already."""
        self._db.close()
        try:
            self._db = _connect(str(self.path))
            if self._db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",):
                return
            self._db.close()
        except sqlite3.DatabaseError:
            pass
        _set_aside(self.path)
        self._db = _connect_or_memory(self.path)


def _connect(location: str) -> sqlite3.Connection:
    """Opens (and creates) the table; raises sqlite3.DatabaseError for a damaged file."""
    db = sqlite3.connect(location, timeout=_LOCK_TIMEOUT_S)
    try:
        _use_write_ahead_log(db)
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute(_TABLE)
        db.execute("SELECT key, value FROM answers LIMIT 1").fetchone()
    except BaseException:
        db.close()
        raise
    return db


def _use_write_ahead_log(db: sqlite3.Connection) -> None:
    """Switches the file to a write-ahead log, waiting for another process that does the same.

    Two processes that open a new file together each hold a read lock that the other's switch
    needs gone; sqlite answers "busy" at once there, without waiting its timeout.
    """
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            primary = error.sqlite_errorcode & 0xFF  # the low byte; the rest says which kind of busy
            if primary != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_LOCK_RETRY_S)


def _connect_or_memory(path: Path) -> sqlite3.Connection:
    try:
        return _connect(str(path))
    except sqlite3.DatabaseError as error:
        _log.warning("cache %s cannot be used (%s): keeping answers in memory", path, error)
        return _connect(":memory:")


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


def answer_to_json(answer: Answer) -> str:
    """An answer as JSON text: an object with the one key `measurement` or `unmeasured`."""
    if isinstance(answer, Measurement):
        body = {**asdict(answer), "details": dict(answer.details)}
        return json.dumps({"measurement": body}, sort_keys=True)
    return json.dumps({"unmeasured": asdict(answer)}, sort_keys=True)


def answer_from_json(text: str) -> Answer:
    """The reverse of `answer_to_json`; raises ValueError for anything else."""
    try:
        table = json.loads(text)
        if "measurement" in table:
            body = dict(table["measurement"])
            rows = tuple(Row(**row) for row in body.get("rows", ()))
            return Measurement(**{**body, "rows": rows, "unpriced": tuple(body.get("unpriced", ()))})
        body = dict(table["unmeasured"])
        return Unmeasured(**{**body, "nodes": tuple(body.get("nodes", ()))})
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an oracle's answer: {error}") from error


def measure_cached(
    oracle: Oracle, jobs: Sequence[Job], cache: Cache, progress: Progress | None = None, batch: int = 32
) -> list[Answer]:
    """One answer per job, in order; the oracle is asked only for what the cache does not hold.

    Equal jobs are asked once. Each batch is written as soon as it is done, so an interrupted
    campaign resumes where it stopped. Transient failures are returned but never stored.
    progress: called with (answered distinct jobs, all distinct jobs).
    """
    distinct = {cache_key(oracle, job): job for job in jobs}
    known = _known_answers(cache, distinct)
    missing = [key for key in distinct if key not in known]
    found = len(known)
    for start in range(0, len(missing), batch):
        keys = missing[start : start + batch]
        report = _shifted(progress, found + start, len(distinct))
        answers = oracle.measure([distinct[key] for key in keys], report)
        fresh = dict(zip(keys, answers, strict=True))
        cache.put_many({key: answer_to_json(answer) for key, answer in fresh.items() if _is_lasting(answer)})
        known.update(fresh)
    if progress is not None:
        progress(len(distinct), len(distinct))
    return [known[cache_key(oracle, job)] for job in jobs]


def _known_answers(cache: Cache, keys: Iterable[str]) -> dict[str, Answer]:
    """What the cache holds and can be read; an unreadable entry counts as missing."""
    known: dict[str, Answer] = {}
    for key, text in cache.get_many(keys).items():
        try:
            known[key] = answer_from_json(text)
        except ValueError:
            _log.warning("cache entry %s cannot be read: measuring again", key)
    return known


def _shifted(progress: Progress | None, done_before: int, all_jobs: int) -> Progress | None:
    """Progress of one batch, told as progress of the whole."""
    if progress is None:
        return None
    return lambda done, _: progress(done_before + done, all_jobs)


def _is_lasting(answer: Answer) -> bool:
    return not (isinstance(answer, Unmeasured) and answer.transient)
