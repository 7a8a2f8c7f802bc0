"""Cells: the pieces of a model that are priced by themselves, and the joint values of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod

import networkx as nx
import onnx_ir as ir

from hwopt.choice import Choice, Kind, Value
from hwopt.partition import Partition, Subgraph, partition
from hwopt.places import has_place, place_of
from hwopt.pricing.regions import Order, order_of
from hwopt.shapes import TensorInfo
from hwopt.target import Target

LARGEST_TABLE = 400  # joint values of one scope; beyond it those are left out that others resemble
LARGEST_BESIDE = 30  # joint values of forms and one that was left out


@dataclass(frozen=True)
class Scene:
    """A model with everything that pricing derives from it, once."""

    model: ir.Model
    shapes: Mapping[str, TensorInfo]
    target: Target
    parts: Partition

    @property
    def groups(self) -> tuple[Subgraph, ...]:
        return self.parts.subgraphs

    @cached_property
    def order(self) -> Order:
        """Where each node stands."""
        return order_of(self.model)


@dataclass(frozen=True)
class Cell:
    """Groups (by their step) that are priced together, and the choices that touch them."""

    steps: tuple[int, ...]
    choices: tuple[Choice, ...]


def make_scene(model: ir.Model, shapes: Mapping[str, TensorInfo], target: Target) -> Scene:
    """The partition of a model whose nodes have places."""
    return Scene(model, shapes, target, partition(model, shapes, target))


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
    touched: dict[int, list[int]] = defaultdict(list)
    for number, choice in enumerate(choices):
        for step in steps_of[choice.id]:
            touched[step].append(number)
    cells = []
    for component in nx.connected_components(graph):
        touching = sorted({number for step in component for number in touched[step]})
        cells.append(Cell(tuple(sorted(component)), tuple(choices[number] for number in touching)))
    return sorted(cells, key=lambda cell: cell.steps)


def joint_values(choices: Sequence[Choice]) -> Iterator[tuple[Value | None, ...]]:
    """The joint values of some choices, all kept first.

    A width of the whole model goes with forms, never with widths of single groups. A resolution goes
    with everything. Where the table would burst, values that differ from their neighbours in
    strength alone go with forms only (`left_out`).
    """
    sizes = [[None, *choice.values] if choice.kind == Kind.INPUT else [None] for choice in choices]
    for size in product(*sizes):
        for offers in _offers(choices):
            for joint in _joint(choices, offers):
                yield tuple(value or other for value, other in zip(size, joint, strict=True))


def left_out(choices: Sequence[Choice]) -> list[Value]:
    """The values that are priced with forms only, because the table would burst."""
    found: dict[tuple[str, str], Value] = {}
    for offers in _offers(choices):
        for offer, kept in zip(offers, _thinned(offers, LARGEST_TABLE), strict=True):
            found.update({(v.choice, v.name): v for v in offer if v is not None and v not in kept})
    return list(found.values())


Offer = Sequence[Value | None]


def _offers(choices: Sequence[Choice]) -> Iterator[list[Offer]]:
    """What every choice offers to a product: without a value of the whole model, then with one."""
    whole = (Kind.MODEL, Kind.INPUT)
    yield [[None] if choice.kind in whole else [None, *choice.values] for choice in choices]
    for position, choice in enumerate(choices):
        if choice.kind == Kind.MODEL:
            forms: list[Offer] = [
                [None] if other.kind in (Kind.WIDTH, *whole) else [None, *other.values] for other in choices
            ]
            forms[position] = choice.values
            yield forms


def _joint(choices: Sequence[Choice], offers: Sequence[Offer]) -> Iterator[tuple[Value | None, ...]]:
    """The product of what is left of the offers, then what was left out with forms only."""
    kept = _thinned(offers, LARGEST_TABLE)
    yield from product(*kept)
    alone = [
        offer if choice.kind in (Kind.FORM, Kind.MODEL) else offer[:1]
        for choice, offer in zip(choices, kept, strict=True)
    ]
    for position, offer in enumerate(offers):
        for value in (value for value in offer if value not in kept[position]):
            beside = [[value] if at == position else other for at, other in enumerate(alone)]
            yield from product(*_thinned(beside, LARGEST_BESIDE))


def _thinned(offers: Sequence[Offer], largest: int) -> list[list[Value | None]]:
    """Offers whose product has so many members at most."""
    kept = [list(offer) for offer in offers]
    while prod(len(offer) for offer in kept) > largest:
        by_length = sorted(kept, key=len, reverse=True)
        longest = next((offer for offer in by_length if _rungs(offer)), by_length[0])
        del longest[_most_alike(longest)]
    return kept


def _rungs(offer: Offer) -> list[tuple[float, int]]:
    """(the step in strength that would be left in its place, position) of every value between two others.

    Each pass has a ladder of its own, from keeping everything to keeping nothing.
    """
    found = []
    ladders: dict[str, list[tuple[float, int]]] = defaultdict(lambda: [(0.0, -1), (1.0, -1)])
    for at, value in enumerate(offer):
        if value is not None and value.strength is not None:
            ladders[value.pass_name].append((value.strength, at))
    for ladder in map(sorted, ladders.values()):
        found += [
            (up[0] - low[0], at) for low, (_, at), up in zip(ladder, ladder[1:], ladder[2:], strict=False)
        ]
    return found


def _most_alike(offer: Offer) -> int:
    """The value that is missed least: the one whose neighbours are nearest, else the last."""
    return min(_rungs(offer), default=(0.0, len(offer) - 1))[1]
