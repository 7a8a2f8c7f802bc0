"""The report's contract, decisions: choices and their values, and what passes did and had to leave."""

from __future__ import annotations

from dataclasses import dataclass

from hwopt.report.schema_costs import Figure


@dataclass(frozen=True)
class ValueRow:
    """One value of a choice, *keep* included; figures are those of the choice's subgraphs."""

    name: str
    passes: tuple[str, ...]
    """Who offers it; none for *keep*."""
    risk: str
    """One of "exact", "lossy" and "retrain"."""
    latency_us: Figure
    peak_bytes: Figure
    weight_bytes: Figure
    damage: Figure
    """What it does to the model's output, on calibration data that did not fit it."""
    dominated_by: str = ""
    """A value of the choice that is never worse, wherever this one is possible; "" where there is none."""


@dataclass(frozen=True)
class ChoiceRow:
    """One choice, all its values, the one that was taken, and why."""

    id: str
    """Derived from structure, not from names: it survives a re-export."""
    kind: str
    """One of "canonical", "form", "width", "model", "input" and "weights"."""
    nodes: tuple[str, ...]
    """Nodes that some value of it touches."""
    values: tuple[ValueRow, ...]
    chosen: str
    """Name of the value that was taken; "keep" where nothing changed."""
    reason: str


@dataclass(frozen=True)
class SkippedRow:
    """A place that a pass looked at and had to leave, and why."""

    pass_: str
    node: str
    reason: str


@dataclass(frozen=True)
class PassRow:
    """What one pass did in the run; seconds are of wall-clock time, plans that were given up included."""

    name: str
    values: int
    """How many it offered, of any risk."""
    skipped: int
    """Places that it had to leave when it looked last."""
    steps: int
    """Of the delivered plan."""
    nodes_removed: int
    nodes_added: int
    finding_s: float
    """Looking for places."""
    rewriting_s: float
    """Writing steps into the model."""
    summary: str = ""
    """What it turns into what, in a line."""
