"""Arrays in mapped files, read without becoming memory of the process."""

from __future__ import annotations

import mmap
from collections.abc import Sequence

import numpy as np

from hwopt.nodes import Array


def taken(array: Array, rows: Sequence[int]) -> Array:
    """A copy of some rows."""
    copy: Array = array[np.asarray(rows, dtype=np.int64)]
    forget_pages(array)
    return copy


def forget_pages(array: Array) -> None:
    """Let go of a mapped file's pages in this process: they would count as its memory.

    What was written stays in the file; an array in memory, or a system that cannot be told,
    is left alone.
    """
    mapped = getattr(array, "_mmap", None)
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
