"""The report's contract: every key of OUT.report.json, as frozen dataclasses.

This file holds the whole; `schema_costs`, `schema_choices`, `schema_proof`, `schema_search` and
`schema_analysis` its parts, all of which can be had from here.

A figure is an `Estimate` (value, spread, source) or `Missing` with the reason why nobody has
it; a bare zero never stands for "unknown". Units are in the names. Field names are the JSON
keys; a trailing underscore keeps one apart from a Python keyword (`pass_`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from hwopt.report.schema_analysis import (
    NOT_ADDED_UP,
    NOT_ASKED,
    BestPlan,
    PassPotential,
    Potential,
    ShareRow,
    WhereTimeGoes,
)
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
from hwopt.report.schema_proof import (
    AccuracyRow,
    CalibrationInfo,
    OracleCosts,
    OracleProof,
    OutputDifference,
    Verification,
)
from hwopt.report.schema_search import Budget, Limit, LinkInfo, ParetoRow, RoundRow, SearchInfo

__all__ = [
    "AccuracyRow", "BestPlan", "Budget", "CalibrationInfo", "ChoiceRow", "Costs", "Figure", "Hardware",
    "Limit", "LinkInfo", "MemoryLevel", "Missing", "ModelInfo", "Number", "OracleCosts", "OracleProof",
    "Outcome", "OutputDifference", "OutputInfo", "ParetoRow", "PassPotential", "PassRow", "PeakRow",
    "Potential", "Report", "RoofsRow", "RoundRow", "Scalar", "SearchInfo", "ShareRow", "SkippedRow",
    "SubgraphRow", "Subgraphs", "TargetInfo", "TensorRow", "Tool", "Unpriced", "ValueRow", "Verification",
    "WhereTimeGoes",
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
    """Which hwopt made this report."""

    name: str
    version: str
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of Python, of the system, and of the packages that decide figures."""


@dataclass(frozen=True)
class ModelInfo:
    """The model that came in."""

    path: str
    """As it was named; "" for a model that came through the API."""
    sha256: str
    """Of the ONNX file."""
    opset: int


@dataclass(frozen=True)
class OutputInfo:
    """The model that was written."""

    path: str
    sha256: str
    """Of the ONNX file: it ties the sibling files to it."""


@dataclass(frozen=True)
class MemoryLevel:
    """One level of the target's memory."""

    name: str
    bytes: int
    bytes_per_us: float
    """To the next level inwards."""


@dataclass(frozen=True)
class Hardware:
    """What the roofline is made of."""

    clock_mhz: float
    macs_per_us: float
    """Multiply-accumulate operations of the whole array, at its peak."""
    memories: tuple[MemoryLevel, ...]
    """Innermost first."""
    arena: str
    """Name of the memory that holds the activations."""


UNKNOWN = Missing("the report was made by an older hwopt")


@dataclass(frozen=True)
class TargetInfo:
    """The accelerator."""

    name: str
    oracle: str
    """Who measures or compiles for it: vela, zigzag, onnxruntime, command, table."""
    precision: str
    """In which it computes, and which latency, memory and weight sizes speak of."""
    config: str
    """SHA-256 over its hardware, fusion and oracle tables."""
    hardware: Hardware | Missing = UNKNOWN
    cost_model: str = ""
    """SHA-256 of the cost model that predicts; "" where the report does not say."""


@dataclass(frozen=True)
class Report:
    """Everything that one run of `hwopt optimize` or `hwopt analyze` has to say.

    A figure is an object with value, spread and source, or {"unavailable": reason}. Units are in the names.
    """

    tool: Tool
    command: str
    """As a shell reads it; "" where hwopt was called from Python."""
    seed: int
    created: str
    """Time of day, UTC: the only clock time in anything that hwopt writes."""
    outcome: Outcome
    model: ModelInfo
    output: OutputInfo | Missing
    target: TargetInfo
    before: Costs
    after: Costs | Missing
    accuracy: tuple[AccuracyRow, ...] | Missing
    choices: tuple[ChoiceRow, ...]
    """Folds first, then what the search decided about."""
    skipped: tuple[SkippedRow, ...]
    subgraphs: Subgraphs
    verification: Verification | Missing
    budget: Budget
    search: SearchInfo | Missing
    timings_s: Mapping[str, float]
    """Wall-clock seconds by stage."""
    notes: tuple[str, ...] = ()
    """What a reader must know to trust the figures."""
    pareto: tuple[ParetoRow, ...] = ()
    """By latency."""
    passes: tuple[PassRow, ...] = ()
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    """Options that held in the run and are not the default, by name, as they would be typed again."""
    calibration: CalibrationInfo | Missing = UNKNOWN
    where_time_goes: WhereTimeGoes | Missing = NOT_ADDED_UP
    potential: Potential | Missing = NOT_ASKED
    schema_version: int = SCHEMA_VERSION
    """Raised where a key goes, or changes its meaning; never for keys that come."""
