"""Why a choice has the value that it has, in words and figures."""

from __future__ import annotations

from collections.abc import Mapping

from hwopt.choice import KEEP, Choice, Risk
from hwopt.report import words
from hwopt.report.decided import Decided
from hwopt.scope import Price, Problem, alone_price, without_damage
from hwopt.search.problem import Objective, objective_value

Alone = Mapping[str, Price | None]  # the price of every value of a choice, the others kept


def value_names(choice: Choice) -> list[str]:
    """*keep*, then what passes offer."""
    return [KEEP, *(value.name for value in choice.values)]


def dominated_by(run: Decided, choice: Choice, name: str) -> str:
    """The value of the same choice for which this one went before the search; "" where it did not."""
    return next((d.by for d in run.dropped if (d.choice, d.value) == (choice.id, name)), "")


def why(run: Decided, choice: Choice, chosen: str, alone: Alone) -> str:
    """The reason for a choice's value, in figures."""
    keep = alone[KEEP]
    if keep is None:
        return "by the limits of the hints, it may not keep"
    gains = {
        name: -change(run, choice, name, alone) for name, price in alone.items() if price and name != KEEP
    }
    if chosen != KEEP:
        return _why_taken(run, choice, chosen, gains, alone)
    if not gains:
        return why_not_measured(run.problem, choice)
    return _why_kept(run, choice, gains, alone)


def _why_kept(run: Decided, choice: Choice, gains: Mapping[str, float], alone: Alone) -> str:
    best = max(gains, key=lambda name: gains[name])
    if by := dominated_by(run, choice, best):
        return f"{best} is dominated by {by}: in latency, memory at every step, size and damage never better"
    if gains[best] <= 0:
        return f"no value is {BETTER[run.objective]}: the best, {best}, is {signed(run, -gains[best])}"
    saves = f"{best} would save {amount(run, gains[best])}"
    if broken := limit_broken(run, choice, best):
        return f"{saves}, but {broken}"
    if run.unproved:
        return f"{saves} on the tables, but the input came back: no rewrite could be proved"
    if run.unchanged:
        return f"{saves} on the tables, but the input came back: no plan was better on the figures that count"
    price = alone[best]
    damage = 0.0 if price is None else price.damage
    if damage > 0:
        return f"{saves}, but its damage {damage:.3g} is better spent elsewhere"
    if run.refused:
        return f"{saves} by itself; the plan that comes closest to the limits does without it"
    return f"{saves} by itself, but not together with what was chosen"


def why_not_measured(problem: Problem, choice: Choice) -> str:
    """Damage is measured only of values that can pay: what the best of the others costs, then."""
    costs = without_damage(problem)
    alone = {name: alone_price(costs, choice, name) for name in value_names(choice)}
    keep = alone.pop(KEEP)
    slower = {n: p.latency_us.value - keep.latency_us.value for n, p in alone.items() if p and keep}
    if not slower:
        return "no value could be written here"
    best = min(slower, key=lambda name: slower[name])
    if slower[best] >= 0:
        return f"no value is faster: the best, {best}, is {slower[best]:+.3g} us"
    return f"{best} would save {-slower[best]:.3g} us, too little to measure what it does to the output"


def limit_broken(run: Decided, choice: Choice, name: str) -> str:
    """Which hard limit the value would break on top of the chosen plan, as predicted; "" for none."""
    if not run.limits:
        return ""
    plan = {**run.problem.start, **run.assignment}
    price, now = run.problem.total({**plan, choice.id: name}), run.problem.total(plan)
    if price is None:
        return ""
    figures: dict[str, float] = {
        "max_memory": price.peak_bytes,
        "max_size": price.weight_bytes,
        "max_footprint": price.peak_bytes + price.weight_bytes,
    }
    for limit in run.limits:
        if limit.name in figures and figures[limit.name] > limit.limit:
            bytes_now = words.byte_count(figures[limit.name])
            return f"{limit.name} {words.byte_count(limit.limit)} would be broken: {bytes_now}"
        slower = 0.0 if now is None else price.latency_us.value - now.latency_us.value
        if limit.name == "max_latency" and slower > 0 and limit.value + slower > limit.limit:
            figure = words.microseconds(limit.value + slower)
            return f"{limit.name} {words.microseconds(limit.limit)} would be broken: {figure}"
    return ""


def _why_taken(run: Decided, choice: Choice, chosen: str, gains: Mapping[str, float], alone: Alone) -> str:
    value = choice.value(chosen)
    assert value is not None
    risk = "exact" if value.risk == Risk.EXACT else "repaired"
    price = alone.get(chosen)
    if price is None or chosen not in gains:
        return f"pays together with what else was chosen; {risk}"
    damage = f", damage {price.damage:.3g}" if price.damage > 0 else ""
    return f"by itself {signed(run, -gains[chosen])}{damage}; {risk}"


BETTER = {
    Objective.LATENCY: "faster",
    Objective.MEMORY: "smaller in memory",
    Objective.SIZE: "smaller in size",
    Objective.FOOTPRINT: "smaller in footprint",
    Objective.DAMAGE: "milder",
}


def change(run: Decided, choice: Choice, name: str, alone: Alone) -> float:
    """How much more of what the run makes small there is with this value, everything else kept.

    Bytes alive are those of the whole model: memory is no sum over its pieces. Both values must have a price.
    """
    keep, price = alone[KEEP], alone[name]
    assert keep is not None
    assert price is not None
    if run.objective in (Objective.MEMORY, Objective.FOOTPRINT):
        keep = run.problem.total(run.problem.start) or keep
        price = run.problem.total({**run.problem.start, choice.id: name}) or price
    return objective_value(price, run.objective) - objective_value(keep, run.objective)


def amount(run: Decided, figure: float) -> str:
    """So much of what the run makes small, with its unit."""
    unit = {Objective.LATENCY: " us", Objective.DAMAGE: " of damage"}.get(run.objective)
    return words.byte_count(figure) if unit is None else f"{figure:.3g}{unit}"


def signed(run: Decided, figure: float) -> str:
    """A change of what the run makes small."""
    return amount(run, figure) if figure < 0 else f"+{amount(run, figure)}"
