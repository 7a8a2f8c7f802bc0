"""The decision table: every choice, all its values, which was taken, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hwopt.choice import KEEP, Choice, Risk, Value
from hwopt.estimate import Estimate, Source
from hwopt.report.decided import Decided, decided, node_labels
from hwopt.report.findings import Findings
from hwopt.report.reasons import dominated_by, value_names, why
from hwopt.report.schema import ChoiceRow, Missing, ValueRow
from hwopt.scope import Price, alone_price

UNMEASURED = "not measured: by itself it saves nothing, or it cannot be written here"
Labels = Mapping[str, str]  # what people call the node at each place
_EXACT = "exact, with fewer operators"
_NO_BETTER = "the result would not be better"
_UNPROVED = "the result could not be proved to be the same"


def choice_rows(findings: Findings) -> tuple[ChoiceRow, ...]:
    """One row per fold and per choice."""
    run = decided(findings)
    labels = node_labels(run.model)
    return (*fold_rows(run, labels), *(choice_row(run, choice, labels) for choice in run.orders.listed))


def fold_rows(run: Decided, labels: Labels) -> list[ChoiceRow]:
    """Folds are taken together: alone, none of them has a price of its own."""
    nobody = Missing("folds are priced together: see before and after")
    rows = []
    for fold in run.folds:
        values = tuple(
            ValueRow(name, passes, risk, nobody, nobody, nobody, Estimate(0.0, 0.0, Source.COMPUTED))
            for name, passes, risk in ((KEEP, (), "exact"), (fold.name, (fold.pass_name,), fold.risk.value))
        )
        reason = _UNPROVED if run.unproved else _NO_BETTER if run.unchanged else _EXACT
        chosen = KEEP if run.unchanged else fold.name
        rows.append(
            ChoiceRow(fold.choice, fold.kind.value, _names(fold.places, labels), values, chosen, reason)
        )
    return rows


def choice_row(run: Decided, choice: Choice, labels: Labels) -> ChoiceRow:
    """A choice with all its values that this run could use, the one that was taken, and why."""
    chosen = run.assignment.get(choice.id, KEEP)
    limits, hinted = run.orders.limits_on(choice.id), run.orders.reason(choice.id, chosen)
    barred = {name: run.orders.barred(choice.id, name) for name in value_names(choice)}
    unpriced = f"beyond the limits of the hints ({limits}), or not measured" if limits else UNMEASURED
    if hinted and chosen == KEEP:
        unpriced = f"not priced: {hinted}"
    alone = {
        name: None if reason else alone_price(run.problem, choice, name) for name, reason in barred.items()
    }
    return ChoiceRow(
        id=choice.id,
        kind=choice.kind.value,
        nodes=_names(sorted(choice.places), labels),
        values=tuple(
            replace(
                value_row(name, choice.value(name), price, barred[name] or unpriced),
                dominated_by=dominated_by(run, choice, name),
            )
            for name, price in alone.items()
        ),
        chosen=chosen,
        reason=hinted or why(run, choice, chosen, alone),
    )


def value_row(name: str, value: Value | None, price: Price | None, unpriced: str) -> ValueRow:
    """A value with its price. unpriced: why it has none, where it has none."""
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


def _names(places: Sequence[str], labels: Labels) -> tuple[str, ...]:
    return tuple(labels[place] for place in places if place in labels)
