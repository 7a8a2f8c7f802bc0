"""What ONNX Runtime is told, read from a target's oracle options, and how it travels to a worker."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields

from hwopt.errors import BadInput
from hwopt.target import Target

PRECISIONS = ("fp32", "int8")
CPU = "CPUExecutionProvider"
CLOCKS = ("thread", "wall")
LAST_CORE = -1


@dataclass(frozen=True)
class OrtOptions:
    """All that decides a measurement, apart from the model and the machine.

    provider: an execution provider by name; nodes that it does not take run on the CPU.
    threads: intra-op threads; with one, nothing waits for another thread. spinning: threads wait
        busily, as ONNX Runtime does by default. core: the first of the `threads` cores that a
        worker is bound to; -1: the last ones that the process may use.
    budget_ms: the least time that the counted runs of a model take, `warmup` runs before them,
        at least `rounds` visits. cold: bytes that are read before each run, so that it finds its
        weights in memory, where other work has left them; 0: runs follow one another.
    clock: "thread" replaces the time of a run in which others had the core by the processor time of
        its own thread, so that long runs can be timed on a core that is not idle; "wall", and
        every run with more threads or another provider, takes the time that went by.
    """

    precision: str = "fp32"
    provider: str = CPU
    threads: int = 1
    spinning: bool = True
    core: int = LAST_CORE
    warmup: int = 3
    budget_ms: float = 60.0
    rounds: int = 16
    cold: int = 0
    clock: str = CLOCKS[0]

    @property
    def counts_own_time(self) -> bool:
        """Whether a run that was interrupted counts with what its own thread has computed."""
        return self.clock == "thread" and self.threads == 1 and self.provider == CPU

    def to_json(self) -> str:
        """One line of JSON, the same for equal options."""
        return json.dumps(asdict(self), sort_keys=True)


def options_of(target: Target) -> OrtOptions:
    """The options of a target whose oracle is ONNX Runtime; the precision is the target's own.

    Raises BadInput naming the option at fault.
    """
    where = str(target.folder / "target.toml")
    if target.precision not in PRECISIONS:
        raise BadInput(f"{where}: ONNX Runtime measures {' or '.join(PRECISIONS)}, not {target.precision}")
    types = {field.name: str(field.type) for field in fields(OrtOptions) if field.name != "precision"}
    values: dict[str, object] = {"precision": target.precision}
    for name, value in target.oracle.options.items():
        if name not in types:
            allowed = ", ".join(types)
            raise BadInput(f"{where}: '{name}' is no option of the oracle onnxruntime; there is {allowed}")
        values[name] = _typed(name, value, types[name], where)
    options = OrtOptions(**values)  # type: ignore[arg-type]
    _check(options, where)
    return options


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
    least = {"threads": 1, "rounds": 1, "warmup": 0, "budget_ms": 0, "cold": 0, "core": LAST_CORE}
    for name, bound in least.items():
        if getattr(options, name) < bound:
            raise BadInput(
                f"{where}: oracle option {name} is {getattr(options, name)}: at least {bound} is needed"
            )
    if options.clock not in CLOCKS:
        raise BadInput(f"{where}: oracle option clock is '{options.clock}', not one of {', '.join(CLOCKS)}")
    cores = os.cpu_count() or 1
    if options.core + options.threads > cores or options.threads > cores:
        raise BadInput(
            f"{where}: oracle options core and threads ask for more than the {cores} cores there are"
        )
