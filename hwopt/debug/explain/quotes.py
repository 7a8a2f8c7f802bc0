"""What a choice's values cost and change: by the run's own tables, else by prices made for the answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import isclose

from hwopt.choice import KEEP, Choice, Risk
from hwopt.debug.explain.prices import Apart, difference
from hwopt.debug.explain.run import Run
from hwopt.estimate import Estimate
from hwopt.report.schema import Missing, Number
from hwopt.scope import Assignment, Price, Problem, Scope, alone_price, combine, without_damage
from hwopt.search.problem import objective_value


@dataclass(frozen=True)
class Change:
    """How the prediction for the whole model changes. peak_bytes: of bytes alive, without layout."""

    latency_us: Estimate
    peak_bytes: int
    weight_bytes: int
    macs: int
    damage: Number


@dataclass(frozen=True)
class Quotes:
    """The prices of one choice. choice: with the values of every risk."""

    run: Run
    choice: Choice
    apart: Apart

    @cached_property
    def plan(self) -> Mapping[str, str]:
        """Everything that was chosen; what is absent keeps."""
        return {**self.run.decided.problem.start, **self.run.decided.assignment}

    @property
    def chosen(self) -> str:
        return self.plan.get(self.choice.id, KEEP)

    @cached_property
    def costs(self) -> Problem:
        """The run's tables with values that nobody measured: without damage."""
        return without_damage(self.run.decided.problem)

    def in_run(self, name: str) -> Price | None:
        """By the tables that the run decided with, everything else kept; None for what is not in them."""
        return alone_price(self.run.decided.problem, self.choice, name)

    def measured(self, name: str) -> bool:
        """Whether what the value does to the output is known. EXACT values do nothing to it."""
        value = self.choice.value(name)
        return value is None or value.risk == Risk.EXACT or self.in_run(name) is not None

    def price(self, name: str) -> Price | None:
        """What the choice's pieces of the model cost with the value; None: only differences are known."""
        mine = self.in_run(name) or alone_price(self.costs, self.choice, name)
        keep, apart = alone_price(self.costs, self.choice, KEEP), self.apart.prices.get(KEEP)
        if mine is not None:
            return mine
        same = keep is None or (apart is not None and _same_pieces(keep, apart))
        return self.apart.prices.get(name) if same else None

    def alone(self, name: str) -> Change | Missing:
        """The value in the place of *keep*, everything else kept."""
        return self._change(name, KEEP, self.run.decided.problem.start)

    def on_top(self, name: str) -> Change | Missing:
        """The value in the chosen plan, in the place of what was chosen."""
        return self._change(name, self.chosen, self.plan)

    def _change(self, name: str, old: str, plan: Assignment) -> Change | Missing:
        for tables in (self.run.decided.problem, self.costs):
            found = self._in_tables(tables, {**plan, self.choice.id: old}, {**plan, self.choice.id: name})
            if found is not None:
                return found if self.measured(name) else replace(found, damage=Missing("not measured"))
        if self.in_run(name) is not None:
            return Missing(f"not together with {self._blockers(name, plan)}")
        prices, whole = self.apart.prices, self.run.decided.problem.total(plan)
        if name not in prices or old not in prices or whole is None:
            return Missing(self.apart.missing.get(name, "it has no price"))
        if taken := [f"{id} = {plan[id]}" for id in sorted(self.apart.beside) if plan.get(id, KEEP) != KEEP]:
            return Missing(f"it was priced by itself, and the plan has {', '.join(taken)}")
        change = difference(prices[name].latency_us, prices[old].latency_us)
        found = _changed(change, whole, _exchanged(whole, prices[old], prices[name]))
        return found if self.measured(name) else replace(found, damage=Missing("not measured"))

    def _in_tables(self, tables: Problem, old: Assignment, new: Assignment) -> Change | None:
        mine = [scope for scope in tables.scopes if self.choice.id in scope.choices]
        before, after = tables.total(old), tables.total(new)
        if before is None or after is None or not mine:
            return None
        change = difference(_together(mine, new).latency_us, _together(mine, old).latency_us)
        return _changed(change, before, after)

    def _blockers(self, name: str, plan: Assignment) -> str:
        """The choices whose values rule this one out, each by itself; else all that stand beside it."""
        problem = self.run.decided.problem
        taken = {id: v for id, v in sorted(plan.items()) if v != KEEP and id != self.choice.id}
        alone = {
            id: value
            for id, value in taken.items()
            if problem.total({**problem.start, id: value, self.choice.id: name}) is None
        }
        return ", ".join(f"{id} = {value}" for id, value in (alone or taken).items())

    def objective_change(self, name: str) -> float:
        """How much more of what is to be small the plan has with this value; nan: not possible."""
        run = self.run.decided
        before, after = (run.problem.total(plan) for plan in (self.plan, {**self.plan, self.choice.id: name}))
        if before is None or after is None:
            return float("nan")
        return objective_value(after, run.objective) - objective_value(before, run.objective)


def _same_pieces(one: Price, two: Price) -> bool:
    """Whether two prices of *keep* are of the same pieces of the model."""
    alike = isclose(one.latency_us.value, two.latency_us.value, rel_tol=1e-6)
    return alike and (one.weight_bytes, one.macs) == (two.weight_bytes, two.macs)


def _together(scopes: list[Scope], plan: Assignment) -> Price:
    return combine([price for scope in scopes if (price := scope.price(plan)) is not None])


def _changed(latency: Estimate, before: Price, after: Price) -> Change:
    return Change(
        latency,
        after.peak_bytes - before.peak_bytes,
        after.weight_bytes - before.weight_bytes,
        after.macs - before.macs,
        after.damage - before.damage,
    )


def _exchanged(whole: Price, old: Price, new: Price) -> Price:
    """The whole model's price with one piece in the place of another. Its latency is left as it is."""
    live: dict[int, int] = defaultdict(int)
    for sign, part in ((1, whole), (-1, old), (1, new)):
        for step, held in part.live:
            live[step] += sign * held
    return replace(
        whole,
        live=tuple(sorted(live.items())),
        weight_bytes=whole.weight_bytes + new.weight_bytes - old.weight_bytes,
        macs=whole.macs + new.macs - old.macs,
    )
