"""Folders for work under way: they go with this process, however it ends.

`temporary_folder` is for what nobody is to see, `workshop` for what is made beside its final name and
then renamed, `claim` for the result of a run, which two runs must not make at once. All are removed at
the end; after kill -9 by the janitor, at once, or by the next run that looks there (`hwopt.files.leftovers`).
"""

from __future__ import annotations

import atexit
import errno
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import RLock

from hwopt.errors import BadInput
from hwopt.files.janitor import folder_gone, watch_folder
from hwopt.files.leftovers import is_locked, lock, new_name, remove, sweep

_PATIENCE_S, _PAUSE_S = 10.0, 0.01
_TRIES = 5
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_LONGEST = 50  # characters, four bytes each at the most; a name has 255 bytes


@dataclass
class _Root:
    """This process's folder in the system's one for temporary files. path: None until it is needed."""

    path: Path | None = None
    owner: int = 0
    handle: int | None = None
    guard: RLock = field(default_factory=RLock)

    def get(self) -> Path:
        with self.guard:
            if self.path is None or self.owner != os.getpid() or not self.path.is_dir():
                parent = system_folder()
                sweep(parent)
                self.path, self.handle = _made(parent)
                self.owner = os.getpid()
            return self.path

    def end(self) -> None:
        with self.guard:
            path, self.path = self.path, None
            if path is not None and self.owner == os.getpid():
                _cleared(path, self.handle)


_ROOT = _Root()
atexit.register(_ROOT.end)
_SYSTEM: list[str] = []


def system_folder() -> Path:
    """The system's folder for temporary files, `own_temporary_files` or not."""
    return Path(_SYSTEM[0] if _SYSTEM else tempfile.gettempdir())


def scratch_root() -> Path:
    """This process's own folder for temporary files. Raises OSError where none can be made."""
    return _ROOT.get()


@contextmanager
def own_temporary_files() -> Iterator[None]:
    """Within it what libraries put into temporary files goes with this process, too.

    For commands, which have the process to themselves. Where no folder can be made all stays as it is.
    """
    before = tempfile.tempdir
    try:
        system, root = tempfile.gettempdir(), str(scratch_root())
    except OSError:
        yield
        return
    _SYSTEM.append(system)
    tempfile.tempdir = root
    try:
        yield
    finally:
        tempfile.tempdir = before
        _SYSTEM.pop()


def temporary_folder(prefix: str = "hwopt.") -> TemporaryDirectory[str]:
    """A folder for what nobody is to see. Raises OSError where none can be made.

    What a worker that is being ended puts into it meanwhile goes with the folder around it.
    """
    return TemporaryDirectory(prefix=prefix, dir=scratch_root(), ignore_cleanup_errors=True)


@contextmanager
def workshop(path: Path) -> Iterator[Path]:
    """A folder beside a file that is about to be written: on its file system, so that renaming is atomic.

    Raises OSError where none can be made.
    """
    folder, handle = _made(path.absolute().parent, _hidden(path))
    try:
        yield folder
    finally:
        _cleared(folder, handle)


@contextmanager
def claim(out: Path, check: Callable[[], None]) -> Iterator[Path]:
    """A workshop for the result of a run, which no other run makes meanwhile.

    check: whether the output may be written, asked once what dead runs left is gone. Raises BadInput
    where another run is making the same file, or the folder cannot be written to.
    """
    prefix = f"{_hidden(out)}.hwopt-run."
    with alone_in(out.absolute().parent):
        alive = sweep(out.absolute().parent)
        check()
        if busy := [folder for folder in alive if folder.name.startswith(prefix)]:
            raise BadInput(
                f"{out} is being made by another run of hwopt (its files are in {busy[0].name}): "
                "wait for it, or choose another name for the output"
            )
        try:
            folder, handle = _made(out.absolute().parent, _hidden(out))
        except OSError as error:
            raise BadInput(f"{out.parent} cannot be written to: {error.strerror or error}") from None
    try:
        yield folder
    finally:
        _cleared(folder, handle)


@contextmanager
def disk_may_be_full() -> Iterator[None]:
    """A disk that has no room left on the way is the user's to mend, not a bug. Raises BadInput."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        where = f" ({error.filename})" if error.filename else ""
        raise BadInput(
            f"the disk refuses{where}: {error.strerror}; temporary files go to {system_folder()} (TMPDIR)"
        ) from None


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Runs of hwopt that look at, and rename, files of a folder do so one after the other.

    Where the file system knows no locks, or another program keeps the folder locked, nobody waits.
    """
    handle = lock(folder)
    until = time.monotonic() + _PATIENCE_S
    while handle is None and is_locked(folder) and time.monotonic() < until:
        time.sleep(_PAUSE_S)
        handle = lock(folder)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _hidden(path: Path) -> str:
    """How the name of a folder beside a file begins; a long name must leave room for the rest."""
    return f".{path.name[:_LONGEST]}"


def _made(parent: Path, prefix: str = "") -> tuple[Path, int | None]:
    """A new folder, locked where that can be. Raises OSError where it cannot be made."""
    for _ in range(_TRIES):
        path = parent / new_name(prefix)
        watch_folder(path)
        try:
            path.mkdir(mode=0o700)
        except OSError:
            folder_gone(path)
            raise
        handle = lock(path)
        if handle is not None or (path.exists() and not is_locked(path)):
            break  # not swept between the two by a run that began just now
    return path, handle


def _cleared(path: Path, handle: int | None) -> None:
    remove(path)
    folder_gone(path)
    if handle is not None:
        os.close(handle)
