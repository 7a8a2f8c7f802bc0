"""A file that was looked at: whoever reads it later, in whichever process, reads that one or none."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hwopt.errors import BadInput

Identity = tuple[int, ...]  # device, inode, size, time of the last change; () of whichever file is there


@dataclass(frozen=True)
class DataFile:
    """External data of a model, as they were when somebody looked."""

    path: str
    identity: Identity
    size: int

    @classmethod
    def at(cls, path: Path) -> DataFile:
        """A look at a regular file that is no link. Raises OSError where it cannot be opened or is none."""
        descriptor = _open(str(path))
        try:
            found = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{path} is no regular file")
        return cls(os.path.abspath(path), _identity(found), found.st_size)

    @contextmanager
    def opened(self) -> Iterator[int]:
        """A file descriptor to read from. Raises BadInput as `unchanged` does."""
        with unchanged(self.path, self.identity) as descriptor:
            yield descriptor


@contextmanager
def unchanged(path: str, identity: Identity) -> Iterator[int]:
    """A file descriptor to read from.

    identity: () where it is one of this program's own, which may be named through a link. Raises BadInput
    where the file is gone, or another one or changed by now.
    """
    try:
        descriptor = _open(path) if identity else os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        raise BadInput(f"external data {path} cannot be read any more: {error.strerror}") from None
    try:
        if identity and _identity(os.fstat(descriptor)) != identity:
            raise BadInput(f"external data {path} was changed while it was in use: start again")
        yield descriptor
    finally:
        os.close(descriptor)


def _open(path: str) -> int:
    """Without waiting for whoever may write to a pipe of that name."""
    flags = ("O_CLOEXEC", "O_NONBLOCK", "O_NOFOLLOW")
    return os.open(path, os.O_RDONLY | sum(getattr(os, name, 0) for name in flags))


def _identity(found: os.stat_result) -> Identity:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
