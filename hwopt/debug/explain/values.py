"""One value of a choice: what it costs by itself and on top of the plan, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hwopt.choice import KEEP, Parameter, Risk
from hwopt.debug.explain.fates import NO_DATA, Fate, fate_of
from hwopt.debug.explain.quotes import Change, Quotes
from hwopt.estimate import Estimate, Source
from hwopt.report.choices import value_row
from hwopt.report.reasons import dominated_by
from hwopt.report.schema import Figure, Missing, Number


@dataclass(frozen=True)
class ValueExplained:
    """A value. Figures are those of the choice's subgraphs with everything else kept, as in the report.

    alone: compared to *keep*, everything else kept. on_top: compared to the chosen plan. edits: nodes that it
    reads or changes. summary: what its pass does, before --> after. note: how it was priced, where that is
    not as usual.
    """

    name: str
    passes: tuple[str, ...]
    risk: str
    latency_us: Figure
    peak_bytes: Figure
    weight_bytes: Figure
    macs: Number
    damage: Figure
    alone: Change | Missing
    on_top: Change | Missing
    fate: Fate
    reason: str
    dominated_by: str = ""
    summary: str = ""
    edits: tuple[str, ...] = ()
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    note: str = ""


def value_explained(
    quotes: Quotes, name: str, chosen_reason: str, summaries: Mapping[str, str], labels: Mapping[str, str]
) -> ValueExplained:
    """One value, *keep* included.

    chosen_reason: why the choice has the value that it has. summaries: of passes, by name. labels: of nodes,
    by place.
    """
    value, price = quotes.choice.value(name), quotes.price(name)
    fate, reason = fate_of(quotes, name, chosen_reason)
    row = value_row(name, value, price, _no_figure(quotes, name))
    return ValueExplained(
        name=name,
        passes=row.passes,
        risk=row.risk,
        latency_us=row.latency_us,
        peak_bytes=row.peak_bytes,
        weight_bytes=row.weight_bytes,
        macs=Missing(_no_figure(quotes, name)) if price is None else float(price.macs),
        damage=_damage(quotes, name, row.damage),
        alone=Missing("it is what others are compared to") if name == KEEP else quotes.alone(name),
        on_top=Missing("the plan has it") if name == quotes.chosen else quotes.on_top(name),
        fate=fate,
        reason=reason,
        dominated_by=dominated_by(quotes.run.decided, quotes.choice, name),
        summary="" if value is None else summaries.get(value.pass_name, ""),
        edits=() if value is None else tuple(labels[p] for p in value.places if p in labels),
        parameters={} if value is None else value.parameters,
        note="priced beside forms only: too many joint values" if name in quotes.apart.thinned else "",
    )


def _no_figure(quotes: Quotes, name: str) -> str:
    """Why there is no figure of the choice's subgraphs."""
    return quotes.apart.missing.get(
        name, "it touches more than the choice's other values do: see the differences"
    )


def _damage(quotes: Quotes, name: str, known: Figure) -> Figure:
    """What is known of what the value does to the output."""
    value = quotes.choice.value(name)
    if value is None or value.risk == Risk.EXACT:
        return Estimate(0.0, 0.0, Source.COMPUTED)
    if quotes.measured(name):
        return known
    if value.risk == Risk.RETRAIN:
        return Missing("needs training")
    return Missing(NO_DATA if quotes.run.work.calibration is None else "not measured")
