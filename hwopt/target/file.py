"""Targets: an accelerator as data. A target is read, checked, and never executed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hwopt.target.check import SCHEMA_VERSION as SCHEMA_VERSION
from hwopt.target.check import parse_target_toml
from hwopt.target.keys import PRECISION_BYTES

FILE_NAME = "target.toml"


@dataclass(frozen=True)
class Memory:
    """One level of memory. bytes_per_cycle is the bandwidth to the next level inwards."""

    name: str
    bytes: int
    bytes_per_cycle: float


@dataclass(frozen=True)
class Engine:
    """A unit of the target that runs operators: the array itself, or the host CPU beside it."""

    name: str
    ops: frozenset[str]
    host: bool = False


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
    skipped_sparsity: tuple[str, ...] = ()  # patterns of zeros whose multiplications are left out
    arena: str = ""  # the memory that holds the activations; "" is the innermost
    depthwise_macs_per_cycle: int | None = None  # None: depthwise runs like any other group

    @property
    def element_bytes(self) -> int:
        """Bytes of one activation element at the target's precision."""
        return PRECISION_BYTES[self.precision]

    @property
    def arena_memory(self) -> Memory:
        """The memory that the arena of activations must fit: the innermost unless target.toml names one.

        Where the innermost is a cache of an arena further out (Ethos Dedicated_Sram), that one.
        """
        return next((item for item in self.memories if item.name == self.arena), self.memories[0])

    @property
    def weights_matter(self) -> bool:
        """Whether a price depends on the values of weights: on zeros and repeats."""
        return self.weights_compressed or bool(self.skipped_sparsity)

    def gains_from(self, pattern: str) -> bool:
        """Whether zeros in this pattern ("unstructured", "2:4", "block", "channel") cost less here.

        A compressed weight stream gains from zeros wherever they stand; zeros anywhere include
        those in a pattern.
        """
        return self.weights_compressed or bool({pattern, "unstructured"} & set(self.skipped_sparsity))

    def cycles_to_us(self, cycles: float) -> float:
        """Cycles of the target's clock in microseconds."""
        return cycles / self.clock_mhz

    def engine_of(self, op_type: str) -> str | None:
        """The first engine that runs this operator, or None where no engine does."""
        return next((engine.name for engine in self.engines if op_type in engine.ops), None)


def read_target(folder: Path) -> Target:
    """Reads FOLDER/target.toml.

    Raises BadInput naming the file, the line and the key at fault.
    """
    return _target(parse_target_toml(folder / FILE_NAME), folder)


def _target(table: dict[str, Any], folder: Path) -> Target:
    """The target that a table without a problem describes."""
    hardware, oracle = table["hardware"], table["oracle"]
    return Target(
        name=table["name"],
        title=table["title"],
        folder=folder,
        precision=table["precision"],
        clock_mhz=float(hardware["clock_mhz"]),
        macs_per_cycle=hardware["macs_per_cycle"],
        array=dict(hardware.get("array", {})),
        channel_multiples=tuple(sorted(hardware["channel_multiples"])),
        weights_compressed=hardware["weights_compressed"],
        memories=tuple(Memory(m["name"], m["bytes"], float(m["bytes_per_cycle"])) for m in table["memory"]),
        engines=tuple(Engine(e["name"], frozenset(e["ops"]), e.get("host", False)) for e in table["engine"]),
        fusions=tuple(
            Fusion(frozenset(f["anchors"]), tuple(frozenset(words) for words in f["followers"]))
            for f in table.get("fusion", [])
        ),
        oracle=OracleSpec(oracle["name"], dict(oracle.get("options", {}))),
        cost_model=None if "cost_model" not in table else CostModelPin(**table["cost_model"]),
        config_hash=_config_hash(table),
        skipped_sparsity=tuple(table.get("sparsity", {}).get("skipped", [])),
        arena=hardware.get("arena_memory", ""),
        depthwise_macs_per_cycle=hardware.get("depthwise_macs_per_cycle"),
    )


def _config_hash(table: Mapping[str, Any]) -> str:
    """SHA-256 of the tables that decide what a measurement means."""
    relevant = {k: table[k] for k in ("precision", "hardware", "memory", "engine", "oracle")}
    relevant["fusion"] = table.get("fusion", [])
    if "sparsity" in table:
        relevant["sparsity"] = table["sparsity"]
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()
