"""What all canonical rules share: a fold, a place passed over, and a view of the model for finders."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import onnx_ir as ir

from hwopt.canonical.constants import constant_producers
from hwopt.edit import remove_nodes
from hwopt.errors import RewriteFailed
from hwopt.nodes import label
from hwopt.shapes import StaticInfo, static_shapes

T = TypeVar("T")


@dataclass(frozen=True)
class Fold:
    """One independent, exact edit.

    nodes: in the order that the rule expects: first the linear operators that get new weights
    or pads, `anchors` of them, then what is removed or replaced.
    numbers: what was found out with the help of shapes, so that applying it needs none.
    """

    rule: str
    nodes: tuple[ir.Node, ...]
    anchors: int = 0
    numbers: tuple[int, ...] = ()

    @property
    def subject(self) -> int:
        """Index of the node that the fold is named after: no two folds have the same one."""
        return min(self.anchors, len(self.nodes) - 1)


@dataclass(frozen=True)
class Passed:
    """A node that a rule cares about but must leave alone, and why."""

    rule: str
    node: ir.Node
    reason: str


@dataclass
class View:
    """A model as the finders see it: shapes that hold for every input, and what is taken already.

    taken: nodes that a fold removes or replaces; none belongs to two folds. reweighted:
    linear operators that get new weights, which several folds may do one after the other.
    kept: nodes that must stay together as they are, an activation written out.
    """

    model: ir.Model
    shapes: dict[str, StaticInfo]
    taken: set[ir.Node] = field(default_factory=set)
    reweighted: set[ir.Node] = field(default_factory=set)
    kept: set[ir.Node] = field(default_factory=set)
    found: list[Fold | Passed] = field(default_factory=list)

    @classmethod
    def of(cls, model: ir.Model) -> View:
        """A fresh view."""
        return cls(model, static_shapes(model))

    @property
    def opset(self) -> int:
        """Version of the standard operator set."""
        return self.model.opset_imports.get("", 1)

    def dims(self, value: ir.Value | None) -> tuple[int | None, ...] | None:
        """Sizes of a value's axes, None for those that vary; None where not even the rank is known."""
        info = self.shapes.get(value.name or "") if value is not None else None
        return None if info is None else info.dims

    def dtype(self, value: ir.Value | None) -> ir.DataType | None:
        """A value's element type, where known."""
        info = self.shapes.get(value.name or "") if value is not None else None
        return None if info is None else info.dtype

    def fold(
        self,
        rule: str,
        nodes: Iterable[ir.Node],
        anchors: Iterable[ir.Node] = (),
        numbers: tuple[int, ...] = (),
    ) -> None:
        """Records a fold: `nodes` are taken, `anchors` are only edited."""
        edited, gone = tuple(anchors), tuple(nodes)
        self.found.append(Fold(rule, (*edited, *gone), len(edited), numbers))
        self.taken.update(gone)
        self.reweighted.update(edited)

    def skip(self, rule: str, node: ir.Node, reason: str) -> None:
        """Records a place that was passed over."""
        self.found.append(Passed(rule, node, reason))


def sole_reader(value: ir.Value) -> ir.Node | None:
    """The only node that reads the value, where it is in the same graph and the value no graph output."""
    uses = list(value.uses())
    if len(uses) != 1 or value.is_graph_output():
        return None
    reader = uses[0].node
    return reader if reader.graph is value.graph else None


def why_not_alone(value: ir.Value) -> str:
    """Why a value cannot be absorbed by its only reader; empty where it can."""
    if value.is_graph_output():
        return f"'{value.name}' is an output of the model"
    if len(value.uses()) != 1:
        return f"'{value.name}' is read in {len(value.uses())} places"
    return "" if sole_reader(value) is not None else f"'{value.name}' is read inside a nested graph"


def bypass(graph: ir.Graph, nodes: Iterable[ir.Node], last: ir.Value, replacement: ir.Value) -> None:
    """Lets everyone read `replacement` instead of `last`, and removes the nodes in between.

    Where `last` is a graph output its name, type and shape move to the replacement.
    """
    ends = last in graph.outputs
    name, dtype, shape = last.name, last.type, last.shape
    last.replace_all_uses_with(replacement, replace_graph_outputs=True)
    remove_with_constants(graph, list(nodes))
    if ends:
        rename(replacement, name, dtype, shape)


def take_over(graph: ir.Graph, nodes: Iterable[ir.Node], last: ir.Value, producer: ir.Value) -> None:
    """`producer` now computes what `last` held: it takes its name, and the nodes in between go."""
    name, dtype, shape = last.name, last.type, last.shape
    last.replace_all_uses_with(producer, replace_graph_outputs=True)
    remove_with_constants(graph, list(nodes))
    rename(producer, name, dtype, shape)


def rename(value: ir.Value, name: str | None, dtype: ir.TypeProtocol | None, shape: ir.Shape | None) -> None:
    """Gives a value the identity of another one that is gone."""
    value.name = name
    value.type = dtype if dtype is not None else value.type
    value.shape = shape


def remove_with_constants(graph: ir.Graph, nodes: list[ir.Node]) -> None:
    """Removes nodes, and the constant expressions that only they read."""
    operands = [value for node in nodes for value in node.inputs if value is not None]
    remove_nodes(graph, nodes)
    for value in operands:
        drop_expression(graph, value)


def drop_expression(graph: ir.Graph, value: ir.Value) -> None:
    """Removes what computes a constant expression, once nobody reads it."""
    producer = value.producer()
    if producer is None or producer.graph is not graph or not constant_producers(value):
        return
    if not any(output.uses() or output.is_graph_output() for output in producer.outputs):
        remove_with_constants(graph, [producer])


def required(found: T | str | None, rule: str, node: ir.Node) -> T:
    """What was found again; raises RewriteFailed where the fold no longer fits the model."""
    if found is None or isinstance(found, str):
        reason = f": {found}" if found else ""
        raise RewriteFailed(f"canonicalize: {rule} no longer applies at '{label(node)}'{reason}")
    return found
