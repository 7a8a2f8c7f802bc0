"""What a search is given and what it gives back, whatever its strategy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from hwopt.scope import Assignment, Price, Problem
from hwopt.trace import Listeners


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


class Evaluate(Protocol):
    """Figures that count more than the tables: a whole network's, by the oracle, say."""

    def __call__(self, plans: Sequence[Assignment], /) -> Sequence[Price | None]:
        """The price of each plan, None where it cannot be written."""


def never() -> bool:
    """A search that nobody stops."""
    return False


@dataclass(frozen=True)
class Task:
    """What every strategy is handed.

    evaluations: how many plans it may look at; strategies stop on counts, never on clocks.
    cuts: plans that must not come back (they broke a limit when they were measured). start: plans
    to begin from. evaluate: asked in the place of the tables where prices do not add up; strategies
    that need sums (`milp`) leave it out. stopped: asked between cohorts; true ends the search with
    the best plan so far. store: a file in which a strategy that can keeps its state to resume.
    """

    problem: Problem
    budget: Budget
    seed: int = 0
    evaluations: int = 5_000
    cuts: Sequence[Assignment] = ()
    start: Sequence[Assignment] = ()
    evaluate: Evaluate | None = None
    stopped: Callable[[], bool] = never
    store: Path | None = None
    listeners: Listeners = ()


@dataclass(frozen=True)
class Point:
    """One plan of a front, with its price."""

    assignment: Assignment
    price: Price


@dataclass(frozen=True)
class Outcome:
    """The plan a search found.

    assignment: choice id -> value name, for every choice that does not keep. None where no
        plan meets the limits. evaluations: plans or nodes looked at. bound: no plan can be better
        than this; gap: relative distance of the plan found to the bound; both nan where the
        strategy proves nothing. closest: where no plan was found, the one that breaks the limits
        least, if the strategy has one. front: plans that no other plan found beats in latency,
        damage and footprint at once, by latency. curve: (evaluations, best objective so far within
        the limits) at every improvement. stopped: whether it was ended before its time.
    """

    assignment: Assignment | None
    strategy: str
    evaluations: int
    bound: float = float("nan")
    gap: float = float("nan")
    closest: Assignment | None = None
    front: tuple[Point, ...] = ()
    curve: tuple[tuple[int, float], ...] = ()
    stopped: bool = False


class Strategy(Protocol):
    """One way to search. Same task, same outcome, on every machine."""

    def __call__(self, task: Task, /) -> Outcome: ...
