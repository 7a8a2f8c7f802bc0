"""Everything a finished run knows, handed to the report in one piece."""

from __future__ import annotations

from dataclasses import dataclass

from hwopt.choice import Skip, Value
from hwopt.hints.apply import Orders
from hwopt.report.passes import PassSums
from hwopt.scope import Problem
from hwopt.settle import Settled
from hwopt.trace import Timings
from hwopt.verify import Difference
from hwopt.work import Work


@dataclass(frozen=True)
class Findings:
    """changes: output differences of the result to the input, or why there are none.

    checker: what onnx.checker says of the written file. orders: what hints forbid, pin and prefer, and
    all choices that there were before.
    """

    work: Work
    folds: tuple[Value, ...]
    orders: Orders
    skipped: tuple[Skip, ...]
    problem: Problem
    settled: Settled
    changes: tuple[Difference, ...] | str
    checker: str
    command: str
    timings: Timings
    passes: PassSums

    @property
    def unchanged(self) -> bool:
        """Whether the input came back as the result."""
        return self.settled.model is self.work.model
