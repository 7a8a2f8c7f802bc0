"""Cuts a model into pieces, one for each tensor that is looked at, to be run one after the other.

A piece holds the nodes that the tensor still needs once all earlier pieces have run. Each node runs once;
only constants, and what makes values that are no tensors, are part of every piece that reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.debug.compare.pairs import is_tensor
from hwopt.nodes import is_op
from hwopt.reads import outer_reads


@dataclass(frozen=True, eq=False)
class Piece:
    """Nodes to run together, in the order of the graph; none where an earlier piece made the tensor.

    reads: inputs of the model, and what earlier pieces made. makes: what is looked at, or read later.
    """

    nodes: tuple[ir.Node, ...]
    reads: tuple[ir.Value, ...]
    makes: tuple[ir.Value, ...]


def plan_pieces(model: ir.Model, targets: Sequence[ir.Value]) -> list[Piece]:
    """A piece for each of these tensors of the main graph, in their order."""
    order = {node: number for number, node in enumerate(model.graph)}
    made: set[ir.Value] = set(model.graph.inputs)
    groups: list[list[ir.Node]] = []
    for target in targets:
        nodes = sorted(_needed(target, made), key=lambda node: order[node])
        made.update(value for node in nodes for value in node.outputs if _cuttable(value))
        groups.append(nodes)
    reads = [_reads(nodes) for nodes in groups]
    wanted = {*targets, *(value for values in reads for value in values)}
    return [
        Piece(tuple(nodes), tuple(values), tuple(_made(nodes, wanted)))
        for nodes, values in zip(groups, reads, strict=True)
    ]


def _needed(target: ir.Value, made: set[ir.Value]) -> set[ir.Node]:
    found: set[ir.Node] = set()
    waiting = [target]
    while waiting:
        value = waiting.pop()
        node = value.producer()
        if value in made or node is None or node in found:
            continue
        found.add(node)
        waiting.extend(outer_reads(node))
    return found


def _cuttable(value: ir.Value) -> bool:
    """Whether a later piece may be handed the value; a constant stands in the piece that reads it."""
    return is_tensor(value) and not is_op(value.producer(), "Constant")


def _reads(nodes: Sequence[ir.Node]) -> list[ir.Value]:
    inside = {value for node in nodes for value in node.outputs}
    found = dict.fromkeys(value for node in nodes for value in outer_reads(node))
    return [value for value in found if value not in inside and not value.is_initializer()]


def _made(nodes: Sequence[ir.Node], wanted: set[ir.Value]) -> Iterator[ir.Value]:
    for node in nodes:
        yield from (value for value in node.outputs if value in wanted and _cuttable(value))
