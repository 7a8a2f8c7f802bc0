"""The report's contract: every key of OUT.report.json, as frozen dataclasses.

This file holds the whole; `schema_costs`, `schema_choices`, `schema_proof` and `schema_search` its parts, all
of which can be had from here.

A figure is an `Estimate` (value, spread, source) or `Missing` with the reason why nobody has
it; a bare zero never stands for "unknown". Units are in the names. Field names are the JSON
keys; a trailing underscore keeps one apart from a Python keyword (`pass_`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from hwopt.report.schema_choices import ChoiceRow, PassRow, SkippedRow, ValueRow
from hwopt.report.schema_costs import (
    Costs,
    Figure,
    Missing,
    Number,
    PeakRow,
    RoofsRow,
    SubgraphRow,
    Subgraphs,
    TensorRow,
    Unpriced,
)
from hwopt.report.schema_proof import AccuracyRow, OracleCosts, OracleProof, OutputDifference, Verification
from hwopt.report.schema_search import Budget, Limit, LinkInfo, ParetoRow, RoundRow, SearchInfo

__all__ = [
    "AccuracyRow", "Budget", "ChoiceRow", "Costs", "Figure", "Hardware", "Limit", "LinkInfo", "MemoryLevel",
    "Missing", "ModelInfo", "Number", "OracleCosts", "OracleProof", "Outcome", "OutputDifference",
    "OutputInfo", "ParetoRow", "PassRow", "PeakRow", "Report", "RoofsRow", "RoundRow", "Scalar",
    "SearchInfo", "SkippedRow", "SubgraphRow", "Subgraphs", "TargetInfo", "TensorRow", "Tool", "Unpriced",
    "ValueRow", "Verification",
]  # fmt: skip

SCHEMA_VERSION = 1
Scalar = str | int | float | bool | None


class Outcome(StrEnum):
    """How the run ended."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    BUDGET_NOT_MET = "budget not met"
    ANALYSED = "analysed"


@dataclass(frozen=True)
class Tool:
    """Which hwopt made this report. versions: of Python, of the system, and of what decides figures."""

    name: str
    version: str
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelInfo:
    """The model that came in."""

    path: str
    sha256: str
    opset: int


@dataclass(frozen=True)
class OutputInfo:
    """The model that was written: its file's SHA-256 ties the sibling files to it."""

    path: str
    sha256: str


@dataclass(frozen=True)
class MemoryLevel:
    """One level of the target's memory. bytes_per_us: to the next level inwards."""

    name: str
    bytes: int
    bytes_per_us: float


@dataclass(frozen=True)
class Hardware:
    """What the roofline is made of. memories: innermost first; arena: the one that holds the activations."""

    clock_mhz: float
    macs_per_us: float
    memories: tuple[MemoryLevel, ...]
    arena: str


UNKNOWN = Missing("the report was made by an older hwopt")


@dataclass(frozen=True)
class TargetInfo:
    """The accelerator. config: SHA-256 over hardware, fusion and oracle tables; precision: of pricing."""

    name: str
    oracle: str
    precision: str
    config: str
    hardware: Hardware | Missing = UNKNOWN


@dataclass(frozen=True)
class Report:
    """Everything that one run has to say. `created` is the only clock time in any written file."""

    tool: Tool
    command: str
    seed: int
    created: str
    outcome: Outcome
    model: ModelInfo
    output: OutputInfo | Missing
    target: TargetInfo
    before: Costs
    after: Costs | Missing
    accuracy: tuple[AccuracyRow, ...] | Missing
    choices: tuple[ChoiceRow, ...]
    skipped: tuple[SkippedRow, ...]
    subgraphs: Subgraphs
    verification: Verification | Missing
    budget: Budget
    search: SearchInfo | Missing
    timings_s: Mapping[str, float]
    notes: tuple[str, ...] = ()
    pareto: tuple[ParetoRow, ...] = ()
    passes: tuple[PassRow, ...] = ()
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION
