"""Which nodes a target runs as one: an anchor with its followers, under the target's fusion rules.

Activations that are written out as several operators count as one follower.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.activations import Match, following_activation
from hwopt.describe import Group, Shapes, shape_of, target_op
from hwopt.nodes import ONNX_DOMAINS, constant, is_op, single_consumer
from hwopt.target import Target

_PATTERN_STARTS = ("Add", "Sub", "Mul", "Div", "Clip", "Relu", "Sigmoid", "HardSigmoid", "Neg", "Min", "Max")
_WRITTEN_OUT = {
    "hardswish": "HardSwish",
    "silu": "Silu",
    "hardsigmoid": "HardSigmoid",
    "gelu": "Gelu",
    "relu": "Relu",
    "relu6": "Clip",
    "clip": "Clip",
    "leaky_relu": "LeakyRelu",
    "prelu": "PRelu",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "none": "Identity",
}
_UNFOLDABLE = (
    "RandomNormal",
    "RandomUniform",
    "RandomNormalLike",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
)


def constant_nodes(nodes: Sequence[ir.Node], shapes: Shapes) -> set[ir.Node]:
    """Nodes whose outputs are known before the model runs: Constant, Shape, and what follows from them."""
    known: set[ir.Node] = set()
    for node in nodes:
        if node.domain not in ONNX_DOMAINS or node.op_type in _UNFOLDABLE or has_graph(node):
            continue
        if is_op(node, "Constant"):
            known.add(node)
        elif is_op(node, "Shape", "Size"):
            if node.inputs[0] is not None and shape_of(node.inputs[0], shapes) is not None:
                known.add(node)
        elif node.inputs and all(value is None or is_constant(value, known) for value in node.inputs):
            known.add(node)
    return known


def is_constant(value: ir.Value, constants: Collection[ir.Node]) -> bool:
    """Whether the value is an initializer that nobody can override, or comes from a constant node."""
    producer = value.producer()
    if producer is not None:
        return producer in constants
    return value.is_initializer() and not value.is_graph_input()


def has_graph(node: ir.Node) -> bool:
    """Whether the node holds graphs of its own (If, Loop, Scan)."""
    return any(
        attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
        for attribute in node.attributes.values()
    )


def fused_groups(nodes: Sequence[ir.Node], excluded: set[ir.Node], target: Target) -> Iterator[Group]:
    """Operator groups in graph order: every node lies in exactly one."""
    taken: set[ir.Node] = set()
    for node in nodes:
        if node in taken:
            continue
        group = _activation_group(node, excluded) or _anchored_group(node, excluded, target, taken)
        taken.update(group.nodes)
        yield group


def _activation_group(node: ir.Node, excluded: set[ir.Node]) -> Group | None:
    """The group of an activation that is written with several nodes and that nothing took in."""
    if not is_op(node, *_PATTERN_STARTS):
        return None
    for value in node.inputs:
        if value is None or is_constant(value, excluded):
            continue
        found = following_activation(value)
        if found is not None and found.decomposed and found.nodes[0] is node:
            return Group(found.nodes, (op_word(found),), "", (value,), (found.output,))
    return None


def _anchored_group(anchor: ir.Node, excluded: set[ir.Node], target: Target, done: set[ir.Node]) -> Group:
    """The anchor with the followers that the target fuses into it.

    A follower that reads something else too (a residual addition) is taken only where that is
    already computed, by the nodes that are `done`: of two convolutions that are added, the later.
    """
    op = target_op(anchor)
    members, ops, activation = [anchor], [op], ""
    outputs = tuple(anchor.outputs)
    bias = matmul_bias(anchor)
    if bias is not None:
        members.append(bias)
        outputs = tuple(bias.outputs)
    for accepted in _followers(op, target) if len(outputs) == 1 else ():
        follower = _follower(outputs[0], accepted)
        if follower is not None and _is_ready(follower.nodes, {*members, *follower.nodes}, done | excluded):
            ops.append(follower.op)
            members.extend(follower.nodes)
            activation, outputs = follower.activation, (follower.output,)
    inside = set(members)
    inputs = tuple(
        value
        for node in members
        for value in node.inputs
        if value is not None and not is_constant(value, excluded) and value.producer() not in inside
    )
    return Group(tuple(members), tuple(ops), activation, tuple(dict.fromkeys(inputs)), outputs)


def matmul_bias(node: ir.Node) -> ir.Node | None:
    """The addition of a constant vector that alone reads a product with a constant matrix.

    Every runtime adds it on the way, as in a Gemm: exporters write linear layers so.
    """
    if not is_op(node, "MatMul") or len(node.inputs) != 2 or not _is_matrix(node.inputs[1]):
        return None
    add = single_consumer(node.outputs[0])
    if add is None or not is_op(add, "Add"):
        return None
    tensors = [constant(value) for value in add.inputs]
    sizes = [int(tensor.size) for tensor in tensors if tensor is not None and len(tensor.shape) == 1]
    weight = constant(node.inputs[1])
    return add if weight is not None and sizes == [weight.shape[1]] else None


def _is_matrix(value: ir.Value | None) -> bool:
    tensor = constant(value)
    return tensor is not None and len(tensor.shape) == 2


def _is_ready(nodes: Sequence[ir.Node], inside: set[ir.Node], done: set[ir.Node]) -> bool:
    """Whether everything that the nodes read is computed inside the group or before it."""
    sources = (value.producer() for node in nodes for value in node.inputs if value is not None)
    return all(source is None or source in inside or source in done for source in sources)


def _followers(op: str, target: Target) -> tuple[frozenset[str], ...]:
    return next((fusion.followers for fusion in target.fusions if op in fusion.anchors), ())


@dataclass(frozen=True)
class _Follower:
    op: str
    activation: str
    nodes: tuple[ir.Node, ...]
    output: ir.Value


def _follower(value: ir.Value, accepted: frozenset[str]) -> _Follower | None:
    """What follows the value and may be fused, where it is one of the accepted operators."""
    found = following_activation(value)
    if found is not None:
        op = op_word(found)
        if op in accepted:
            return _Follower(op, found.activation.kind, found.nodes, found.output)
        return None
    node = single_consumer(value)
    if node is None or not is_op(node, *accepted) or len(node.outputs) != 1:
        return None
    return _Follower(node.op_type, node.op_type.lower(), (node,), node.outputs[0])


def op_word(found: Match) -> str:
    """The operator that a target's file calls the activation, however many nodes it is written with."""
    return _WRITTEN_OUT[found.activation.kind] if found.decomposed else found.nodes[0].op_type
