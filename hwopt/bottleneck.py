"""Inverted bottlenecks: the block of mobile networks that most rewrites are about.

An inverted bottleneck (IBN; Sandler et al., "MobileNetV2", CVPR 2018, section 3.3) expands
with a 1x1 convolution, filters depthwise, and projects with a 1x1 convolution. Between filter
and projection may stand a squeeze-and-excite gate (Hu et al., "Squeeze-and-Excitation
Networks", CVPR 2018, section 3): one factor per sample and channel, computed from the mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from hwopt.activations import Match, following_activation
from hwopt.nodes import Conv, as_conv, attr_ints, constant, constant_array, is_op, single_consumer

_LONGEST_ACTIVATION = 4  # nodes of a decomposed HardSwish
_LONGEST_GATE = 16  # nodes of a squeeze-and-excite with decomposed activations


@dataclass(frozen=True)
class Activated:
    """A convolution and the activation that follows it, if one does."""

    conv: Conv
    activation: Match | None

    @property
    def output(self) -> ir.Value:
        return self.conv.output if self.activation is None else self.activation.output


@dataclass(frozen=True)
class Gate:
    """value * factor, where the factor is computed from the value's spatial mean and nothing else.

    nodes: what computes the factor, without the product.
    """

    factor: ir.Value
    product: ir.Node
    nodes: tuple[ir.Node, ...]

    @property
    def output(self) -> ir.Value:
        return self.product.outputs[0]


@dataclass(frozen=True)
class Tail:
    """What follows a convolution up to the 1x1 convolution that alone reads it, each part maybe missing."""

    activation: Match | None
    gate: Gate | None
    project: Conv


@dataclass(frozen=True)
class InvertedBottleneck:
    """expand (1x1) -> depthwise (KxK) -> gate -> project (1x1), the first two maybe activated.

    expand is None for a block that starts with its depthwise convolution, gate where there is none.
    """

    expand: Activated | None
    depthwise: Activated
    gate: Gate | None
    project: Conv

    @property
    def hidden(self) -> int:
        return self.depthwise.conv.out_channels


def activated(conv: Conv) -> Activated:
    """The convolution with its activation."""
    return Activated(conv, following_activation(conv.output))


def tail_of(value: ir.Value) -> Tail | None:
    """What stands between a convolution's output and the projection that alone reads it, if one does."""
    activation = following_activation(value)
    result = value if activation is None else activation.output
    gate = gate_after(result)
    project = as_conv(single_consumer(result if gate is None else gate.output))
    return None if project is None or not project.pointwise else Tail(activation, gate, project)


def bottleneck_around(depthwise: Conv) -> InvertedBottleneck | None:
    """The block around a depthwise convolution, where a 1x1 convolution alone reads its result."""
    tail = tail_of(depthwise.output)
    if tail is None:
        return None
    middle = Activated(depthwise, tail.activation)
    return InvertedBottleneck(_expand_before(depthwise), middle, tail.gate, tail.project)


def reads_pointwise(conv: Conv) -> bool:
    """Whether the (activated) result of a 1x1 convolution feeds it, whoever else may read that."""
    found = [candidate for node in _upstream(conv.input) if (candidate := as_conv(node)) is not None]
    return any(candidate.pointwise and _leads_to(candidate, conv.input) for candidate in found)


def _leads_to(conv: Conv, value: ir.Value) -> bool:
    """Whether nothing but elementwise operators stands between a convolution and a value."""
    todo = [value]
    while todo:
        current = todo.pop()
        producer = current.producer()
        if current is conv.output or producer is None or constant(current) is not None:
            continue
        if is_op(producer, "Conv") or len(todo) > _LONGEST_ACTIVATION:
            return False
        todo.extend(v for v in producer.inputs if v is not None)
    return True


def _expand_before(depthwise: Conv) -> Activated | None:
    """The 1x1 convolution whose (activated) result only the depthwise convolution reads."""
    source = depthwise.input
    for node in _upstream(source):
        conv = as_conv(node)
        if conv is None or not conv.pointwise:
            continue
        candidate = activated(conv)
        if candidate.output is source and single_consumer(source) is depthwise.node:
            return candidate
    return None


def _upstream(value: ir.Value) -> Iterator[ir.Node]:
    """Producers of a value, as many steps back as an activation can be long."""
    frontier = [value]
    for _ in range(_LONGEST_ACTIVATION + 1):
        producers = [p for v in frontier if (p := v.producer()) is not None]
        yield from producers
        frontier = [v for p in producers for v in p.inputs if v is not None]


def gate_after(value: ir.Value) -> Gate | None:
    """The squeeze-and-excite gate on a value; None where it has none, or where others read the value too."""
    readers = [use.node for use in value.uses()]
    products = [node for node in readers if is_op(node, "Mul") and len(node.inputs) == 2]
    pools = [node for node in readers if _pools_space(node)]
    if value.is_graph_output() or not pools or len(products) != 1 or len(readers) != 1 + len(pools):
        return None
    factor = next((v for v in products[0].inputs if v is not None and v is not value), None)
    nodes = None if factor is None else _between(value, factor)
    if factor is None or nodes is None or not {id(n) for n in pools} <= {id(n) for n in nodes}:
        return None
    inside = [*nodes, products[0]]
    kept = all(
        not v.is_graph_output() and all(any(u.node is n for n in inside) for u in v.uses())
        for node in nodes
        for v in node.outputs
    )
    return Gate(factor, products[0], tuple(nodes)) if kept else None


def _pools_space(node: ir.Node) -> bool:
    """Whether it is the mean over height and width."""
    if is_op(node, "GlobalAveragePool"):
        return True
    if not is_op(node, "ReduceMean"):
        return False
    given = constant_array(node.inputs[1]) if len(node.inputs) > 1 else None
    axes = attr_ints(node, "axes", ()) if given is None else [int(a) for a in np.ravel(given)]
    return {int(axis) % 4 for axis in axes} == {2, 3}


def _between(start: ir.Value, end: ir.Value) -> list[ir.Node] | None:
    """The nodes that compute `end` from `start` and constants; None where something else goes in."""
    found: list[ir.Node] = []
    todo = [end]
    while todo:
        value = todo.pop()
        if value is start or constant(value) is not None:
            continue
        node = value.producer()
        if node is None or len(found) > _LONGEST_GATE:
            return None
        if not any(node is other for other in found):
            found.append(node)
            todo.extend(v for v in node.inputs if v is not None)
    return found
