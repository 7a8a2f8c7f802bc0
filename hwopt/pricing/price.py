"""Fills the tables: what every joint value of every scope costs on the target.

The model's fused groups are gathered into cells (groups that a form rewrite may melt into
one). A cell's scope is every choice that touches it. Each joint value is written into a
cut-out region, partitioned anew, and all the signatures of all tables go to the cost model
in one batched call.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import onnx_ir as ir

from hwopt.choice import KEEP, Choice, Value, in_order
from hwopt.cost.protocol import Pricer
from hwopt.errors import PassFailed, RewriteFailed
from hwopt.estimate import Estimate, total
from hwopt.memory import weight_bytes
from hwopt.partition import Subgraph, partition
from hwopt.places import has_place, place_of
from hwopt.pricing.alike import gather_alike, groups_at
from hwopt.pricing.cells import Cell, Scene, find_cells, joint_values, left_out, make_scene
from hwopt.pricing.memory import Idle, Live, Share, live_of, shares
from hwopt.pricing.regions import apply_each, apply_values, cut_out, recorded_shapes
from hwopt.scope import NOTHING, Price, Problem, Scope, alone_price, combine, without_damage
from hwopt.shapes import TensorInfo
from hwopt.signature import VIEW, Signature, macs
from hwopt.trace import CheckFailed, Listeners, PlaceSkipped, Progress, ValuePriced, emit

__all__ = [
    "Cell", "Draft", "Drafts", "Scene", "draft", "draft_table", "find_cells", "joint_values", "make_scene",
    "memory_shares", "price", "tell_prices",
]  # fmt: skip


@dataclass(frozen=True)
class Draft:
    """A joint value's subgraphs, before the cost model has seen them: (label, signature) of each."""

    runnable: tuple[tuple[str, Signature], ...]
    weight_bytes: int
    live: Live
    macs: int
    unpriced: tuple[str, ...]


@dataclass(frozen=True)
class Drafts:
    """All tables of a scene before they are priced: they can be priced again as prices get better.

    idle: bytes that live whatever is chosen.
    """

    choices: tuple[Choice, ...]
    cells: tuple[Cell, ...]
    tables: tuple[Mapping[tuple[str, ...], Draft], ...]
    idle: Live = ()

    def problem(self, cost_model: Pricer) -> Problem:
        """The latency, memory and size tables of every scope; damage is still zero."""
        costs = _predict(self.tables, cost_model)
        touched: dict[tuple[str, ...], list[dict[tuple[str, ...], Price]]] = defaultdict(list)
        for cell, table in zip(self.cells, self.tables, strict=True):
            ids = tuple(choice.id for choice in cell.choices)
            touched[ids].append(_priced_table(table, costs, cost_model))
        fixed = [table[()] for table in touched.pop((), [])]
        scopes = [
            Scope(f"cost:{number}", ids, _drop_unpriced(_sum_tables(tables)))
            for number, (ids, tables) in enumerate(touched.items())
        ]
        return Problem(self.choices, tuple(scopes), combine([replace(NOTHING, live=self.idle), *fixed]))


def draft(scene: Scene, choices: Sequence[Choice], listeners: Listeners = ()) -> Drafts:
    """Writes every joint value of every cell into its region, and notes what it became."""
    cells = find_cells(scene, choices)
    held, always = memory_shares(scene, cells)
    idle = None if not held else Idle(held[0].table, sum(size for _, size in always))
    tables = []
    for number, (cell, share) in enumerate(zip(cells, held, strict=True)):
        tables.append(draft_table(scene, cell, share, listeners, idle))
        _tell_left_out(scene, cell, listeners)
        emit(listeners, Progress("price", number + 1, len(cells)))
    return Drafts(tuple(choices), tuple(cells), tuple(tables), always if idle is None else idle.live())


def _tell_left_out(scene: Scene, cell: Cell, listeners: Listeners) -> None:
    names = ", ".join(f"{value.choice}={value.name}" for value in left_out(cell.choices))
    if names:
        reason = f"too many joint values: {names} were priced with forms only"
        emit(listeners, PlaceSkipped("price", scene.groups[cell.steps[0]].label, reason))


def memory_shares(scene: Scene, cells: Sequence[Cell]) -> tuple[list[Share], Live]:
    """What each cell answers for of the model's memory, and what lives whatever they hold."""
    return shares(scene.model, scene.shapes, scene.parts, scene.target, [cell.steps for cell in cells])


def price(scene: Scene, choices: Sequence[Choice], cost_model: Pricer, listeners: Listeners = ()) -> Problem:
    """The priced problem of a scene, in one go."""
    return draft(scene, choices, listeners).problem(cost_model)


def tell_prices(problem: Problem, listeners: Listeners) -> None:
    """Says of every value of every choice what it costs by itself, *keep* first."""
    if not listeners:
        return
    costs = without_damage(problem)
    for choice in problem.choices:
        for name in (KEEP, *(value.name for value in choice.values)):
            price, harm = alone_price(costs, choice, name), alone_price(problem, choice, name)
            latency = None if price is None else price.latency_us
            emit(listeners, ValuePriced(choice.id, name, latency, None if harm is None else harm.damage))


def draft_table(
    scene: Scene, cell: Cell, share: Share, listeners: Listeners = (), idle: Idle | None = None
) -> dict[tuple[str, ...], Draft]:
    """The drafts of all joint values of a cell that can be written. share: what it holds of memory.

    idle: where that is added up for a cell without choices; its draft holds nothing, then.
    """
    groups = [scene.groups[step] for step in cell.steps]
    if not cell.choices and idle is not None:
        idle.add_cell(share, groups, scene.model, scene.shapes)
        return {(): _draft(groups, scene.model, scene.shapes, share, live=())}
    if not cell.choices:
        return {(): _draft(groups, scene.model, scene.shapes, share)}
    region = cut_out(scene.model, _with_neighbours(scene, _nodes_of(groups)), scene.shapes, scene.order)
    joints = list(joint_values(cell.choices))
    found = _Tried(scene, groups, share, region).drafts(joints)
    alone = [v for number, v in _singles(joints) if number not in found]
    _tell_unwritten(region, alone, listeners)
    keys = [tuple(KEEP if value is None else value.name for value in joint) for joint in joints]
    return {key: found[number] for number, key in enumerate(keys) if number in found}


class _Tried:
    """Drafts of the joint values of one cell, each really written into the region."""

    def __init__(self, scene: Scene, groups: Sequence[Subgraph], share: Share, region: ir.Model) -> None:
        self._target, self._share, self._region = scene.target, share, region
        self._places = frozenset(place_of(node) for node in _nodes_of(groups) if has_place(node))

    def drafts(self, joints: Sequence[Sequence[Value | None]]) -> dict[int, Draft]:
        """By the number of the joint value; those that cannot be written are left out.

        Of those that come to the same here one is written, the next where that cannot be.
        """
        found: dict[int, Draft] = {}
        waiting = gather_alike(joints, self._groups())
        while waiting:
            leading = [alike[0] for alike in waiting]
            drafted = self._written(leading, [joints[number] for number in leading])
            for alike in waiting:
                if alike[0] in drafted:
                    found.update(dict.fromkeys(alike, drafted[alike[0]]))
            waiting = [alike[1:] for alike in waiting if alike[0] not in drafted and len(alike) > 1]
        return found

    def _groups(self) -> frozenset[str]:
        own = {node for node in self._region.graph if has_place(node) and place_of(node) in self._places}
        return groups_at(self._region, own, {*self._share.made, *self._share.read})

    def _written(self, numbers: Sequence[int], joints: Sequence[Sequence[Value | None]]) -> dict[int, Draft]:
        found: dict[int, Draft] = {}
        wanted = [[value for value in joint if value is not None] for joint in joints]
        for at, changed in apply_each(self._region, wanted):
            with _priceable(self._region, joints[at]):
                found[numbers[at]] = self._draft(changed)
        return found

    def _draft(self, changed: ir.Model) -> Draft:
        mine = [node for node in changed.graph if not has_place(node) or place_of(node) in self._places]
        shapes = recorded_shapes(changed)
        parts = partition(changed, shapes, self._target, region=mine)
        return _draft(parts.subgraphs, changed, shapes, self._share)


def _nodes_of(groups: Iterable[Subgraph]) -> list[ir.Node]:
    return [node for group in groups for node in group.nodes]


def _singles(joints: Sequence[Sequence[Value | None]]) -> Iterator[tuple[int, Value]]:
    """The joint values in which one choice alone does not keep: which they are."""
    for number, joint in enumerate(joints):
        values = [value for value in joint if value is not None]
        if len(values) == 1:
            yield number, values[0]


@contextmanager
def _priceable(region: ir.Model, joint: Sequence[Value | None]) -> Iterator[None]:
    """Raises PassFailed, for the value that was written last, where nobody can work on what was written."""
    try:
        yield
    except Exception as error:
        values = in_order(value for value in joint if value is not None)
        if not values:
            raise
        last, wrote = values[-1], f"wrote {values[-1].choice} = {values[-1].name}, which cannot be priced"
        raise PassFailed(last.pass_name, error, region, last.choice, last.name, wrote) from error


def _tell_unwritten(region: ir.Model, values: Iterable[Value], listeners: Listeners) -> None:
    """Of joint values it is no news that some exclude one another; of a value by itself it is."""
    for value in values if listeners else ():
        try:
            apply_values(region, [value])
        except RewriteFailed as error:
            emit(listeners, CheckFailed("rewrite", f"{value.choice} = {value.name}", str(error)))


def _with_neighbours(scene: Scene, nodes: Iterable[ir.Node]) -> set[ir.Node]:
    """The nodes and the groups right before and after them: a signature names its neighbours."""
    inside = set(nodes)
    ring = {p for n in inside for p in n.predecessors()} | {s for n in inside for s in n.successors()}
    found = set(inside)
    for node in ring:
        group = scene.parts.of(node)
        if group is not None:
            found.update(group.nodes)
    return found


def _draft(
    groups: Sequence[Subgraph],
    model: ir.Model,
    shapes: Mapping[str, TensorInfo],
    share: Share,
    live: Live | None = None,
) -> Draft:
    """groups: a cell's, of this model or changed piece of one, whose tensors have these shapes."""
    return Draft(
        tuple((group.label, group.signature) for group in groups if group.priced and group.kind != VIEW),
        sum(weight_bytes(group.signature, share.table.target) for group in groups),
        live_of(share, groups, model, shapes) if live is None else live,
        sum(macs(group.signature) for group in groups),
        tuple(group.label for group in groups if not group.priced),
    )


def _predict(
    drafts: Iterable[Mapping[tuple[str, ...], Draft]], cost_model: Pricer
) -> dict[Signature, Estimate]:
    """One batched call for every distinct signature of all tables."""
    once = {id(draft): draft for table in drafts for draft in table.values()}
    distinct = list(dict.fromkeys(s for draft in once.values() for _, s in draft.runnable))
    return dict(zip(distinct, cost_model.predict(distinct), strict=True))


def _priced_table(
    table: Mapping[tuple[str, ...], Draft], costs: Mapping[Signature, Estimate], cost_model: Pricer
) -> dict[tuple[str, ...], Price]:
    """A cell's prices. Joint values that come to the same share a draft, which is priced once."""
    distinct = {id(draft): draft for draft in table.values()}
    prices = {number: _priced(draft, costs, cost_model) for number, draft in distinct.items()}
    return {key: prices[id(draft)] for key, draft in table.items()}


def _priced(draft: Draft, costs: Mapping[Signature, Estimate], cost_model: Pricer) -> Price:
    known = [costs[signature] for _, signature in draft.runnable if cost_model.knows(signature)]
    guessed = () if len(known) == len(draft.runnable) else _guessed(draft, cost_model)
    return Price(
        total(known),
        draft.weight_bytes,
        draft.live,
        draft.macs,
        0.0,
        draft.unpriced + guessed,
    )


def _guessed(draft: Draft, cost_model: Pricer) -> tuple[str, ...]:
    return tuple(name for name, signature in draft.runnable if not cost_model.knows(signature))


def _sum_tables(tables: Sequence[Mapping[tuple[str, ...], Price]]) -> dict[tuple[str, ...], Price]:
    """Tables over the same choices added up; a joint value must be possible in all of them."""
    common = [key for key in tables[0] if all(key in table for table in tables)]
    priced = {key: [table[key] for table in tables] for key in common}
    distinct = {tuple(map(id, prices)): prices for prices in priced.values()}
    sums = {ids: combine(prices) for ids, prices in distinct.items()}
    return {key: sums[tuple(map(id, prices))] for key, prices in priced.items()}


def _drop_unpriced(table: Mapping[tuple[str, ...], Price]) -> dict[tuple[str, ...], Price]:
    """No rewrite moves work from priced to unpriced: such joint values are impossible."""
    keep = next(iter(table))
    allowed = len(table[keep].unpriced)
    return {key: entry for key, entry in table.items() if len(entry.unpriced) <= allowed}
