"""The decision table: every choice, all its values, which was taken, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import onnx_ir as ir

from hwopt.choice import KEEP, Choice, Risk, Value
from hwopt.estimate import Estimate, Source
from hwopt.nodes import label
from hwopt.places import has_place, place_of
from hwopt.report import words
from hwopt.report.findings import Findings
from hwopt.report.schema import ChoiceRow, Missing, ValueRow
from hwopt.scope import Price, Problem, combine

UNMEASURED = "not measured: by itself it saves nothing, or it cannot be written here"


def choice_rows(findings: Findings) -> tuple[ChoiceRow, ...]:
    """One row per fold and per choice."""
    labels = node_labels(findings.work.model)
    return (
        *_fold_rows(findings, labels),
        *(_row(findings, choice, labels) for choice in findings.orders.listed),
    )


def node_labels(model: ir.Model) -> dict[str, str]:
    """What people call the node at each place of the input model."""
    return {place_of(node): label(node) for node in model.graph if has_place(node)}


def _names(places: Sequence[str], labels: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(labels[place] for place in places if place in labels)


def _fold_rows(findings: Findings, labels: Mapping[str, str]) -> list[ChoiceRow]:
    """Folds are taken together: alone, none of them has a price of its own."""
    nobody = Missing("folds are priced together: see before and after")
    rows = []
    for fold in findings.folds:
        values = tuple(
            ValueRow(name, passes, risk, nobody, nobody, nobody, Estimate(0.0, 0.0, Source.COMPUTED))
            for name, passes, risk in ((KEEP, (), "exact"), (fold.name, (fold.pass_name,), fold.risk.value))
        )
        reason = "the result would not be better" if findings.unchanged else "exact, with fewer operators"
        chosen = KEEP if findings.unchanged else fold.name
        rows.append(
            ChoiceRow(fold.choice, fold.kind.value, _names(fold.places, labels), values, chosen, reason)
        )
    return rows


def _row(findings: Findings, choice: Choice, labels: Mapping[str, str]) -> ChoiceRow:
    chosen = findings.settled.decision.assignment.get(choice.id, KEEP)
    limits, hinted = findings.orders.limits_on(choice.id), findings.orders.reason(choice.id, chosen)
    barred = {name: findings.orders.barred(choice.id, name) for name in _value_names(choice)}
    unpriced = f"beyond the limits of the hints ({limits}), or not measured" if limits else UNMEASURED
    if hinted and chosen == KEEP:
        unpriced = f"not priced: {hinted}"
    alone = {
        name: None if reason else alone_price(findings.problem, choice, name)
        for name, reason in barred.items()
    }
    return ChoiceRow(
        id=choice.id,
        kind=choice.kind.value,
        nodes=_names(sorted(choice.places), labels),
        values=tuple(
            replace(
                _value_row(name, choice.value(name), price, barred[name] or unpriced),
                dominated_by=dominated_by(findings, choice, name),
            )
            for name, price in alone.items()
        ),
        chosen=chosen,
        reason=hinted or why(findings, choice, chosen, alone),
    )


def _value_names(choice: Choice) -> list[str]:
    return [KEEP, *(value.name for value in choice.values)]


def alone_price(problem: Problem, choice: Choice, name: str) -> Price | None:
    """The price of the choice's scopes with this value and everything else kept; None if impossible.

    What may not keep is as it is in the problem's `start`.
    """
    mine = [scope for scope in problem.scopes if choice.id in scope.choices]
    if not mine:
        return None
    prices = [scope.price({**problem.start, choice.id: name}) for scope in mine]
    if any(price is None for price in prices):
        return None
    return combine([price for price in prices if price is not None])


def dominated_by(findings: Findings, choice: Choice, name: str) -> str:
    """The value of the same choice for which this one went before the search; "" where it did not."""
    dropped = findings.settled.decision.dropped
    return next((d.by for d in dropped if (d.choice, d.value) == (choice.id, name)), "")


def _value_row(name: str, value: Value | None, price: Price | None, unpriced: str) -> ValueRow:
    passes = () if value is None else (value.pass_name,)
    risk = Risk.EXACT if value is None else value.risk
    if price is None:
        gone = Missing(unpriced)
        return ValueRow(name, passes, risk.value, gone, gone, gone, gone)
    damage = Estimate(price.damage, 0.0, _damage_source(risk, price))
    return ValueRow(
        name,
        passes,
        risk.value,
        price.latency_us,
        Estimate(float(price.peak_bytes), 0.0, Source.COMPUTED),
        Estimate(float(price.weight_bytes), 0.0, Source.COMPUTED),
        damage,
    )


def _damage_source(risk: Risk, price: Price) -> Source:
    """Damage of an EXACT value is zero by construction; some of a ladder's is read off between others."""
    if risk == Risk.EXACT:
        return Source.COMPUTED
    return Source.PREDICTED if price.guessed else Source.MEASURED


def why(findings: Findings, choice: Choice, chosen: str, alone: Mapping[str, Price | None]) -> str:
    """The reason for a choice's value, in figures."""
    keep = alone[KEEP]
    if keep is None:
        return "by the limits of the hints, it may not keep"
    gains = {
        name: keep.latency_us.value - price.latency_us.value
        for name, price in alone.items()
        if price is not None and name != KEEP
    }
    if chosen != KEEP:
        return _why_taken(choice, chosen, gains, alone)
    if findings.unchanged:
        return "the input came back: no plan was better on the figures that count"
    if not gains:
        return why_not_measured(findings.problem, choice)
    best = max(gains, key=lambda name: gains[name])
    if by := dominated_by(findings, choice, best):
        return f"{best} is dominated by {by}: in latency, memory at every step, size and damage never better"
    if gains[best] <= 0:
        return f"no value is faster: the best, {best}, is {-gains[best]:+.3g} us"
    if broken := limit_broken(findings, choice, best):
        return f"{best} would save {gains[best]:.3g} us, but {broken}"
    price = alone[best]
    damage = 0.0 if price is None else price.damage
    if damage > 0:
        return (
            f"{best} would save {gains[best]:.3g} us, but its damage {damage:.3g} is better spent elsewhere"
        )
    return f"{best} would save {gains[best]:.3g} us by itself, but not together with what was chosen"


def why_not_measured(problem: Problem, choice: Choice) -> str:
    """Damage is measured only of values that can pay: what the best of the others costs, then."""
    costs = replace(problem, scopes=tuple(s for s in problem.scopes if not s.id.startswith("damage:")))
    alone = {name: alone_price(costs, choice, name) for name in _value_names(choice)}
    keep = alone.pop(KEEP)
    slower = {n: p.latency_us.value - keep.latency_us.value for n, p in alone.items() if p and keep}
    if not slower:
        return "no value could be written here"
    best = min(slower, key=lambda name: slower[name])
    if slower[best] >= 0:
        return f"no value is faster: the best, {best}, is {slower[best]:+.3g} us"
    return f"{best} would save {-slower[best]:.3g} us, too little to measure what it does to the output"


def limit_broken(findings: Findings, choice: Choice, name: str) -> str:
    """Which hard limit the value would break on top of the chosen plan, as predicted; "" for none."""
    plan = findings.settled.decision.assignment
    price = findings.problem.total({**findings.problem.start, **plan, choice.id: name})
    if price is None:
        return ""
    figures = {
        "max_memory": price.peak_bytes,
        "max_size": price.weight_bytes,
        "max_footprint": price.peak_bytes + price.weight_bytes,
    }
    for limit in findings.settled.limits:
        figure = figures.get(limit.name, 0)
        if figure > limit.limit:
            return f"{limit.name} {words.byte_count(limit.limit)} would be broken: {words.byte_count(figure)}"
    return ""


def _why_taken(
    choice: Choice, chosen: str, gains: Mapping[str, float], alone: Mapping[str, Price | None]
) -> str:
    value = choice.value(chosen)
    assert value is not None
    risk = "exact" if value.risk == Risk.EXACT else "repaired"
    price = alone.get(chosen)
    if price is None or chosen not in gains:
        return f"pays together with what else was chosen; {risk}"
    damage = f", damage {price.damage:.3g}" if price.damage > 0 else ""
    return f"by itself {-gains[chosen]:+.3g} us{damage}; {risk}"
