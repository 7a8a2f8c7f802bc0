"""How often a property is tried. HWOPT_EXAMPLES multiplies it, for a long run: HWOPT_EXAMPLES=50."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings

from hwopt.target import read_target

TARGETS = [
    read_target(Path(__file__).parents[2] / "targets" / name) for name in ("edge-npu", "ethos-u55-256")
]


def examples(count: int) -> Callable[[Any], Any]:
    """So many networks, always the same ones unless more are asked for; no clock decides anything."""
    times = int(os.environ.get("HWOPT_EXAMPLES", "1"))
    return settings(
        max_examples=count * times,
        derandomize=times == 1,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
