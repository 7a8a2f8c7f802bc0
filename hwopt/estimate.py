"""A figure together with where it comes from: no bare float crosses a module boundary."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import hypot


class Source(StrEnum):
    """How a figure came about. The three words are never mixed (see docs/architecture.md)."""

    PREDICTED = "predicted"  # by the cost model
    COMPILED = "compiled"  # by a compiler's or simulator's own deterministic model
    MEASURED = "measured"  # on a device
    COMPUTED = "computed"  # counted exactly from the graph (MACs, bytes)


@dataclass(frozen=True)
class Estimate:
    """A value, one standard deviation of its error in the same unit, and its source."""

    value: float
    spread: float
    source: Source

    def __add__(self, other: Estimate) -> Estimate:
        """Sum of two figures whose errors are independent; predicted wins over compiled."""
        source = self.source if self.source == other.source else Source.PREDICTED
        return Estimate(self.value + other.value, hypot(self.spread, other.spread), source)

    def scaled(self, factor: float) -> Estimate:
        """The same figure in another unit."""
        return Estimate(self.value * factor, self.spread * abs(factor), self.source)

    def to_json(self) -> dict[str, float | str]:
        """The report's form of a figure."""
        return {"value": self.value, "spread": self.spread, "source": self.source.value}


def total(estimates: Iterable[Estimate], source: Source = Source.PREDICTED) -> Estimate:
    """Sum of independent figures; an empty sum is exactly zero."""
    items = list(estimates)
    if not items:
        return Estimate(0.0, 0.0, source)
    result = items[0]
    for item in items[1:]:
        result = result + item
    return result
