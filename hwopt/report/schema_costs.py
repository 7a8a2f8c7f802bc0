"""The report's contract, figures: what a model and its parts cost."""

from __future__ import annotations

from dataclasses import dataclass

from hwopt.estimate import Estimate


@dataclass(frozen=True)
class Missing:
    """Stands where a figure would: nobody has it."""

    unavailable: str
    """Why there is none."""


Figure = Estimate | Missing
Number = float | Missing  # a count or a ratio that has no spread of its own


@dataclass(frozen=True)
class Unpriced:
    """An operator that the target cannot run or that nobody could price; no latency counts it."""

    node: str
    op: str
    """Its operator type."""
    reason: str


@dataclass(frozen=True)
class TensorRow:
    """An activation in memory, at the target's precision."""

    name: str
    bytes: int


@dataclass(frozen=True)
class PeakRow:
    """The step of the schedule with most bytes alive."""

    subgraph: int
    """Index into the subgraph rows of the same side, from 0."""
    live_bytes: int
    tensors: tuple[TensorRow, ...]
    """The activations that live then, largest first."""


@dataclass(frozen=True)
class Costs:
    """What a model costs on the target."""

    latency_us: Figure
    """Sum over the subgraphs that have a price, in microseconds."""
    peak_bytes: Figure
    """The arena of activations with its layout, weights not counted."""
    weight_bytes: Figure
    """The weights as the target's encoder writes them, at the target's precision."""
    macs: Number
    """Multiply-accumulate operations of one inference."""
    params: int
    """Elements of all floating-point constants."""
    nodes: int
    """Nodes of the ONNX graph."""
    unpriced: tuple[Unpriced, ...] = ()
    """What has no price and is not part of the latency."""
    peak: PeakRow | None = None
    """Which step of the schedule needs most memory; null where the model has no steps."""


NO_PRICE = Missing("it has no price")


@dataclass(frozen=True)
class RoofsRow:
    """What no implementation can beat: the time that the MAC array and each memory need at the least."""

    compute_us: float
    on_chip_us: float
    off_chip_us: float
    on_chip_bytes: int
    """Bytes to and from the innermost memory."""
    off_chip_bytes: int
    """Bytes to and from the outermost memory."""


@dataclass(frozen=True)
class SubgraphRow:
    """One unit that the target runs: an operator with the followers that it fuses."""

    id: str
    """Short hash of its kinds, shapes, types and neighbours: equal subgraphs have one id."""
    kind: str
    engine: str | None
    """Which of the target's engines runs it; null where none can."""
    nodes: tuple[str, ...]
    """Nodes of the model on this side."""
    latency_us: Figure
    bound: str
    """What limits it: "compute", "on_chip", "off_chip", or "" where nothing does."""
    peak_bytes: Figure
    """Activations alive while it runs, whether it reads them or not."""
    sources: tuple[str, ...] = ()
    """Nodes of the input model that it comes from."""
    macs: int = 0
    weight_bytes: int = 0
    utilisation: Number = NO_PRICE
    """Share of the MAC array's peak that it uses, 0 to 1."""
    roofs: RoofsRow | None = None
    """null where it computes nothing and moves nothing."""
    ops: tuple[str, ...] = ()
    """Its ONNX operators in order, the one that decides the kind first."""


@dataclass(frozen=True)
class Subgraphs:
    """The units of the model that came in and of the one that was written, in order of execution."""

    before: tuple[SubgraphRow, ...] = ()
    after: tuple[SubgraphRow, ...] = ()
