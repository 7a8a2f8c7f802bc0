"""Gives memory that was freed back to the system: sessions come and go, and leave holes that add up."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

Trim = Callable[[int], int]


def hand_back() -> None:
    """Gives back what the C library keeps of freed memory; nothing where it cannot be told to (not glibc)."""
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Trim | None:
    try:
        found: Trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
    return found
