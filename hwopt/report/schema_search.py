"""The report's contract, search: limits, the plans that were measured, and those beside the chosen one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hwopt.estimate import Estimate
from hwopt.report.schema_costs import Missing, Number

_NO_LINK = Missing("no plan with LOSSY values was measured")


@dataclass(frozen=True)
class Limit:
    """A hard limit and the figure that was held against it."""

    name: str
    """As the option, with underscores: max_latency, in microseconds; max_memory, in bytes ..."""
    limit: float
    value: Number
    met: bool
    source: str
    """Of the value: "predicted" (its spread added), "compiled", "measured" or "computed"."""


@dataclass(frozen=True)
class Budget:
    """What was asked for: the objective and the hard limits."""

    minimize: str
    """One of "latency", "memory", "size", "footprint" and "damage"."""
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True)
class RoundRow:
    """A plan that was repaired and measured before one was settled on."""

    values: int
    """How many of its choices do not keep."""
    latency_us: Estimate
    added_up: float
    """Damage of its values, one by one."""
    joint: float
    """Damage of all of them together, on data that did not fit the weights."""
    suffered: float
    """The figure that the accuracy limit speaks of."""
    within_limit: bool


@dataclass(frozen=True)
class LinkInfo:
    """How single damage adds up and what it costs, estimated from all measured plans."""

    joint_per_added_up: float
    suffered_per_joint: float
    plans: int


@dataclass(frozen=True)
class SearchInfo:
    """How the plan was found."""

    strategy: str
    evaluations: int
    """Plans that it looked at."""
    bound: Number
    """What no plan can beat, in the search's own model."""
    gap: Number
    """Relative distance of the plan to that bound."""
    seconds: float
    rounds: tuple[RoundRow, ...] = ()
    link: LinkInfo | Missing = _NO_LINK
    stopped: str | None = None
    """What cut it short: "time limit", or "asked" by the caller; null where nothing did."""


@dataclass(frozen=True)
class ParetoRow:
    """A plan that no other beats in latency, damage and footprint at once, or one that was measured.

    Latency and memory as the search's tables predict them.
    """

    latency_us: Estimate
    damage: float
    """Measured for all values together, else what measured plans lead to expect."""
    footprint_bytes: int
    """Arena and weights."""
    weight_bytes: int
    peak_bytes: int
    values: Mapping[str, str]
    """Choice id to value, where it is not *keep*."""
    measured: bool = False
    drop: float | None = None
    """Of accuracy; null where it was not measured."""
    chosen: bool = False
