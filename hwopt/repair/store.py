"""Large arrays: in memory up to a limit, memory-mapped files in a temporary folder beyond it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from hwopt.files.scratch import temporary_folder
from hwopt.nodes import Array

MEMORY_BYTES = 1 << 30


class Store:
    """Hands out uninitialised arrays; its folder disappears with it."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self._left = memory_bytes
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._files = 0

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Array:
        """An array of this shape, wherever there is room for it."""
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if size <= self._left:
            self._left -= size
            return np.empty(shape, dtype)
        if self._folder is None:
            self._folder = temporary_folder()
        self._files += 1
        path = Path(self._folder.name) / f"{self._files}.bin"
        _reserve(path, size)
        return np.memmap(path, dtype=dtype, mode="r+", shape=shape)

    def release(self, array: Array) -> None:
        """Say that an array in memory is no longer used."""
        if not isinstance(array, np.memmap):
            self._left += array.nbytes


def _reserve(path: Path, size: int) -> None:
    """A file with all its room: a full disk is an OSError here, not the end of the process later on."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
