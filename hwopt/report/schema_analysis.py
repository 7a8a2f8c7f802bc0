"""The report's contract, analysis: where the time goes, and what rewriting could gain at the most."""

from __future__ import annotations

from dataclasses import dataclass

from hwopt.report.schema_costs import Figure, Missing, Number


@dataclass(frozen=True)
class ShareRow:
    """Subgraphs that have something in common, added up; latency is that of those that have a price."""

    name: str
    subgraphs: int
    latency_us: Figure
    share: Number
    """Of the model's latency, 0 to 1."""
    utilisation: Number
    """Share of the MAC array's peak that they use while they run, 0 to 1."""
    macs: int
    weight_bytes: int
    on_chip_bytes: int
    """Bytes to and from the innermost memory."""
    off_chip_bytes: int
    """Bytes to and from the outermost memory."""


@dataclass(frozen=True)
class WhereTimeGoes:
    """The subgraphs of the input added up; the longest first."""

    bottleneck: str
    """The whole model in a sentence."""
    kinds: tuple[ShareRow, ...]
    """By kind of operator."""
    engines: tuple[ShareRow, ...]
    """By engine of the target; "none" for what it cannot run."""
    bounds: tuple[ShareRow, ...]
    """By what limits them: "compute", "on_chip", "off_chip", or "none"."""


@dataclass(frozen=True)
class BestPlan:
    """The quickest plan on the search's tables. Predicted: nothing of it was written or verified."""

    latency_us: Figure
    change: Number
    """Of the predicted latency: -0.25 is a quarter less."""
    peak_bytes: Figure
    """The most bytes alive at one step, without a layout."""
    weight_bytes: Figure
    steps: int
    """Folds, and values that do not keep."""


@dataclass(frozen=True)
class PassPotential:
    """What one pass could do; values that only training can mend count where it has no others."""

    name: str
    risk: str
    """The highest among its values: "exact", "lossy" or "retrain"."""
    choices: int
    """Choices that it offers something for."""
    values: int
    change: Number
    """Of the predicted latency of the input, at the most: by this pass alone, beyond what folds gain."""


@dataclass(frozen=True)
class Potential:
    """What `hwopt optimize` could gain at the most, by the tables that it searches."""

    before_us: Figure
    """Predicted latency of the input, which every change here is of."""
    exact: BestPlan
    """Of EXACT values alone: what needs no data."""
    everything: BestPlan
    """Of EXACT and LOSSY values, before accuracy is looked at: no limit on accuracy allows more."""
    passes: tuple[PassPotential, ...]


NOT_ADDED_UP = Missing("hwopt analyze adds the subgraphs up")
NOT_ASKED = Missing("hwopt analyze tells what rewriting could gain at the most")
