"""Targets: an accelerator as data. A target is read, checked, and never executed."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hwopt.errors import BadInput

SCHEMA_VERSION = 1
_PRECISION_BYTES = {"int8": 1, "fp16": 2, "fp32": 4}


@dataclass(frozen=True)
class Memory:
    """One level of memory. bytes_per_cycle is the bandwidth to the next level inwards."""

    name: str
    bytes: int
    bytes_per_cycle: float


@dataclass(frozen=True)
class Engine:
    """A unit of the target that runs operators: the array itself, or the host beside it."""

    name: str
    ops: frozenset[str]


@dataclass(frozen=True)
class Fusion:
    """An anchor operator takes these followers into its own group, in this order, each at most once."""

    anchors: frozenset[str]
    followers: tuple[frozenset[str], ...]


@dataclass(frozen=True)
class CostModelPin:
    """The only cost model that this target loads: the file's SHA-256 and what it was fitted with."""

    file: str
    sha256: str
    feature_version: int
    data_sha256: str


@dataclass(frozen=True)
class OracleSpec:
    """Which oracle measures this target, with its options (strings and numbers only)."""

    name: str
    options: Mapping[str, str | int | float | bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """An accelerator, its precision, its fusion rules, its oracle and its pinned cost model."""

    name: str
    title: str
    folder: Path
    precision: str
    clock_mhz: float
    macs_per_cycle: int
    array: Mapping[str, int]  # how the MAC array is unrolled, e.g. {"out_channels": 8, "in_channels": 32}
    channel_multiples: tuple[int, ...]
    weights_compressed: bool  # zeros and repeats shorten the weight stream; they are not skipped
    memories: tuple[Memory, ...]  # innermost first
    engines: tuple[Engine, ...]
    fusions: tuple[Fusion, ...]
    oracle: OracleSpec
    cost_model: CostModelPin | None
    config_hash: str  # over hardware, fusion and oracle tables; never over the cost-model pin

    @property
    def element_bytes(self) -> int:
        """Bytes of one activation element at the target's precision."""
        return _PRECISION_BYTES[self.precision]

    def cycles_to_us(self, cycles: float) -> float:
        """Cycles of the target's clock in microseconds."""
        return cycles / self.clock_mhz

    def engine_of(self, op_type: str) -> str | None:
        """The first engine that runs this operator, or None where no engine does."""
        return next((engine.name for engine in self.engines if op_type in engine.ops), None)


def read_target(folder: Path) -> Target:
    """Reads FOLDER/target.toml.

    Raises BadInput naming the file and the key at fault.
    """
    path = folder / "target.toml"
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise BadInput(f"no target.toml in {folder}: a target is a folder that holds one") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not valid TOML: {error}") from None
    try:
        return _parse(table, folder)
    except KeyError as error:
        raise BadInput(f"{path}: key {error} is missing") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"{path}: {error}") from None


def _parse(table: dict[str, Any], folder: Path) -> Target:
    if table["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"schema_version is {table['schema_version']}, this hwopt reads {SCHEMA_VERSION}")
    hardware = table["hardware"]
    if table["precision"] not in _PRECISION_BYTES:
        raise ValueError(f"precision '{table['precision']}' is none of {', '.join(_PRECISION_BYTES)}")
    pin = table.get("cost_model")
    return Target(
        name=str(table["name"]),
        title=str(table["title"]),
        folder=folder,
        precision=str(table["precision"]),
        clock_mhz=float(hardware["clock_mhz"]),
        macs_per_cycle=int(hardware["macs_per_cycle"]),
        array={str(k): int(v) for k, v in hardware.get("array", {}).items()},
        channel_multiples=tuple(sorted(int(m) for m in hardware["channel_multiples"])),
        weights_compressed=bool(hardware["weights_compressed"]),
        memories=tuple(
            Memory(str(m["name"]), int(m["bytes"]), float(m["bytes_per_cycle"])) for m in table["memory"]
        ),
        engines=tuple(Engine(str(e["name"]), frozenset(map(str, e["ops"]))) for e in table["engine"]),
        fusions=tuple(
            Fusion(frozenset(map(str, f["anchors"])), tuple(frozenset(map(str, s)) for s in f["followers"]))
            for f in table["fusion"]
        ),
        oracle=OracleSpec(str(table["oracle"]["name"]), dict(table["oracle"].get("options", {}))),
        cost_model=None
        if pin is None
        else CostModelPin(
            str(pin["file"]), str(pin["sha256"]), int(pin["feature_version"]), str(pin["data_sha256"])
        ),
        config_hash=_config_hash(table),
    )


def _config_hash(table: Mapping[str, Any]) -> str:
    """SHA-256 of the tables that decide what a measurement means."""
    relevant = {k: table[k] for k in ("precision", "hardware", "memory", "engine", "fusion", "oracle")}
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()
