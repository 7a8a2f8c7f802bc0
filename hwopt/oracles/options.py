"""What each oracle may be told in target.toml, as data: asked without the oracle being installed.

One row per oracle. `None` in place of a row's options: the oracle checks them itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite

Kinds = tuple[type, ...]
_TEXT: Kinds = (str,)
_WHOLE: Kinds = (int,)
_NUMBER: Kinds = (int, float)
_FLAG: Kinds = (bool,)

# The most that each number may be: a file that somebody sends shall not keep a machine busy for days, nor
# start a million threads. What is not named here is bounded by _MOST.
_LIMITS: Mapping[str, float] = {
    "threads": 1024,
    "core": 65_536,
    "warmup": 10_000,
    "budget_ms": 600_000,
    "rounds": 10_000,
    "cold": 1 << 32,
    "runs": 10_000,
    "retries": 100,
    "timeout_s": 86_400,
    "slots": 256,
    "lpf_limit": 64,
}
_MOST = 1 << 50


@dataclass(frozen=True)
class OracleFacts:
    """Options by name with their types, those that must be given, and how the oracle sees a network.

    layers_alone: campaigns measure each distinct layer once and alone: the figure does not depend
        on the neighbours, or no figure is given for an operator inside a network.
    totals_only: it may only time whole models: the cut is along the target's fused groups then, and
        no whole network is drawn (`--parts` for devices that give a row per operator).
    hints: what to write for an option that must be given.
    """

    options: Mapping[str, Kinds] | None
    required: tuple[str, ...] = ()
    layers_alone: bool = False
    totals_only: bool = False
    extra: str = field(default="")
    hints: Mapping[str, str] = field(default_factory=dict)

    def out_of_bounds(self, name: str, value: object) -> str:
        """What is wrong with a number that no oracle could make use of; "" where nothing is."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return ""
        most = _LIMITS.get(name, _MOST)
        return "" if isfinite(value) and abs(value) <= most else f"must be at most {most:,}"


ORACLE_FACTS: Mapping[str, OracleFacts] = {
    "vela": OracleFacts(
        options={
            "accelerator": _TEXT,
            "system_config": _TEXT,
            "memory_mode": _TEXT,
            "config_file": _TEXT,
            "arena_cache_size": _WHOLE,
        },
        required=("accelerator", "system_config", "memory_mode"),
        extra="ethos",
    ),
    "zigzag": OracleFacts(
        options={
            "accelerator": _TEXT,
            "mapping": _TEXT,
            "depthwise_mapping": _TEXT,
            "lpf_limit": _WHOLE,
            "data_locality": _FLAG,
            "weight_buffer_bytes": _WHOLE,
            "weight_buffer_bytes_per_cycle": _NUMBER,
            "weight_register_bytes": _WHOLE,
            "accumulator_bytes": _WHOLE,
        },
        required=("depthwise_mapping",),
        hints={
            "depthwise_mapping": "write what each dimension of the array does in a depthwise convolution, in "
            'the order of hardware.array, e.g. "groups, -" ("-": idle), or "default": as in any convolution'
        },
        layers_alone=True,
        extra="zigzag",
    ),
    "onnxruntime": OracleFacts(
        options={
            "provider": _TEXT,
            "threads": _WHOLE,
            "spinning": _FLAG,
            "core": _WHOLE,
            "warmup": _WHOLE,
            "budget_ms": _NUMBER,
            "rounds": _WHOLE,
            "cold": _WHOLE,
            "clock": _TEXT,
        },
    ),
    "command": OracleFacts(
        options={
            "device": _TEXT,
            "runs": _WHOLE,
            "retries": _WHOLE,
            "timeout_s": _NUMBER,
            "slots": _WHOLE,
            "call_us": _NUMBER,
        },
        layers_alone=True,
        totals_only=True,
    ),
    "table": OracleFacts(options={"file": _TEXT}, layers_alone=True, totals_only=True, extra="parquet"),
}


def layers_alone(oracle: str, options: Mapping[str, object]) -> bool:
    """Whether this oracle, told these options, prices a layer without looking at its neighbours."""
    return ORACLE_FACTS[oracle].layers_alone and not options.get("data_locality", False)
