"""Scopes: the choices that touch one piece of a model, and a table over their joint values.

The search works on these tables alone; it never sees a node.
"""

from __future__ import annotations

from collections import ChainMap, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from hwopt.choice import KEEP, Choice
from hwopt.estimate import Estimate, Source, total

DAMAGE = "damage:"  # how the ids of tables that hold damage alone begin
Assignment = Mapping[str, str]  # choice id -> value name; a choice that is absent keeps


@dataclass(frozen=True)
class Price:
    """What a piece of the model costs under one joint value of its choices.

    latency_us: predicted. weight_bytes: at the target's precision. live: bytes that it holds, as
    (step of the schedule, bytes): what it works on at its own steps, what it leaves for others at
    the steps that this lives across. damage: of the model's output, in the unit of the run's
    divergence; guessed: not measured, but read off between milder and harsher values that were.
    unpriced: nodes nobody has a figure for.
    """

    latency_us: Estimate
    weight_bytes: int = 0
    live: tuple[tuple[int, int], ...] = ()
    macs: int = 0
    damage: float = 0.0
    unpriced: tuple[str, ...] = ()
    guessed: bool = False

    @property
    def peak_bytes(self) -> int:
        """Most bytes alive at one step; no layout can do with less."""
        return max((held for _, held in self.live), default=0)


NOTHING = Price(Estimate(0.0, 0.0, Source.PREDICTED))


@dataclass(frozen=True)
class Scope:
    """choices: ids, in the order of the table's keys. A joint value that is absent is impossible."""

    id: str
    choices: tuple[str, ...]
    table: Mapping[tuple[str, ...], Price]

    def price(self, assignment: Assignment) -> Price | None:
        """The entry for an assignment, None where it is impossible."""
        return self.table.get(tuple(assignment.get(choice, KEEP) for choice in self.choices))


@dataclass(frozen=True)
class Problem:
    """Everything a search needs: the choices, their tables, and what no choice touches.

    start: a plan that is possible: {} unless somebody said that a choice may not keep. wishes: (choice,
    value) that somebody prefers, all together for no more than this share of the objective: within.
    """

    choices: tuple[Choice, ...]
    scopes: tuple[Scope, ...]
    fixed: Price
    start: Assignment = field(default_factory=dict)
    wishes: tuple[tuple[str, str], ...] = ()
    within: float = 0.0

    @cached_property
    def scopes_of(self) -> Mapping[str, Sequence[Scope]]:
        """The scopes of every choice that some scope has, by the choice's id, in the problem's order."""
        found: dict[str, list[Scope]] = defaultdict(list)
        for scope in self.scopes:
            for choice in dict.fromkeys(scope.choices):
                found[choice].append(scope)
        return dict(found)

    @cached_property
    def costs(self) -> Problem:
        """The problem without its tables that hold damage alone."""
        return replace(self, scopes=tuple(s for s in self.scopes if not s.id.startswith(DAMAGE)))

    def total(self, assignment: Assignment) -> Price | None:
        """The whole model's price: sums, memory step by step. None where it is impossible."""
        found = [scope.price(assignment) for scope in self.scopes]
        if any(price is None for price in found):
            return None
        return combine([self.fixed, *(price for price in found if price is not None)])


def alone_price(problem: Problem, choice: Choice, name: str) -> Price | None:
    """The price of the choice's scopes with this value and everything else kept; None if impossible.

    What may not keep is as it is in the problem's `start`.
    """
    mine = problem.scopes_of.get(choice.id, ())
    if not mine:
        return None
    alone = ChainMap({choice.id: name}, dict(problem.start)) if problem.start else {choice.id: name}
    prices = [scope.price(alone) for scope in mine]
    if any(price is None for price in prices):
        return None
    return combine([price for price in prices if price is not None])


def without_damage(problem: Problem) -> Problem:
    """The problem without what was measured of the output: values that were not measured have a price."""
    return problem.costs


def combine(prices: Sequence[Price]) -> Price:
    """The price of several pieces together."""
    live: dict[int, int] = defaultdict(int)
    for price in prices:
        for step, held in price.live:
            live[step] += held
    return Price(
        total(p.latency_us for p in prices),
        sum(p.weight_bytes for p in prices),
        tuple(sorted(live.items())),
        sum(p.macs for p in prices),
        sum(p.damage for p in prices),
        tuple(name for p in prices for name in p.unpriced),
        any(p.guessed for p in prices),
    )
