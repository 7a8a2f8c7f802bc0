"""Prices of one choice's values by themselves, also of values that a run had no use for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import hypot, sqrt

import onnx_ir as ir

from hwopt.choice import KEEP, Choice, Value
from hwopt.cost.learned import Learned
from hwopt.errors import RewriteFailed
from hwopt.estimate import Estimate, Source
from hwopt.pricing.cells import left_out
from hwopt.pricing.price import Cell, Draft, Drafts, Scene, draft_table, find_cells, make_scene, memory_shares
from hwopt.rewrite import rewrite
from hwopt.scope import Price, alone_price
from hwopt.work import Work


@dataclass(frozen=True)
class Apart:
    """What values cost with everything else kept, by the cost model alone.

    missing: why a value has no price. thinned: values that the run priced beside forms only, because its
    table would have burst. beside: the choices that touch the same pieces of the model.
    """

    prices: Mapping[str, Price] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    thinned: frozenset[str] = frozenset()
    beside: frozenset[str] = frozenset()


def prices_apart(work: Work, base: ir.Model, choices: Sequence[Choice], choice: Choice) -> Apart:
    """Prices of every value of a choice. choices: those that the run decided about."""
    scene = make_scene(base, work.assess(base).shapes, work.target)
    cells = find_cells(scene, [*(other for other in choices if other.id != choice.id), choice])
    shares, _ = memory_shares(scene, cells)
    mine = [(cell, share) for cell, share in zip(cells, shares, strict=True) if choice in cell.choices]
    alone = tuple(Cell(cell.steps, (choice,)) for cell, _ in mine)
    tables = tuple(draft_table(scene, cell, share) for cell, (_, share) in zip(alone, mine, strict=True))
    problem = Drafts((choice,), alone, tables).problem(Learned(work.cost_model))
    values = {name: choice.value(name) for name in (KEEP, *(v.name for v in choice.values))}
    found = {name: alone_price(problem, choice, name) for name in values}
    return Apart(
        prices={name: price for name, price in found.items() if price is not None},
        missing={
            name: _why_none(work, scene, values[name], tables)
            for name, price in found.items()
            if price is None
        },
        thinned=_thinned(find_cells(scene, choices), choice.id),
        beside=frozenset(other.id for cell, _ in mine for other in cell.choices) - {choice.id},
    )


def _thinned(cells: Sequence[Cell], choice: str) -> frozenset[str]:
    left = (value for cell in cells for value in left_out(cell.choices))
    return frozenset(value.name for value in left if value.choice == choice)


def _why_none(
    work: Work, scene: Scene, value: Value | None, tables: Sequence[Mapping[tuple[str, ...], Draft]]
) -> str:
    """Why a value has no price, though its choice was priced."""
    if value is None or not tables:
        return "it touches nothing that the target runs"
    drafts = [table.get((value.name,)) for table in tables]
    if None in drafts:
        try:
            rewrite(scene.model, [value])
        except RewriteFailed as error:
            return f"it cannot be written here: {error}"
        return "it cannot be written into its part of the model alone"
    names = dict.fromkeys(name for draft in drafts if draft is not None for name in _unpriced(work, draft))
    return f"nobody has a price on {work.target.name} for what it makes: {', '.join(names)}"


def _unpriced(work: Work, draft: Draft) -> list[str]:
    unknown = [name for name, signature in draft.runnable if not work.cost_model.knows(signature)]
    return [*draft.unpriced, *unknown]


def difference(after: Estimate, before: Estimate) -> Estimate:
    """One figure less another.

    What is wrong with both alike cancels. The rest of their spreads adds up as if the two had nothing in
    common, so the spread is at most what is said here.
    """
    source = after.source if after.source == before.source else Source.PREDICTED
    if (after.value, after.spread) == (before.value, before.spread):
        return Estimate(0.0, 0.0, source)
    own = [sqrt(max(figure.spread**2 - figure.common**2, 0.0)) for figure in (after, before)]
    common = abs(after.common - before.common)
    extrapolated = after.extrapolated or before.extrapolated
    return Estimate(after.value - before.value, hypot(*own, common), source, common, extrapolated)
