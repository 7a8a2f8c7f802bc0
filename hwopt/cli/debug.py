"""HWOPT_DEBUG: how much a run tells on standard error."""

from __future__ import annotations

import os

from hwopt.errors import BadInput

_DEBUG_VARIABLE = "HWOPT_DEBUG"


def debug_level() -> int:
    """HWOPT_DEBUG, 0 to 4: the only place where it is read."""
    text = os.environ.get(_DEBUG_VARIABLE, "0") or "0"
    if text not in ("0", "1", "2", "3", "4"):
        raise BadInput(f"{_DEBUG_VARIABLE}={text}: give a level from 0 to 4")
    return int(text)
