"""What rewriting could gain at the most, as the report says it: the bounds, the passes, and every choice."""

from __future__ import annotations

from dataclasses import replace

from hwopt.choice import KEEP, Choice, Risk, Value
from hwopt.estimate import Estimate, Source
from hwopt.potential import Alone, Best, prices_of
from hwopt.potential import Potential as Found
from hwopt.report.analysis_gains import gains
from hwopt.report.choices import value_row
from hwopt.report.decided import node_labels
from hwopt.report.schema import BestPlan, ChoiceRow, Missing, Number, PassPotential, Potential, ValueRow
from hwopt.report.words import microseconds

NOTHING_DECIDED = "analyze decides nothing"
_UNKNOWN = Missing("not measured: that needs calibration data")
_UNWRITTEN = "it cannot be written here"
_TOGETHER = Missing("folds are priced together: see the potential of their pass")


def potential_info(found: Found) -> Potential:
    """The bounds, and what every pass could do by itself."""
    return Potential(
        before_us=found.before_us,
        exact=_plan(found, found.exact),
        everything=_plan(found, found.everything),
        passes=tuple(_pass(found, row) for row in found.passes),
    )


def _plan(found: Found, best: Best) -> BestPlan:
    return BestPlan(
        latency_us=best.price.latency_us,
        change=_change(found, best, found.before_us),
        peak_bytes=Estimate(float(best.price.peak_bytes), 0.0, Source.PREDICTED),
        weight_bytes=Estimate(float(best.price.weight_bytes), 0.0, Source.PREDICTED),
        steps=len(found.folds) + best.values,
    )


def _pass(found: Found, row: Alone) -> PassPotential:
    folds = any(fold.pass_name == row.name for fold in found.folds)
    start = found.before_us if folds else found.folded.price.latency_us
    change: Number = Missing("only training can mend it")
    if row.best is not None:
        change = _change(found, row.best, start)
    return PassPotential(row.name, row.risk.value, row.choices, row.values, change)


def _change(found: Found, best: Best, start: Estimate) -> Number:
    """Of the input's latency: how far the plan is below a start."""
    if not found.before_us.value:
        return Missing("nothing of the input has a price")
    return (best.price.latency_us.value - start.value) / found.before_us.value


def choice_rows(found: Found) -> tuple[ChoiceRow, ...]:
    """Every fold and every choice, each value alone with everything else kept; nothing is chosen."""
    labels = node_labels(found.base)
    folds = [_fold(fold) for fold in found.folds]
    return (*folds, *(_choice(found, choice, labels) for choice in found.choices))


def _fold(fold: Value) -> ChoiceRow:
    free = Estimate(0.0, 0.0, Source.COMPUTED)
    values = tuple(
        ValueRow(name, passes, Risk.EXACT.value, _TOGETHER, _TOGETHER, _TOGETHER, free)
        for name, passes in ((KEEP, ()), (fold.name, (fold.pass_name,)))
    )
    return ChoiceRow(fold.choice, fold.kind.value, (), values, KEEP, NOTHING_DECIDED)


def _choice(found: Found, choice: Choice, labels: dict[str, str]) -> ChoiceRow:
    prices = prices_of(found.priced, choice)
    values = [
        _without_damage(value_row(name, choice.value(name), prices.get(name), _UNWRITTEN))
        for name in (KEEP, *(value.name for value in choice.values))
    ]
    row = ChoiceRow(choice.id, choice.kind.value, (), tuple(values), KEEP, NOTHING_DECIDED)
    best = next(iter(gains([row])), None)
    saves = "no value saves time by itself"
    if best is not None:
        saves = f"by itself {best.value.name} would save {microseconds(best.saved_us)}"
    nodes = tuple(label for place, label in labels.items() if place in choice.places)
    return replace(row, nodes=nodes, reason=f"{NOTHING_DECIDED}; {saves}")


def _without_damage(row: ValueRow) -> ValueRow:
    return row if row.risk == Risk.EXACT.value else replace(row, damage=_UNKNOWN)
