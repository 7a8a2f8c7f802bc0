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
class TensorRow:
    """An activation in memory, at the target's precision."""

    name: str
    bytes: int


@dataclass(frozen=True)
class PeakRow:
    """The step of the schedule with most bytes alive.

    subgraph: index into the rows; tensors: those that live then, largest first.
    """

    subgraph: int
    live_bytes: int
    tensors: tuple[TensorRow, ...]


@dataclass(frozen=True)
class Costs:
    """What a model costs on the target. peak_bytes: arena of activations; weight_bytes: encoded weights.

    peak: which step of the schedule needs most memory; None where the model has no steps.
    """

    latency_us: Figure
    peak_bytes: Figure
    weight_bytes: Figure
    macs: Number
    params: int
    nodes: int
    unpriced: tuple[Unpriced, ...] = ()
    peak: PeakRow | None = None


NO_PRICE = Missing("it has no price")


@dataclass(frozen=True)
class RoofsRow:
    """What no implementation can beat: the time that the MAC array and each memory need at the least."""

    compute_us: float
    on_chip_us: float
    off_chip_us: float
    on_chip_bytes: int
    off_chip_bytes: int


@dataclass(frozen=True)
class SubgraphRow:
    """One unit that the target runs. bound: what limits it ("compute", "on_chip", "off_chip", "").

    peak_bytes: alive while it runs. sources: nodes of the input model that it comes from. utilisation: share
    of the MAC array's peak that it uses.
    """

    id: str
    kind: str
    engine: str | None
    nodes: tuple[str, ...]
    latency_us: Figure
    bound: str
    peak_bytes: Figure
    sources: tuple[str, ...] = ()
    macs: int = 0
    weight_bytes: int = 0
    utilisation: Number = NO_PRICE
    roofs: RoofsRow | None = None


@dataclass(frozen=True)
class Subgraphs:
    """The units of the model that came in and of the one that was written, in order of execution."""

    before: tuple[SubgraphRow, ...] = ()
    after: tuple[SubgraphRow, ...] = ()
