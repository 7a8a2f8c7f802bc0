"""One choice: all its values, what was chosen, and which other choices its prices depend on."""

from __future__ import annotations

from dataclasses import dataclass

from hwopt.choice import KEEP, Choice, Kind
from hwopt.debug.explain.fates import Fate
from hwopt.debug.explain.prices import difference, prices_apart
from hwopt.debug.explain.quotes import Quotes
from hwopt.debug.explain.run import Run
from hwopt.debug.explain.values import ValueExplained, value_explained
from hwopt.estimate import Estimate
from hwopt.report.choices import choice_row, fold_rows
from hwopt.report.decided import node_labels
from hwopt.report.schema import ChoiceRow, Missing
from hwopt.scope import alone_price

NO_VALUE = "this run could use none of its values"


@dataclass(frozen=True)
class Neighbour:
    """Another choice that stands in the same tables of prices, and the value that it got."""

    id: str
    chosen: str


@dataclass(frozen=True)
class ChoiceExplained:
    """One choice. priced_with: the other choices whose values its prices depend on."""

    id: str
    kind: str
    nodes: tuple[str, ...]
    chosen: str
    reason: str
    values: tuple[ValueExplained, ...]
    priced_with: tuple[Neighbour, ...] = ()


@dataclass(frozen=True)
class ChoiceLine:
    """One choice in the list of all. best: the value that is fastest by itself; change_us: against *keep*."""

    id: str
    kind: str
    nodes: tuple[str, ...]
    values: tuple[str, ...]
    chosen: str
    best: str
    change_us: Estimate | Missing
    reason: str


def choice_explained(run: Run, choice: Choice) -> ChoiceExplained:
    """Everything there is to say of a choice. choice: with the values of every risk."""
    row = row_of(run, choice)
    if choice.kind == Kind.CANONICAL:
        return _fold_explained(run, choice, row)
    apart = prices_apart(run.work, run.found.base, run.decided.problem.choices, choice)
    quotes = Quotes(run, choice, apart)
    labels = {**node_labels(run.found.base), **node_labels(run.work.model)}
    summaries = {item.name: item.summary for item in run.work.passes}
    return ChoiceExplained(
        id=choice.id,
        kind=choice.kind.value,
        nodes=row.nodes,
        chosen=row.chosen,
        reason=row.reason,
        values=tuple(
            value_explained(quotes, name, row.reason, summaries, labels)
            for name in (KEEP, *(value.name for value in choice.values))
        ),
        priced_with=_neighbours(run, choice, quotes),
    )


def row_of(run: Run, choice: Choice) -> ChoiceRow:
    """What the report of this run says of the choice; nothing is known there of values that it cannot use."""
    labels = node_labels(run.decided.model)
    if choice.kind == Kind.CANONICAL:
        return next(row for row in fold_rows(run.decided, labels) if row.id == choice.id)
    for known in run.found.orders.listed:
        if known.id == choice.id:
            return choice_row(run.decided, known, labels)
    nodes = tuple(labels[place] for place in sorted(choice.places) if place in labels)
    return ChoiceRow(choice.id, choice.kind.value, nodes, (), KEEP, NO_VALUE)


def _neighbours(run: Run, choice: Choice, quotes: Quotes) -> tuple[Neighbour, ...]:
    scopes = [scope for scope in run.decided.problem.scopes if choice.id in scope.choices]
    ids = {id: None for scope in scopes for id in scope.choices} or dict.fromkeys(sorted(quotes.apart.beside))
    return tuple(Neighbour(id, quotes.plan.get(id, KEEP)) for id in ids if id != choice.id)


def _fold_explained(run: Run, choice: Choice, row: ChoiceRow) -> ChoiceExplained:
    """Folds were made before anything was priced."""
    labels = node_labels(run.decided.model)
    summaries = {item.name: item.summary for item in run.work.passes}
    left_out = Fate.UNPROVED if run.unproved else Fate.PASSED_OVER
    values = []
    for told in row.values:
        value, missing = choice.value(told.name), Missing("folds are priced together")
        made = f"folds are made wherever they can be; --disable {choice.values[0].pass_name} leaves them out"
        values.append(
            ValueExplained(
                name=told.name,
                passes=told.passes,
                risk=told.risk,
                latency_us=missing,
                peak_bytes=missing,
                weight_bytes=missing,
                macs=missing,
                damage=told.damage,
                alone=missing,
                on_top=missing,
                fate=Fate.CHOSEN if told.name == row.chosen else left_out,
                reason=made if value is None and row.chosen != KEEP else row.reason,
                summary="" if value is None else summaries.get(value.pass_name, ""),
                edits=() if value is None else tuple(labels[p] for p in value.places if p in labels),
                parameters={} if value is None else value.parameters,
            )
        )
    return ChoiceExplained(choice.id, row.kind, row.nodes, row.chosen, row.reason, tuple(values))


def line(run: Run, choice: Choice) -> ChoiceLine:
    """One choice in one line."""
    row = row_of(run, choice)
    prices = {
        name: alone_price(run.decided.problem, choice, name)
        for name in (KEEP, *(v.name for v in choice.values))
    }
    keep, best = prices.pop(KEEP), ""
    change: Estimate | Missing = Missing(row.reason)
    known = {name: price.latency_us for name, price in prices.items() if price is not None}
    if keep is not None and known:
        best = min(known, key=lambda name: known[name].value)
        change = difference(known[best], keep.latency_us)
    return ChoiceLine(
        choice.id,
        row.kind,
        row.nodes,
        tuple(v.name for v in choice.values),
        row.chosen,
        best,
        change,
        row.reason,
    )
