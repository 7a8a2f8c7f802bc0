"""What rewriting could gain at the most: all values priced, the best plans on the tables, nothing written.

No calibration data are needed: a LOSSY value's structure has a price before anybody knows what it does to
the output. So the best plan of all values is what no limit on accuracy can get below, as far as the cost
model can tell.

Joint tables of all values would take a minute for nothing: which of two pruned widths hurts less is not
asked here. Every value is priced alone first, and of each choice the quickest LOSSY value of every pass
goes into the joint tables, beside all EXACT ones. Where a milder value is quicker beside others, that misses
a little: 0.02% of the best plan on PP-OCR detection, nothing on EfficientNet-Lite0 for edge-npu.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from hwopt.choice import KEEP, Choice, Risk, Skip, Value
from hwopt.cost.learned import Learned
from hwopt.estimate import Estimate
from hwopt.find import canonicalise, find_choices
from hwopt.pricing.price import Cell, Drafts, Scene, draft, draft_table, find_cells, make_scene, memory_shares
from hwopt.scope import Assignment, Price, Problem, Scope, alone_price
from hwopt.search.milp import solve
from hwopt.search.problem import Budget
from hwopt.trace import Listeners, Progress, emit, stage
from hwopt.work import Work

_STRENGTH = {risk: number for number, risk in enumerate(Risk)}


@dataclass(frozen=True)
class Best:
    """The quickest plan on the tables: its price, and the values of it that do not keep."""

    price: Price
    values: int


@dataclass(frozen=True)
class Alone:
    """What one pass could do, all others left out.

    Values that only training can mend count where it has no others; best is None for them.
    """

    name: str
    risk: Risk
    choices: int
    values: int
    best: Best | None


@dataclass(frozen=True)
class Potential:
    """What was found. base: the canonical model; folds: what led to it from the input.

    before_us: the input's predicted latency; folded: the canonical model as it is. priced: of every choice a
    table with its values one at a time. retrain: values that only training can mend,
    which no plan here has.
    """

    base: ir.Model
    folds: tuple[Value, ...]
    choices: tuple[Choice, ...]
    skipped: tuple[Skip, ...]
    priced: Problem
    before_us: Estimate
    folded: Best
    exact: Best
    everything: Best
    passes: tuple[Alone, ...]
    retrain: tuple[Value, ...]


def potential(work: Work, listeners: Listeners = ()) -> Potential:
    """What the passes offer for the run's input, and the most that it could gain, by the cost model alone."""
    with stage(listeners, "find"):
        canonical = canonicalise(work.model, work.passes, work.target, None, listeners)
        every, skipped = find_choices(canonical.model, work.passes, work.target, frozenset(Risk), listeners)
    retrain = tuple(v for choice in every for v in choice.values if v.risk is Risk.RETRAIN)
    choices = [found for choice in every if (found := _without(choice, retrain)) is not None]
    learned = Learned(work.cost_model)
    with stage(listeners, "price"):
        scene = make_scene(canonical.model, work.shapes(canonical.model), work.target)
        alone = priced_alone(scene, choices, learned, listeners)
        joint = draft(scene, promising(choices, alone), listeners).problem(learned)
    with stage(listeners, "search"):
        return Potential(
            base=canonical.model,
            folds=canonical.folds,
            choices=tuple(choices),
            skipped=(*canonical.skipped, *skipped),
            priced=alone,
            before_us=work.assess(work.model).latency_us,
            folded=best_plan(joint, []),
            exact=best_plan(joint, [v for c in choices for v in c.values if v.risk is Risk.EXACT]),
            everything=best_plan(joint, [v for c in choices for v in c.values]),
            passes=tuple(_alone(joint, canonical.folds, choices, retrain)),
            retrain=retrain,
        )


def _without(choice: Choice, values: Collection[Value]) -> Choice | None:
    """The choice without some values; None where nothing is left to decide."""
    left = tuple(value for value in choice.values if value not in values)
    return replace(choice, values=left) if left else None


def priced_alone(
    scene: Scene, choices: Sequence[Choice], learned: Learned, listeners: Listeners = ()
) -> Problem:
    """A table for every choice, with its values one at a time and everything else kept."""
    cells = find_cells(scene, choices)
    held, _ = memory_shares(scene, cells)
    single, tables = list[Cell](), []
    for number, (cell, share) in enumerate(zip(cells, held, strict=True)):
        for choice in cell.choices:
            single.append(Cell(cell.steps, (choice,)))
            tables.append(draft_table(scene, single[-1], share))
        emit(listeners, Progress("price", number + 1, len(cells)))
    return Drafts(tuple(choices), tuple(single), tuple(tables)).problem(learned)


def promising(choices: Iterable[Choice], alone: Problem) -> list[Choice]:
    """The choices with all EXACT values, and of every pass's LOSSY ones the quickest that saves time."""
    found = []
    for choice in choices:
        prices = prices_of(alone, choice)
        quickest: dict[str, Value] = {}
        for value in sorted(choice.values, key=lambda v: _time(prices.get(v.name))):
            if value.risk is Risk.LOSSY and _time(prices.get(value.name)) < _time(prices.get(KEEP)):
                quickest.setdefault(value.pass_name, value)
        kept = (v for v in choice.values if v.risk is Risk.EXACT or quickest.get(v.pass_name) is v)
        if values := tuple(kept):
            found.append(replace(choice, values=values))
    return found


def prices_of(problem: Problem, choice: Choice) -> dict[str, Price]:
    """The price of every value of a choice that can be written, *keep* included, all else kept."""
    named = ((name, alone_price(problem, choice, name)) for name in (KEEP, *(v.name for v in choice.values)))
    return {name: price for name, price in named if price is not None}


def _time(price: Price | None) -> float:
    return float("inf") if price is None else price.latency_us.value


def best_plan(problem: Problem, values: Iterable[Value]) -> Best:
    """The quickest plan that takes nothing but these values."""
    allowed = {(value.choice, value.name) for value in values}
    left = _restricted(problem, allowed)
    plan: Assignment = (solve(left, Budget()).assignment or {}) if left.scopes else {}
    price = left.total(plan)
    assert price is not None, "keeping everything is possible"
    return Best(price, sum(name != KEEP for name in plan.values()))


def _restricted(problem: Problem, allowed: Collection[tuple[str, str]]) -> Problem:
    choices = tuple(
        replace(choice, values=tuple(v for v in choice.values if (choice.id, v.name) in allowed))
        for choice in problem.choices
    )
    return replace(
        problem, choices=choices, scopes=tuple(_thinned(scope, allowed) for scope in problem.scopes)
    )


def _thinned(scope: Scope, allowed: Collection[tuple[str, str]]) -> Scope:
    def stays(key: tuple[str, ...]) -> bool:
        pairs = zip(scope.choices, key, strict=True)
        return all(name == KEEP or (choice, name) in allowed for choice, name in pairs)

    table: Mapping[tuple[str, ...], Price] = {key: p for key, p in scope.table.items() if stays(key)}
    return replace(scope, table=table)


def _alone(
    joint: Problem, folds: Sequence[Value], choices: Sequence[Choice], retrain: Sequence[Value]
) -> Iterable[Alone]:
    """Every pass that offers anything, in the order in which values compose: folds first."""
    offered: dict[str, list[Value]] = {}
    for value in (*folds, *(v for choice in choices for v in choice.values), *retrain):
        offered.setdefault(value.pass_name, []).append(value)
    for name, values in sorted(offered.items(), key=lambda item: (item[1][0].stage, item[0])):
        usable = [value for value in values if value.risk is not Risk.RETRAIN]
        counted = usable or values
        yield Alone(
            name=name,
            risk=max((value.risk for value in counted), key=_STRENGTH.__getitem__),
            choices=len({value.choice for value in counted}),
            values=len(counted),
            best=best_plan(joint, usable) if usable else None,
        )
