"""Hard limits as people write them: 5ms, 300us, 2MB, 512KiB, or relative to the input: -30%."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from hwopt.errors import BadInput

# Weights that lie in files and are read into memory to hand a model, or a piece of one, to an oracle.
MOST_BYTES_FOR_ORACLE = 256_000_000
MOST_PART_BYTES_FOR_ORACLE = 32_000_000
DEFAULT_REFINE = 3  # subgraphs that are measured exactly: what brings most for what it costs
_TIME_UNITS = {"us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6}
_LONG_TIME_UNITS = {"": 1.0, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}
_BYTE_UNITS = {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30}
_NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(%|[A-Za-zµ]*)\s*")


@dataclass(frozen=True)
class Bound:
    """An upper bound. Absolute in microseconds or bytes; relative as a factor of the input's figure."""

    value: float
    relative: bool = False

    def against(self, before: float) -> float:
        """The bound in absolute terms, for an input that has this figure."""
        return self.value * before if self.relative else self.value


def latency_bound(limit: str | float | Bound, name: str = "--max-latency") -> Bound:
    """A latency limit: "5ms", "300us", "-30%", or a number of microseconds.

    Raises BadInput naming the option where the text is not such a limit.
    """
    return _bound(limit, name, _TIME_UNITS, "a time such as 5ms or 300us")


def bytes_bound(limit: str | float | Bound, name: str = "--max-memory") -> Bound:
    """A size limit: "2MB" (10^6), "512KiB" (2^10), "-30%", or a number of bytes.

    Raises BadInput naming the option where the text is not such a limit.
    """
    return _bound(limit, name, _BYTE_UNITS, "a size such as 2MB")


def _bound(limit: str | float | Bound, name: str, units: dict[str, float], example: str) -> Bound:
    if isinstance(limit, Bound):
        return limit
    complaint = BadInput(f"{name} {limit}: give {example}, or a change such as -30%")
    if isinstance(limit, int | float):
        return _positive(Bound(float(limit)), complaint)
    match = _NUMBER.fullmatch(limit)
    if match is None:
        raise complaint
    number, unit = float(match[1]), match[2].lower()
    if unit == "%":
        if match[1][0] not in "+-":  # 30% of the input's figure, or 30% less?
            raise complaint
        return _positive(Bound(1 + number / 100, relative=True), complaint)
    if unit not in units:
        raise complaint
    return _positive(Bound(number * units[unit]), complaint)


def _positive(bound: Bound, complaint: BadInput) -> Bound:
    """A limit of nothing, or of less than nothing, is a slip."""
    if not math.isfinite(bound.value) or bound.value <= 0:
        raise complaint
    return bound


def fraction(value: float, name: str) -> float:
    """A limit between 0 and 1, such as an accuracy drop. Raises BadInput naming the option."""
    if not 0 <= value <= 1:
        raise BadInput(f"{name} {value:g}: give a fraction between 0 and 1, for example 0.01 for one point")
    return value


def share(limit: str | float, name: str) -> float:
    """A share of something: "5%", or 0.05. Raises BadInput naming the option."""
    complaint = BadInput(f"{name} {limit}: give a share such as 5% or 0.05")
    match = _NUMBER.fullmatch(str(limit))
    if match is None or match[2] not in ("", "%"):
        raise complaint
    value = float(match[1]) / (100 if match[2] else 1)
    if not math.isfinite(value) or value < 0:
        raise complaint
    return value


def seconds(limit: str | float, name: str = "--time-limit") -> float:
    """A length of time: "90s", "10m", "1h", or a number of seconds. Raises BadInput naming the option."""
    complaint = BadInput(f"{name} {limit}: give a length of time such as 90s, 10m or 1h")
    match = _NUMBER.fullmatch(str(limit))
    if match is None or match[2].lower() not in _LONG_TIME_UNITS:
        raise complaint
    value = float(match[1]) * _LONG_TIME_UNITS[match[2].lower()]
    if not math.isfinite(value) or value <= 0:
        raise complaint
    return value


def input_shape(text: str, name: str = "--input-shape") -> tuple[str, tuple[int, ...]]:
    """NAME:1,3,224,224 as (name, shape). The name may hold colons itself.

    Raises BadInput where a dimension is not a positive integer.
    """
    head, colon, tail = text.rpartition(":")
    try:
        shape = tuple(int(part) for part in tail.split(","))
    except ValueError:
        shape = ()
    if not colon or not head or not shape or min(shape) < 1:
        raise BadInput(f"{name} {text}: give NAME:1,3,224,224 with an input's name and positive integers")
    return head, shape
