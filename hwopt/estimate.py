"""A figure together with where it comes from: no bare float crosses a module boundary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import hypot, sqrt


class Source(StrEnum):
    """How a figure came about. The three words are never mixed (see docs/architecture.md)."""

    PREDICTED = "predicted"  # by the cost model
    COMPILED = "compiled"  # by a compiler's or simulator's own deterministic model
    MEASURED = "measured"  # on a device
    COMPUTED = "computed"  # counted exactly from the graph (MACs, bytes)


@dataclass(frozen=True)
class Estimate:
    """A value, one standard deviation of its error in the same unit, and its source.

    common: the part of the spread that all predictions of one cost model have in common: they
        are too high together, or too low, so in a sum these parts add up. extrapolated: whether
        the figure, or a part of it, lies outside of what was measured.
    """

    value: float
    spread: float
    source: Source
    common: float = 0.0
    extrapolated: bool = False

    def __add__(self, other: Estimate) -> Estimate:
        """Sum of two figures; predicted wins over compiled."""
        own, others = self._own, other._own
        common = self.common + other.common
        return Estimate(
            self.value + other.value,
            hypot(own, others, common),
            self.source if self.source == other.source else Source.PREDICTED,
            common,
            self.extrapolated or other.extrapolated,
        )

    @property
    def _own(self) -> float:
        """The part of the spread that is this figure's own."""
        return sqrt(max(self.spread**2 - self.common**2, 0.0))

    def scaled(self, factor: float) -> Estimate:
        """The same figure in another unit, or so many times over: its error goes along."""
        size = abs(factor)
        return Estimate(
            self.value * factor, self.spread * size, self.source, self.common * size, self.extrapolated
        )

    def to_json(self) -> dict[str, float | str | bool]:
        """The report's form of a figure; `extrapolated` is there only where it is true."""
        figure: dict[str, float | str | bool] = {
            "value": self.value,
            "spread": self.spread,
            "source": self.source.value,
        }
        return {**figure, "extrapolated": True} if self.extrapolated else figure


def total(estimates: Iterable[Estimate], source: Source = Source.PREDICTED) -> Estimate:
    """Sum of figures; an empty sum is exactly zero.

    Equal figures count as one figure several times over: equal subgraphs are priced alike, and
    are wrong alike. The others share only what they have in common. What is free has no say in
    the source.
    """
    counted = Counter(estimates)
    items = [e.scaled(count) for e, count in counted.items() if e.value or e.spread] or list(counted)
    if not items:
        return Estimate(0.0, 0.0, source)
    result = items[0]
    for item in items[1:]:
        result = result + item
    return result
