"""The report's contract: every key of OUT.report.json, as frozen dataclasses.

A figure is an `Estimate` (value, spread, source) or `Missing` with the reason why nobody has
it; a bare zero never stands for "unknown". Units are in the names. Field names are the JSON
keys; a trailing underscore keeps one apart from a Python keyword (`pass_`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from hwopt.estimate import Estimate

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Missing:
    """Stands where a figure would: why there is none."""

    unavailable: str


Figure = Estimate | Missing
Number = float | Missing  # a count or a ratio that has no spread of its own
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
class TargetInfo:
    """The accelerator. config: SHA-256 over hardware, fusion and oracle tables; precision: of pricing."""

    name: str
    oracle: str
    precision: str
    config: str


@dataclass(frozen=True)
class Unpriced:
    """An operator that the target cannot run or that nobody could price."""

    node: str
    op: str
    reason: str


@dataclass(frozen=True)
class Costs:
    """What a model costs on the target. peak_bytes: arena of activations; weight_bytes: encoded weights."""

    latency_us: Figure
    peak_bytes: Figure
    weight_bytes: Figure
    macs: Number
    params: int
    nodes: int
    unpriced: tuple[Unpriced, ...] = ()


@dataclass(frozen=True)
class AccuracyRow:
    """Accuracy at one precision, before and after; drop is before - after (positive: worse).

    metric: "top1", "kl", "relative_error" ...; for a divergence `before` is 0 and `after` is it.
    interval: 95%, of the drop. how: on which data, and how the fit was kept apart from it.
    against: the precision of the input that `before` and the drop speak of.
    """

    metric: str
    precision: str
    before: Number
    after: Number
    drop: Number
    interval: tuple[float, float] | Missing
    samples: int
    how: str
    against: str = "fp32"


@dataclass(frozen=True)
class ValueRow:
    """One value of a choice, *keep* included; figures are those of the choice's subgraphs.

    damage: what the value does to the model's output, on calibration data that did not fit it.
    dominated_by: another value of the choice that is never worse, wherever this one is possible; "" where
    there is none.
    """

    name: str
    passes: tuple[str, ...]
    risk: str
    latency_us: Figure
    peak_bytes: Figure
    weight_bytes: Figure
    damage: Figure
    dominated_by: str = ""


@dataclass(frozen=True)
class ChoiceRow:
    """One choice, all its values, the one that was taken, and why."""

    id: str
    kind: str
    nodes: tuple[str, ...]
    values: tuple[ValueRow, ...]
    chosen: str
    reason: str


@dataclass(frozen=True)
class SkippedRow:
    """A place that a pass looked at and had to leave, and why."""

    pass_: str
    node: str
    reason: str


@dataclass(frozen=True)
class SubgraphRow:
    """One unit that the target runs. bound: what limits it ("compute", "on_chip", "off_chip", "")."""

    id: str
    kind: str
    engine: str | None
    nodes: tuple[str, ...]
    latency_us: Figure
    bound: str
    peak_bytes: Figure


@dataclass(frozen=True)
class Subgraphs:
    """The units of the model that came in and of the one that was written, in order of execution."""

    before: tuple[SubgraphRow, ...] = ()
    after: tuple[SubgraphRow, ...] = ()


@dataclass(frozen=True)
class OutputDifference:
    """Largest difference of one output between input and written model (EXACT part of the plan).

    max_rel: max_abs over the largest magnitude in the reference output.
    """

    name: str
    max_abs: float
    max_rel: float


@dataclass(frozen=True)
class OracleCosts:
    """The oracle's own figures for a whole model."""

    latency_us: Figure
    peak_bytes: Figure


@dataclass(frozen=True)
class OracleProof:
    """The whole model before and after, asked of the oracle."""

    before: OracleCosts
    after: OracleCosts


@dataclass(frozen=True)
class Verification:
    """What was checked on the written file. checker: "passed", or what onnx.checker objects to.

    outputs: of the fp32 result, before it was written in another precision (`outputs_of`).
    interface_changes: what the user allowed to change, one line each.
    """

    interface_same: bool
    checker: str
    outputs: tuple[OutputDifference, ...]
    oracle: OracleProof | Missing
    interface_changes: tuple[str, ...] = ()
    outputs_of: str = "file"


@dataclass(frozen=True)
class Limit:
    """A hard limit, the figure that was held against it, and where that figure comes from."""

    name: str
    limit: float
    value: Number
    met: bool
    source: str


@dataclass(frozen=True)
class Budget:
    """What was asked for: the objective and the hard limits."""

    minimize: str
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True)
class RoundRow:
    """A plan that was repaired and measured before one was settled on.

    added_up: damage of its values one by one; joint: of all together, measured on data that did not
    fit the weights; suffered: the figure that the accuracy limit speaks of.
    """

    values: int
    latency_us: Estimate
    added_up: float
    joint: float
    suffered: float
    within_limit: bool


@dataclass(frozen=True)
class LinkInfo:
    """How single damage adds up and what it costs, estimated from all measured plans (`hwopt.link`)."""

    joint_per_added_up: float
    suffered_per_joint: float
    plans: int


@dataclass(frozen=True)
class SearchInfo:
    """How the plan was found. gap: relative distance to the proven bound of the search's own model.

    stopped: what cut it short ("time limit", or "asked" by the caller), None where nothing did.
    """

    strategy: str
    evaluations: int
    bound: Number
    gap: Number
    seconds: float
    rounds: tuple[RoundRow, ...] = ()
    link: LinkInfo | Missing = Missing("no plan with LOSSY values was measured")
    stopped: str | None = None


@dataclass(frozen=True)
class ParetoRow:
    """A plan that no other beats in latency, damage and footprint at once, or one that was measured.

    Latency and memory as the search's tables predict them. damage: measured for all values together, else
    what measured plans lead to expect. values: choice id -> value, where it is not *keep*. drop: of
    accuracy, where it was measured.
    """

    latency_us: Estimate
    damage: float
    footprint_bytes: int
    weight_bytes: int
    peak_bytes: int
    values: Mapping[str, str]
    measured: bool = False
    drop: float | None = None
    chosen: bool = False


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
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION
