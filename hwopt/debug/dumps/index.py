"""What index.json says of a run's dumps; its keys are the fields here, in their order."""

from __future__ import annotations

from dataclasses import dataclass

from hwopt.debug.dumps.diff import Changes
from hwopt.estimate import Estimate

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Cost:
    """What a model costs on the run's target, as its cost model predicts; or why that is not known.

    unpriced: nodes that nobody has a price for; the latency is that of the others.
    """

    latency_us: Estimate | None = None
    peak_bytes: int | None = None
    weight_bytes: int | None = None
    macs: int | None = None
    unpriced: tuple[str, ...] = ()
    unavailable: str = ""


@dataclass(frozen=True)
class Output:
    """How far an output is from the input model's, over seeded inputs.

    max_rel: over the output's largest magnitude. limit: what rounding explains of it.
    """

    name: str
    max_abs: float
    max_rel: float
    limit: float
    within_tolerance: bool


@dataclass(frozen=True)
class DumpedStep:
    """One step of the plan, by its number, and what it did."""

    step: int
    choice: str
    value: str
    changes: Changes


@dataclass(frozen=True)
class Dump:
    """One model of the run, and what changed since the one before.

    file: None where it was not written; note: why not. attempt: from 2 on another plan is tried, or the
    same anew, on the model before its first step. outputs: a text says why there are none. weights:
    "exact", "repaired" ..., or that LOSSY steps are not repaired yet.
    """

    file: str | None
    after: str
    attempt: int
    steps: tuple[DumpedStep, ...]
    changes: Changes | None
    nodes_before: int
    nodes_after: int
    cost_before: Cost | None
    cost_after: Cost
    outputs: tuple[Output, ...] | str
    weights: str
    checker: str
    note: str = ""


@dataclass(frozen=True)
class Ended:
    """How the run ended, in which stage and after which step of a plan. how: "delivered", "unchanged" ..."""

    how: str
    stage: str
    step: int
    reason: str = ""


@dataclass(frozen=True)
class Index:
    """The whole file."""

    schema_version: int
    model: str
    sha256: str
    target: str
    seed: int
    exact_tolerance: float
    own_noise_factor: float
    attempts: int
    ended: Ended
    dumps: tuple[Dump, ...]
