"""What --json prints where a command fails: an object in the place of its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hwopt.report.schema_search import Limit


@dataclass(frozen=True)
class Closest:
    """The plan that came nearest to limits that no plan keeps."""

    steps: Mapping[str, str]
    """Choice id to value, where it is not *keep*."""
    limits: tuple[Limit, ...]
    added_up_damage: float
    """Damage of its values, one by one."""


@dataclass(frozen=True)
class Failure:
    """Why a command has no result."""

    error: str
    """One line: what, where, and how to fix it."""
    exit_code: int
    """1: a negative verdict; 2: bad input or usage; 3: a bug in hwopt; 130: interrupted."""
    closest: Closest | None = None
    """Where limits cannot be met: the plan that came nearest; null where none was looked at."""
    reproducer: str | None = None
    """Where hwopt is at fault: the folder with what is needed to see it again."""
