"""What a search is given and what it gives back, whatever its strategy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from hwopt.scope import Price


class Objective(StrEnum):
    """What is made as small as possible."""

    LATENCY = "latency"
    MEMORY = "memory"
    SIZE = "size"
    FOOTPRINT = "footprint"
    DAMAGE = "damage"


@dataclass(frozen=True)
class Budget:
    """Hard limits on the model's totals (None: no limit), and what to minimise within them."""

    objective: Objective = Objective.LATENCY
    latency_us: float | None = None
    peak_bytes: int | None = None
    weight_bytes: int | None = None
    footprint_bytes: int | None = None
    damage: float | None = None

    def violations(self, price: Price) -> list[str]:
        """The limits that a price breaks, in words."""
        checks = (
            ("latency", price.latency_us.value, self.latency_us, "us"),
            ("memory", price.peak_bytes, self.peak_bytes, "bytes"),
            ("size", price.weight_bytes, self.weight_bytes, "bytes"),
            ("footprint", price.peak_bytes + price.weight_bytes, self.footprint_bytes, "bytes"),
            ("damage", price.damage, self.damage, ""),
        )
        return [
            f"{name} {value:,.6g} {unit} is above {limit:,.6g}".replace("  ", " ")
            for name, value, limit, unit in checks
            if limit is not None and value > limit * (1 + 1e-9)
        ]


def objective_value(price: Price, objective: Objective) -> float:
    """The figure that the objective speaks of."""
    return {
        Objective.LATENCY: price.latency_us.value,
        Objective.MEMORY: float(price.peak_bytes),
        Objective.SIZE: float(price.weight_bytes),
        Objective.FOOTPRINT: float(price.peak_bytes + price.weight_bytes),
        Objective.DAMAGE: price.damage,
    }[objective]


@dataclass(frozen=True)
class Outcome:
    """The plan a search found.

    assignment: choice id -> value name, for every choice that does not keep. None where no
        plan meets the limits. bound: no plan can be better than this. gap: relative distance
        of the plan found to the bound. evaluations: plans or nodes looked at.
    """

    assignment: Mapping[str, str] | None
    strategy: str
    evaluations: int
    bound: float
    gap: float
    details: Mapping[str, float] = field(default_factory=dict)
