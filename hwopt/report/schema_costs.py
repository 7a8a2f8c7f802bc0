"""The report's contract, figures: what a model and its parts cost."""

from __future__ import annotations

from dataclasses import dataclass

from hwopt.estimate import Estimate


@dataclass(frozen=True)
class Missing:
    """Stands where a figure would: why there is none."""

    unavailable: str


Figure = Estimate | Missing
Number = float | Missing  # a count or a ratio that has no spread of its own


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
