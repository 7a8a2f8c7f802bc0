"""The report's contract, search: limits, the plans that were measured, and those beside the chosen one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hwopt.estimate import Estimate
from hwopt.report.schema_costs import Missing, Number

_NO_LINK = Missing("no plan with LOSSY values was measured")


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
    link: LinkInfo | Missing = _NO_LINK
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
