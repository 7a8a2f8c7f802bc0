"""The report's contract, decisions: choices and their values, and what passes did and had to leave."""

from __future__ import annotations

from dataclasses import dataclass

from hwopt.report.schema_costs import Figure


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
class PassRow:
    """What one pass did in the run.

    values: how many it offered, of any risk; skipped: places that it had to leave when it looked last.
    steps: of the delivered plan, with the nodes that went and came. Seconds of wall-clock time, over the
    whole run: looking for places, and writing steps into the model, plans that were given up included.
    """

    name: str
    values: int
    skipped: int
    steps: int
    nodes_removed: int
    nodes_added: int
    finding_s: float
    rewriting_s: float
