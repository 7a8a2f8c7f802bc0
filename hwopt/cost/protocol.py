"""What the engine needs of a cost model: prices for signatures, and which kinds it knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hwopt.estimate import Estimate
from hwopt.signature import Signature


class Pricer(Protocol):
    """Prices fused operator groups; hwopt.cost.model.CostModel is the one that ships."""

    def knows(self, signature: Signature) -> bool:
        """Whether operators of this kind were ever measured."""

    def predict(self, signatures: Sequence[Signature]) -> list[Estimate]:
        """Latency in microseconds of each group, in order."""
