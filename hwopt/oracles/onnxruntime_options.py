"""What ONNX Runtime is told, read from a target's oracle options, and how it travels to a worker."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from hwopt.errors import BadInput
from hwopt.target import Target

PRECISIONS = ("fp32", "int8")
CPU = "CPUExecutionProvider"
CLOCKS = ("thread", "wall")
LAST_CORE = -1
_L2 = Path("/sys/devices/system/cpu/cpu0/cache/index2/size")
_DEFAULT_L2 = 1 << 20


@dataclass(frozen=True)
class OrtOptions:
    """All that decides a measurement, apart from the model and the machine.

    provider: an execution provider by name; nodes that it does not take run on the CPU.
    threads: intra-op threads; with one, nothing waits for another thread. spinning: threads wait
        busily, as ONNX Runtime does by default. core: the first of the `threads` cores that a
        worker is bound to; -1: the last ones that the process may use.
    budget_ms: the least time that the counted runs of a model take, `warmup` runs before them,
        at least `rounds` visits. cold: bytes that are read before each run of a part of a network, so
        that its weights come from where they lie in a network: outside the second-level cache.
    """

    precision: str = "fp32"
    provider: str = CPU
    threads: int = 1
    spinning: bool = True
    core: int = LAST_CORE
    warmup: int = 3
    budget_ms: float = 60.0
    rounds: int = 12
    cold: int = 2 * _DEFAULT_L2
    clock: str = CLOCKS[0]

    @property
    def counts_own_time(self) -> bool:
        """Whether a run is timed by what its thread has computed, not by what went by on the wall."""
        return self.clock == "thread" and self.threads == 1 and self.provider == CPU

    def to_json(self) -> str:
        """One line of JSON, the same for equal options."""
        return json.dumps(asdict(self), sort_keys=True)


def options_of(target: Target) -> OrtOptions:
    """The options of a target whose oracle is ONNX Runtime; the precision is the target's own.

    Raises BadInput naming the option at fault.
    """
    where = target.folder / "target.toml"
    if target.precision not in PRECISIONS:
        raise BadInput(f"{where}: ONNX Runtime measures {', '.join(PRECISIONS)}, not {target.precision}")
    known = {field.name: field for field in fields(OrtOptions)}
    values: dict[str, object] = {"cold": 2 * second_level_cache(), "precision": target.precision}
    for name, value in target.oracle.options.items():
        if name not in known or name == "precision":
            allowed = ", ".join(sorted(set(known) - {"precision"}))
            raise BadInput(f"{where}: '{name}' is no option of the oracle onnxruntime; there is {allowed}")
        values[name] = _typed(name, value, str(known[name].type), str(where))
    options = OrtOptions(**values)  # type: ignore[arg-type]
    _check(options, str(where))
    return options


def second_level_cache() -> int:
    """Bytes of the second-level cache of the first core; 1 MiB where the system does not tell."""
    try:
        text = _L2.read_text("ascii").strip()
        return int(text[:-1]) << {"K": 10, "M": 20}[text[-1]]
    except (OSError, ValueError, KeyError, IndexError):
        return _DEFAULT_L2


def allowed_cores() -> tuple[int, ...]:
    """The cores that this process may run on, or none where the system does not tell."""
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()


def _typed(name: str, value: object, kind: str, where: str) -> object:
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value).__name__ != kind:
        raise BadInput(f"{where}: oracle option {name} is {value!r}: it must be of type {kind}")
    return value


def _check(options: OrtOptions, where: str) -> None:
    for name in ("threads", "rounds"):
        if getattr(options, name) < 1:
            raise BadInput(f"{where}: oracle option {name} must be at least 1")
    for name in ("warmup", "budget_ms", "cold"):
        if getattr(options, name) < 0:
            raise BadInput(f"{where}: oracle option {name} must not be negative")
    if options.clock not in CLOCKS:
        raise BadInput(f"{where}: oracle option clock is '{options.clock}', not one of {', '.join(CLOCKS)}")
    if options.core < LAST_CORE:
        raise BadInput(f"{where}: oracle option core is {options.core}: a core's number, or -1 for the last")
