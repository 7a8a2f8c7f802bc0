"""What every oracle answers: jobs in, measurements out.

An oracle knows nothing of partitions, choices or cost models. A job is a small,
self-contained ONNX model with static shapes and its real weights; a measurement gives the
total and, where the oracle can tell, one row per node output of that model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

Progress = Callable[[int, int], None]  # (done, all)


@dataclass(frozen=True)
class Job:
    """One thing to measure.

    model: a serialised onnx.ModelProto; every shape static, batch 1; weights are initializers
        or Constant nodes; tensors are named and the names are those used in `rows`.
    in_context: measure the graph as a part of a larger network rather than alone (Vela: a
        2x2 stride-1 max-pool guard before and after, whose own cost is left out).
    """

    model: bytes
    in_context: bool = False

    @property
    def key(self) -> str:
        """SHA-256 over everything in the job: the cache adds the oracle's own identity."""
        return hashlib.sha256(self.model + (b"\x01" if self.in_context else b"\x00")).hexdigest()


@dataclass(frozen=True)
class Row:
    """Cost of one operator. `output` is the name of the ONNX value that it computes."""

    output: str
    latency_us: float
    macs: int = 0
    off_chip_bytes: int = 0
    weight_bytes: int = 0
    bound: str = ""  # "compute", "on_chip", "off_chip", where the oracle tells


@dataclass(frozen=True)
class Measurement:
    """What an oracle said of one job. Figures it cannot give are None, never 0.

    unpriced: outputs of the operators that the oracle has no figure for; `latency_us` is the sum
        over the others, so a job with unpriced operators is a lower bound and must be shown as one.
    """

    latency_us: float
    rows: tuple[Row, ...] = ()
    peak_bytes: int | None = None
    weight_bytes: int | None = None
    details: Mapping[str, float] = field(default_factory=dict)
    unpriced: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unmeasured:
    """Why an oracle has no figure for a job; `nodes` are the outputs of the operators at fault.

    transient: a time-out or a crash, not a property of the job; never cached.
    """

    reason: str
    nodes: tuple[str, ...] = ()
    transient: bool = False


Answer = Measurement | Unmeasured


class Oracle(Protocol):
    """Anything that can measure a subgraph or a whole model on a target."""

    name: str
    source: str  # "compiled" or "measured"

    @property
    def identity(self) -> str:
        """Name, version, options and lowering version: part of the cache key."""

    def measure(self, jobs: Sequence[Job], progress: Progress | None = None) -> list[Answer]:
        """One answer per job, in order. Never raises for a single job that fails."""
