"""How much memory and time native code may take for one model, and how to allow it more."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from hwopt.errors import BadInput

MEMORY = "HWOPT_GUARD_MEMORY"  # such as 16G
SECONDS = "HWOPT_GUARD_SECONDS"
SWITCH = "HWOPT_GUARD"  # "off": no process of its own, no limits

BASE_BYTES = 4 << 30
TIMES_MODEL = 6  # as bytes, parsed, in ONNX Runtime, prepacked, folded, and one in reserve
BASE_SECONDS = 600.0
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def memory_limit(model_bytes: int, environment: Mapping[str, str] | None = None) -> int:
    """Bytes that the worker may hold for a model of this size: 4 GiB and six times the model.

    Raises BadInput where HWOPT_GUARD_MEMORY is no size.
    """
    text = _given(MEMORY, environment)
    if text is None:
        return BASE_BYTES + TIMES_MODEL * model_bytes
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    size = 0 if found is None else int(float(found[1]) * _UNITS[found[2].upper()])
    if not size:
        raise BadInput(f"{MEMORY}={text} is not a size: give one such as 16G")
    return size


def time_limit(environment: Mapping[str, str] | None = None) -> float:
    """Seconds of wall-clock time for one job. Raises BadInput where HWOPT_GUARD_SECONDS is no number."""
    text = _given(SECONDS, environment)
    if text is None:
        return BASE_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e8:  # not NaN either
        raise BadInput(f"{SECONDS}={text} is not a time: give seconds such as 3600")
    return seconds


def switched_off(environment: Mapping[str, str] | None = None) -> bool:
    """Whether jobs run in this process, as in a worker that is guarded already."""
    return _given(SWITCH, environment) == "off"


def gigabytes(size: int) -> str:
    """A size for people."""
    return f"{size / (1 << 30):.3g} GB"


def _given(name: str, environment: Mapping[str, str] | None) -> str | None:
    return (os.environ if environment is None else environment).get(name) or None
