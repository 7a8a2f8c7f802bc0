"""Folders of runs that are under way, and what is done with those of runs that were killed.

Every folder that a run makes for itself has a name that ends in `hwopt-run.` and twelve hexadecimal
digits, and is locked by its process (flock) as long as that lives: the lock goes with the process,
however it ends. So a folder that can be locked is left over, and is removed: by the janitor at once
(`hwopt.files.janitor`), or by the next run (`sweep`). Where it holds a journal, files of a result were just
getting their names: those that had them are taken back, and what they replaced is put back.

Standard library alone: the janitor loads this file without the rest of hwopt.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows: nothing is locked there, and nothing swept
    fcntl = None  # type: ignore[assignment]

JOURNAL = "journal.json"
DONE = "journal.done"  # the journal, once all files have their names
OLD = "old"  # folder inside a stage: what the result replaces
_NAME = re.compile(r"(?:.*\.)?hwopt-run\.[0-9a-f]{12}\Z", re.DOTALL)


@dataclass(frozen=True)
class Entry:
    """A file of a result, told by what a renaming does not change. name: in the output's folder."""

    name: str
    device: int
    inode: int
    size: int

    @staticmethod
    def of(path: Path) -> Entry:
        """Raises OSError where there is no such file."""
        found = path.lstat()
        return Entry(path.name, found.st_dev, found.st_ino, found.st_size)

    def is_at(self, path: Path) -> bool:
        """Whether this very file has that name."""
        try:
            return Entry.of(path) == self
        except OSError:
            return False


def new_name(prefix: str = "") -> str:
    """A name for a run's folder that nobody has: PREFIX.hwopt-run.0123456789ab."""
    return f"{prefix}.hwopt-run.{secrets.token_hex(6)}" if prefix else f"hwopt-run.{secrets.token_hex(6)}"


def is_run_folder(path: Path) -> bool:
    """Whether this is a folder of some run of this user, by name and owner."""
    try:
        found = path.lstat()
    except OSError:
        return False
    mine = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    return bool(_NAME.match(path.name)) and path.is_dir() and not path.is_symlink() and mine


def lock(folder: Path) -> int | None:
    """Locks a folder for as long as this process lives, or until the number is closed.

    None where another process holds it, where it is gone, or where the file system knows no such lock.
    """
    if fcntl is None:
        return None
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), os.stat(folder)):
            return handle
    except OSError:
        pass
    os.close(handle)
    return None


def is_locked(folder: Path) -> bool:
    """Whether another process holds the folder's lock."""
    if fcntl is None:
        return False
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False


def sweep(parent: Path) -> list[Path]:
    """Removes what dead runs left in a folder; the folders of runs that are alive.

    On a file system without locks nobody can tell the two apart: nothing is removed there.
    """
    alive = []
    with contextlib.suppress(OSError):
        for path in sorted(path for path in parent.iterdir() if is_run_folder(path)):
            handle = lock(path)
            if handle is not None:
                remove(path)
                os.close(handle)
            elif is_locked(path):
                alive.append(path)
    return alive


def remove(folder: Path) -> None:
    """Takes back what was half published from a run's folder, then removes it."""
    if not is_run_folder(folder):
        return
    with contextlib.suppress(OSError, ValueError):
        undo(folder)
    kept = folder / OLD
    if (folder / DONE).exists():  # what was replaced goes first: without the mark it would be kept
        shutil.rmtree(kept, ignore_errors=True)
    if not kept.exists() or not any(kept.iterdir()):
        shutil.rmtree(folder, ignore_errors=True)


def write_journal(stage: Path, files: Sequence[Entry]) -> None:
    """From here on a stage is undone unless the last of these files has its name. Raises OSError."""
    draft = stage / (JOURNAL + ".part")
    with draft.open("w", encoding="utf-8") as file:
        json.dump([asdict(entry) for entry in files], file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, stage / JOURNAL)
    flush_folder(stage)


def read_journal(stage: Path) -> list[Entry]:
    """The files in the order in which they get their names; [] where nothing was published.

    Raises ValueError for what is no journal.
    """
    try:
        text = (stage / JOURNAL).read_text("utf-8")
        entries = [Entry(**row) for row in json.loads(text)]
    except FileNotFoundError:
        return []
    except (TypeError, RecursionError) as error:
        raise ValueError(f"{stage / JOURNAL} is no journal: {error}") from error
    for entry in entries:
        if entry.name != os.path.basename(entry.name) or entry.name in ("", ".", ".."):
            raise ValueError(f"{stage / JOURNAL}: '{entry.name}' is no name of a file")
    return entries


def undo(stage: Path) -> None:
    """Makes the output's folder what it was before a publication that did not come to its end.

    May be interrupted and begun again. Raises OSError where the disk refuses.
    """
    files = read_journal(stage)
    out = stage.parent
    if not files:
        return
    if files[-1].is_at(out / files[-1].name):
        mark_done(stage)
        return
    for entry in files:
        if entry.is_at(out / entry.name):
            (out / entry.name).unlink()
    for entry in files:  # the ONNX file last, as ever
        kept = stage / OLD / entry.name
        if kept.exists() and not (out / entry.name).exists():
            os.replace(kept, out / entry.name)
    flush_folder(out)


def mark_done(stage: Path) -> None:
    """From here on nothing is undone, whatever becomes of the files. Raises OSError."""
    os.replace(stage / JOURNAL, stage / DONE)


def flush_file(path: Path) -> None:
    """Puts a file's bytes on disk: before it gets its name, so that a crash leaves no half of it there."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """What was renamed in a folder outlives a power cut, where the system can be told so."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
