"""Fills the tables: what every joint value of every scope costs on the target.

The model's fused groups are gathered into cells (groups that a form rewrite may melt into
one). A cell's scope is every choice that touches it. Each joint value is written into a
cut-out region, partitioned anew, and all the signatures of all tables go to the cost model
in one batched call.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

import networkx as nx
import onnx_ir as ir

from hwopt.choice import KEEP, Choice, Kind, Value
from hwopt.cost.protocol import Pricer
from hwopt.errors import RewriteFailed
from hwopt.estimate import Estimate, total
from hwopt.memory import plan_memory, weight_bytes
from hwopt.partition import Partition, Subgraph, partition
from hwopt.places import has_place, place_of
from hwopt.regions import apply_values, cut_out, recorded_shapes
from hwopt.scope import NOTHING, Price, Problem, Scope, combine
from hwopt.shapes import TensorInfo
from hwopt.signature import VIEW, Signature, macs
from hwopt.target import Target
from hwopt.trace import Listeners, Progress, emit

LARGEST_TABLE = 400  # joint values of one scope; beyond it the least promising values are dropped


@dataclass(frozen=True)
class Scene:
    """A model with everything that pricing derives from it, once."""

    model: ir.Model
    shapes: Mapping[str, TensorInfo]
    target: Target
    parts: Partition
    outside_bytes: Mapping[int, int]  # step -> bytes alive that its subgraph neither reads nor writes

    @property
    def groups(self) -> tuple[Subgraph, ...]:
        return self.parts.subgraphs


@dataclass(frozen=True)
class Draft:
    """A joint value's subgraphs, before the cost model has seen them: (label, signature) of each."""

    runnable: tuple[tuple[str, Signature], ...]
    weight_bytes: int
    live: tuple[tuple[int, int], ...]
    macs: int
    unpriced: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """Groups (by their step) that are priced together, and the choices that touch them."""

    steps: tuple[int, ...]
    choices: tuple[Choice, ...]


def make_scene(model: ir.Model, shapes: Mapping[str, TensorInfo], target: Target) -> Scene:
    """Partition and liveness of a model whose nodes have places."""
    parts = partition(model, shapes, target)
    plan = plan_memory(model, shapes, parts, target)
    outside = {}
    for number, (group, step) in enumerate(zip(parts.subgraphs, plan.steps, strict=True)):
        outside[number] = max(0, step.live_bytes - _io_bytes(group, shapes, target))
    return Scene(model, shapes, target, parts, outside)


@dataclass(frozen=True)
class Drafts:
    """All tables of a scene before they are priced: they can be priced again as prices get better."""

    choices: tuple[Choice, ...]
    cells: tuple[Cell, ...]
    tables: tuple[Mapping[tuple[str, ...], Draft], ...]

    def problem(self, cost_model: Pricer) -> Problem:
        """The latency, memory and size tables of every scope; damage is still zero."""
        costs = _predict(self.tables, cost_model)
        touched: dict[tuple[str, ...], list[dict[tuple[str, ...], Price]]] = defaultdict(list)
        for cell, table in zip(self.cells, self.tables, strict=True):
            ids = tuple(choice.id for choice in cell.choices)
            touched[ids].append({key: _priced(draft, costs, cost_model) for key, draft in table.items()})
        fixed = touched.pop((), [])
        scopes = [
            Scope(f"cost:{number}", ids, _drop_unpriced(_sum_tables(tables)))
            for number, (ids, tables) in enumerate(touched.items())
        ]
        return Problem(self.choices, tuple(scopes), _sum_tables(fixed)[()] if fixed else NOTHING)


def draft(scene: Scene, choices: Sequence[Choice], listeners: Listeners = ()) -> Drafts:
    """Writes every joint value of every cell into its region, and notes what it became."""
    cells = find_cells(scene, choices)
    tables = []
    for number, cell in enumerate(cells):
        tables.append(draft_table(scene, cell))
        emit(listeners, Progress("price", number + 1, len(cells)))
    return Drafts(tuple(choices), tuple(cells), tuple(tables))


def price(scene: Scene, choices: Sequence[Choice], cost_model: Pricer, listeners: Listeners = ()) -> Problem:
    """The priced problem of a scene, in one go."""
    return draft(scene, choices, listeners).problem(cost_model)


def find_cells(scene: Scene, choices: Sequence[Choice]) -> list[Cell]:
    """Every subgraph in exactly one cell, in schedule order."""
    step_of = {
        place_of(node): number
        for number, group in enumerate(scene.groups)
        for node in group.nodes
        if has_place(node)
    }
    steps_of = {c.id: sorted({step_of[p] for p in c.places if p in step_of}) for c in choices}
    graph = nx.Graph()
    graph.add_nodes_from(range(len(scene.groups)))
    for choice in choices:
        if choice.kind in (Kind.FORM, Kind.CANONICAL):
            nx.add_path(graph, steps_of[choice.id])
    cells = []
    for component in nx.connected_components(graph):
        touching = tuple(c for c in choices if component.intersection(steps_of[c.id]))
        cells.append(Cell(tuple(sorted(component)), touching))
    return sorted(cells, key=lambda cell: cell.steps)


def draft_table(scene: Scene, cell: Cell) -> dict[tuple[str, ...], Draft]:
    """The drafts of all joint values of a cell that can be written."""
    nodes = [node for step in cell.steps for node in scene.groups[step].nodes]
    if not cell.choices:
        return {(): _draft(nodes, scene.model, scene.shapes, scene, (cell.steps[0], _outside(scene, cell)))}
    region = cut_out(scene.model, _with_neighbours(scene, nodes), scene.shapes)
    places = frozenset(place_of(node) for node in nodes if has_place(node))
    outside = _outside(scene, cell)
    table = {}
    for joint in joint_values(cell.choices):
        values = [value for value in joint if value is not None]
        key = tuple(KEEP if value is None else value.name for value in joint)
        try:
            changed = apply_values(region, values)
        except RewriteFailed:
            continue  # these values exclude one another: the table has no such entry
        mine = [node for node in changed.graph if not has_place(node) or place_of(node) in places]
        alive = round(outside * _shrunk(region, changed, values))
        table[key] = _draft(mine, changed, recorded_shapes(changed), scene, (cell.steps[0], alive))
    return table


def joint_values(choices: Sequence[Choice]) -> Iterator[tuple[Value | None, ...]]:
    """The joint values of some choices, all kept first; widths thinned out where the table would burst.

    A width of the whole model goes with forms, never with widths of single groups. A resolution goes
    with everything.
    """
    sizes = [[None, *choice.values] if choice.kind == Kind.INPUT else [None] for choice in choices]
    for size in product(*sizes):
        for joint in _at_one_size(choices):
            yield tuple(value or other for value, other in zip(size, joint, strict=True))


def _at_one_size(choices: Sequence[Choice]) -> Iterator[tuple[Value | None, ...]]:
    whole = (Kind.MODEL, Kind.INPUT)
    single: list[list[Value | None]] = [
        [None] if choice.kind in whole else [None, *choice.values] for choice in choices
    ]
    yield from product(*_thinned(single))
    for position, choice in enumerate(choices):
        if choice.kind == Kind.MODEL:
            forms: list[list[Value | None]] = [
                [None] if other.kind in (Kind.WIDTH, *whole) else [None, *other.values] for other in choices
            ]
            forms[position] = list(choice.values)
            yield from product(*_thinned(forms))


def _thinned(offers: Sequence[list[Value | None]]) -> list[list[Value | None]]:
    kept = [list(offer) for offer in offers]
    while prod(len(offer) for offer in kept) > LARGEST_TABLE:
        longest = max(range(len(kept)), key=lambda i: len(kept[i]))
        del kept[longest][-1]
    return kept


def _outside(scene: Scene, cell: Cell) -> int:
    """Most bytes that are alive while a cell runs and that it neither reads nor writes."""
    return max(scene.outside_bytes[step] for step in cell.steps)


def _shrunk(region: ir.Model, changed: ir.Model, values: Iterable[Value]) -> float:
    """How much smaller maps are at another resolution: the region's inputs stand for all others."""
    if not any(value.kind == Kind.INPUT for value in values):
        return 1.0
    before, after = recorded_shapes(region), recorded_shapes(changed)
    names = [str(v.name) for v in region.graph.inputs if v.name in before and v.name in after]
    elements = sum(before[name].elements for name in names)
    return sum(after[name].elements for name in names) / elements if elements else 1.0


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
    nodes: Sequence[ir.Node],
    model: ir.Model,
    shapes: Mapping[str, TensorInfo],
    scene: Scene,
    outside: tuple[int, int],
) -> Draft:
    """outside: their step, and the bytes alive there that these nodes neither read nor write."""
    groups = partition(model, shapes, scene.target, region=nodes).subgraphs
    return Draft(
        tuple((group.label, group.signature) for group in groups if group.priced and group.kind != VIEW),
        sum(weight_bytes(group.signature, scene.target) for group in groups),
        ((outside[0], outside[1] + max((_io_bytes(g, shapes, scene.target) for g in groups), default=0)),),
        sum(macs(group.signature) for group in groups),
        tuple(group.label for group in groups if not group.priced),
    )


def _io_bytes(group: Subgraph, shapes: Mapping[str, TensorInfo], target: Target) -> int:
    names = {str(value.name) for value in (*group.inputs, *group.outputs)}
    return sum(shapes[name].elements for name in sorted(names) if name in shapes) * target.element_bytes


def _predict(
    drafts: Iterable[Mapping[tuple[str, ...], Draft]], cost_model: Pricer
) -> dict[Signature, Estimate]:
    """One batched call for every distinct signature of all tables."""
    distinct = list(
        dict.fromkeys(s for table in drafts for draft in table.values() for _, s in draft.runnable)
    )
    return dict(zip(distinct, cost_model.predict(distinct), strict=True))


def _priced(draft: Draft, costs: Mapping[Signature, Estimate], cost_model: Pricer) -> Price:
    known = [costs[signature] for _, signature in draft.runnable if cost_model.knows(signature)]
    guessed = tuple(name for name, signature in draft.runnable if not cost_model.knows(signature))
    return Price(
        total(known),
        draft.weight_bytes,
        draft.live,
        draft.macs,
        0.0,
        draft.unpriced + guessed,
    )


def _sum_tables(tables: Sequence[Mapping[tuple[str, ...], Price]]) -> dict[tuple[str, ...], Price]:
    """Tables over the same choices added up; a joint value must be possible in all of them."""
    common = [key for key in tables[0] if all(key in table for table in tables)]
    return {key: combine([table[key] for table in tables]) for key in common}


def _drop_unpriced(table: Mapping[tuple[str, ...], Price]) -> dict[tuple[str, ...], Price]:
    """No rewrite moves work from priced to unpriced: such joint values are impossible."""
    keep = next(iter(table))
    allowed = len(table[keep].unpriced)
    return {key: entry for key, entry in table.items() if len(entry.unpriced) <= allowed}
