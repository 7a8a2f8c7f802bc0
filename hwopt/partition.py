"""Cuts a model into what a target runs as one unit: fused operator groups, inside blocks.

The target's file says which followers an anchor takes into its group and which engine runs
what. Nothing here knows a price.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import onnx_ir as ir

from hwopt.blocks import block_numbers
from hwopt.describe import VIEWS, Context, Group, Shapes, kind_of, signature_of
from hwopt.grouping import constant_nodes, fused_groups, has_graph
from hwopt.nodes import ONNX_DOMAINS, is_op, label
from hwopt.oracles.operator_rules import rule_of
from hwopt.signature import CONV_KINDS, GRAPH_INPUT, GRAPH_OUTPUT, VIEW, Signature
from hwopt.target import Target

_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
_IMAGE_KINDS = CONV_KINDS | {"transposed", "pool", "global_pool", "resize"}
_NEEDS_WEIGHT = CONV_KINDS | {"transposed", "gemm"}


@dataclass(frozen=True, eq=False)
class Subgraph:
    """A fused operator group of one model (a view: it holds the model's nodes).

    kind, signature: see hwopt.signature. engine: the target's engine that runs it, or None
        where none can; `reason` then says why. block: number of the block it lies in.
    inputs, outputs: activations it reads and writes; nothing between its nodes materialises.
    """

    nodes: tuple[ir.Node, ...]
    kind: str
    engine: str | None
    reason: str
    block: int
    signature: Signature
    inputs: tuple[ir.Value, ...]
    outputs: tuple[ir.Value, ...]

    @property
    def label(self) -> str:
        """What a person recognises it by: the label of its anchor."""
        return label(self.nodes[0])

    @property
    def priced(self) -> bool:
        """Whether the target can run it: only then does it have a price."""
        return self.engine is not None


@dataclass(frozen=True, eq=False)
class Partition:
    """All subgraphs of a model in graph order, and the nodes that are no work of the target.

    excluded: constants and what can be computed from constants and static shapes alone.
    """

    subgraphs: tuple[Subgraph, ...]
    excluded: tuple[ir.Node, ...]

    @property
    def unpriced(self) -> tuple[Subgraph, ...]:
        """The subgraphs that the target cannot run."""
        return tuple(subgraph for subgraph in self.subgraphs if not subgraph.priced)

    @property
    def signatures(self) -> list[Signature]:
        """Signatures of the subgraphs that have a price, in graph order."""
        return [subgraph.signature for subgraph in self.subgraphs if subgraph.priced]

    @cached_property
    def _by_node(self) -> dict[ir.Node, Subgraph]:
        return {node: subgraph for subgraph in self.subgraphs for node in subgraph.nodes}

    def of(self, node: ir.Node) -> Subgraph | None:
        """The subgraph that the node is in; None for excluded nodes and strangers."""
        return self._by_node.get(node)


def partition(
    model: ir.Model, shapes: Shapes, target: Target, region: Collection[ir.Node] | None = None
) -> Partition:
    """The model's subgraphs under the target's fusion rules, each assigned to an engine.

    region: only the groups that hold one of these nodes are described (their context still
        comes from the whole graph); this is what makes repeated pricing cheap. Blocks are then
        not numbered.
    """
    nodes = list(model.graph)
    excluded = constant_nodes(nodes, shapes)
    groups = list(fused_groups([node for node in nodes if node not in excluded], excluded, target))
    kinds = [kind_of(group) for group in groups]
    neighbours = _Neighbours(groups, kinds, excluded)
    if region is None:
        blocks = block_numbers(groups, kinds)
        chosen = list(range(len(groups)))
    else:
        wanted = set(region)
        chosen = [i for i, group in enumerate(groups) if not wanted.isdisjoint(group.nodes)]
        blocks = [0] * len(groups)
    found = tuple(
        _subgraph(groups[i], kinds[i], blocks[i], neighbours.of(groups[i]), shapes, target) for i in chosen
    )
    return Partition(found, tuple(node for node in nodes if node in excluded))


class _Neighbours:
    """Which kinds of groups feed a group and read from it, views looked through."""

    def __init__(self, groups: Sequence[Group], kinds: Sequence[str], excluded: set[ir.Node]) -> None:
        self._excluded = excluded
        self._kind: dict[ir.Node, str] = {}
        self._group: dict[ir.Node, Group] = {}
        for group, kind in zip(groups, kinds, strict=True):
            for node in group.nodes:
                self._kind[node] = kind
                self._group[node] = group

    def of(self, group: Group) -> Context:
        """Kind of the producer of each input, kinds of all consumers, sorted, and what is shared."""
        producers = tuple(self._producer(value) for value in group.inputs)
        consumers = [kind for value in group.outputs for kind in self._consumers(value)]
        shared = sum(self._needed_elsewhere(value, group) for value in group.inputs)
        return Context(producers, tuple(sorted(consumers)), shared)

    def _needed_elsewhere(self, value: ir.Value, group: Group) -> bool:
        """Whether the caller or another group reads the value, too."""
        readers = (self._group.get(use.node) for use in value.uses())
        return value.is_graph_output() or any(r is not None and r is not group for r in readers)

    def _producer(self, value: ir.Value) -> str:
        node = value.producer()
        if node is None or node not in self._kind:
            return GRAPH_INPUT
        kind = self._kind[node]
        inputs = self._group[node].inputs
        return self._producer(inputs[0]) if kind == VIEW and inputs else kind

    def _consumers(self, value: ir.Value) -> Iterator[str]:
        if value.is_graph_output():
            yield GRAPH_OUTPUT
        readers = {
            id(group): group for use in value.uses() if (group := self._group.get(use.node)) is not None
        }
        for reader in readers.values():
            kind = self._kind[reader.anchor]
            if kind == VIEW:
                for output in reader.outputs:
                    yield from self._consumers(output)
            else:
                yield kind


def _subgraph(
    group: Group,
    kind: str,
    block: int,
    context: Context,
    shapes: Shapes,
    target: Target,
) -> Subgraph:
    signature = signature_of(group, kind, shapes, target, context)
    reason = _why_not(group, signature, shapes, target)
    engine = None if reason else _engine(group, kind, target)
    return Subgraph(group.nodes, kind, engine, reason, block, signature, group.inputs, group.outputs)


def _engine(group: Group, kind: str, target: Target) -> str | None:
    return target.engines[0].name if kind == VIEW else target.engine_of(group.ops[0])


def _why_not(group: Group, signature: Signature, shapes: Shapes, target: Target) -> str:
    """Why the target cannot run the group; "" where it can."""
    node = group.anchor
    if node.domain not in ONNX_DOMAINS:
        return f"operator {node.domain}::{node.op_type} is none of the standard operators"
    if has_graph(node):
        return f"{node.op_type} holds graphs of its own (control flow)"
    if is_op(node, *VIEWS):
        return ""
    if target.engine_of(group.ops[0]) is None:
        return f"no engine of {target.name} runs {group.ops[0]}"
    for value in (*group.inputs, *group.outputs):
        info = shapes.get(value.name or "")
        dtype = value.dtype if info is None else info.dtype
        if dtype is not None and dtype not in _FLOATS:
            return f"'{value.name}' is not a floating-point tensor"
        if info is None:
            return f"shape of '{value.name}' is unknown"
    rule = rule_of(target.oracle.name)
    return _why_not_shape(signature) or (rule(node, signature, target) if rule is not None else "")


def _why_not_shape(signature: Signature) -> str:
    if signature.kind in _NEEDS_WEIGHT and signature.weight is None:
        return "weight is not a constant"
    if not signature.inputs:
        return "it has no input that changes"
    if signature.kind in _IMAGE_KINDS:
        if len(signature.inputs[0]) != 4:
            return f"input has {len(signature.inputs[0])} dimensions: only images (4) are priced"
        if signature.inputs[0][0] != 1:
            return f"batch is {signature.inputs[0][0]}: only batch 1 is priced"
    return ""
