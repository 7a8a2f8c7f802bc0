"""Cells: the pieces of a model that are priced by themselves, and the joint values of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

import networkx as nx
import onnx_ir as ir

from hwopt.choice import Choice, Kind, Value
from hwopt.partition import Partition, Subgraph, partition
from hwopt.places import has_place, place_of
from hwopt.shapes import TensorInfo
from hwopt.target import Target

LARGEST_TABLE = 400  # joint values of one scope; beyond it the least promising values are dropped


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
    cells = []
    for component in nx.connected_components(graph):
        touching = tuple(c for c in choices if component.intersection(steps_of[c.id]))
        cells.append(Cell(tuple(sorted(component)), touching))
    return sorted(cells, key=lambda cell: cell.steps)


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
