"""Groups of ONNX nodes that TFLite says in one or two operators.

HardSwish written as x * clip(x + 3, 0, 6) / 6 in any order, or as x * HardSigmoid(x);
Gelu written with the error function; channel shuffles written with five axes;
division by a square root (layer norms), as a product with RSQRT.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isclose

import onnx_ir as ir

from hwopt.activations import following_activation
from hwopt.nodes import attr_float, attr_ints, constant, is_op, single_consumer
from hwopt.oracles.tflite_facts import Facts
from hwopt.oracles.tflite_fusing import clip_bounds

HARD_SWISH, GELU, RSQRT_PRODUCT, SHUFFLE = "hard_swish", "gelu", "rsqrt_product", "shuffle"


@dataclass(frozen=True)
class Pattern:
    """Nodes read as one: its operands, and the outputs of the nodes inside it."""

    kind: str
    inputs: tuple[ir.Value, ...]
    inside: frozenset[str]


def find_patterns(model: ir.Model, facts: Facts) -> dict[str, Pattern]:
    """Patterns of the main graph by the output of their last node; none overlaps another."""
    found = dict(_gelus(model))
    taken: set[str] = {name for pattern in found.values() for name in pattern.inside}
    for node in reversed(list(model.graph)):
        name = node.outputs[0].name or ""
        pattern = None if name in taken else _pattern_at(node, facts)
        if pattern is not None and not pattern.inside & taken:
            found[name] = pattern
            taken |= pattern.inside
    return found


def _pattern_at(node: ir.Node, facts: Facts) -> Pattern | None:
    """The pattern that ends in this node."""
    return _hard_swish(node, facts) or _rsqrt_product(node) or _shuffle(node, facts)


def _gelus(model: ir.Model) -> Iterator[tuple[str, Pattern]]:
    """Gelu around each error function."""
    for node in model.graph:
        scaled = node.inputs[0].producer() if is_op(node, "Erf") and node.inputs[0] is not None else None
        for x in scaled.inputs if scaled is not None else ():
            match = None if x is None or constant(x) is not None else following_activation(x)
            if x is not None and match is not None and match.activation.kind == "gelu":
                inside = frozenset(inner.outputs[0].name or "" for inner in match.nodes[:-1])
                yield match.output.name or "", Pattern(GELU, (x,), inside)


def _inner(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The node behind a value that only one node reads."""
    if value is None or single_consumer(value) is None:
        return None
    node = value.producer()
    return node if is_op(node, *op_types) else None


def _number(facts: Facts, value: ir.Value | None) -> float | None:
    data = facts.constant(value)
    return None if data is None or data.size != 1 else float(data.reshape(()))


def _pairs(node: ir.Node) -> Iterator[tuple[ir.Value, ir.Value]]:
    """The operands of a binary node, both ways round."""
    if len(node.inputs) == 2:
        left, right = node.inputs
        if left is not None and right is not None:
            yield left, right
            yield right, left


def _sixth_of(node: ir.Node | None, facts: Facts) -> ir.Value | None:
    """v, where the node is v / 6 or v * 1/6."""
    if node is None:
        return None
    if is_op(node, "Div"):
        return node.inputs[0] if _number(facts, node.inputs[1]) == 6.0 else None
    if is_op(node, "Mul"):
        for value, other in _pairs(node):
            number = _number(facts, other)
            if number is not None and isclose(number, 1 / 6, rel_tol=1e-4):
                return value
    return None


def _hard_swish(node: ir.Node, facts: Facts) -> Pattern | None:
    """The pattern that ends in this node, a Mul or a division by six."""
    if not is_op(node, "Mul", "Div"):
        return None
    source = _sixth_of(node, facts)
    if source is not None:  # (x * clip(x + 3)) / 6
        product = _inner(source, "Mul")
        for x, gate in _pairs(product) if product is not None else ():
            inside = _gate(gate, x, facts)
            if inside is not None:
                return Pattern(HARD_SWISH, (x,), frozenset({source.name or "", *inside}))
        return None
    for x, gate in _pairs(node):  # x * (clip(x + 3) / 6), x * HardSigmoid(x)
        inside = _scaled_gate(gate, x, facts)
        if inside is not None:
            return Pattern(HARD_SWISH, (x,), frozenset(inside))
    return None


def _scaled_gate(value: ir.Value, x: ir.Value, facts: Facts) -> set[str] | None:
    """The outputs inside of clip(x + 3, 0, 6) / 6, however it is written."""
    node = _inner(value, "HardSigmoid")
    if node is not None:
        sixth = isclose(attr_float(node, "alpha", 0.2), 1 / 6, rel_tol=1e-3)
        fits = sixth and attr_float(node, "beta", 0.5) == 0.5 and node.inputs[0] is x
        return {value.name or ""} if fits else None
    gate = _sixth_of(_inner(value, "Div", "Mul"), facts)
    inside = None if gate is None else _gate(gate, x, facts)
    return None if inside is None else {value.name or "", *inside}


def _gate(value: ir.Value, x: ir.Value, facts: Facts) -> set[str] | None:
    """The outputs inside of clip(x + 3, 0, 6)."""
    clip = _inner(value, "Clip")
    if clip is None or clip_bounds(facts, clip) != (0.0, 6.0):
        return None
    shifted = clip.inputs[0]
    add = _inner(shifted, "Add")
    for operand, other in _pairs(add) if add is not None else ():
        if operand is x and _number(facts, other) == 3.0:
            assert shifted is not None
            return {value.name or "", shifted.name or ""}
    return None


def _rsqrt_product(node: ir.Node) -> Pattern | None:
    """a / sqrt(v) as a * rsqrt(v)."""
    if not is_op(node, "Div"):
        return None
    root = _inner(node.inputs[1], "Sqrt")
    if root is None or root.inputs[0] is None or node.inputs[0] is None:
        return None
    return Pattern(RSQRT_PRODUCT, (node.inputs[0], root.inputs[0]), frozenset({root.outputs[0].name or ""}))


def _shuffle(node: ir.Node, facts: Facts) -> Pattern | None:
    """ShuffleNet's channel shuffle: [1, C, H, W] in groups, groups and members exchanged, and back."""
    swap = _inner(node.inputs[0], "Transpose") if is_op(node, "Reshape") else None
    if swap is None or attr_ints(swap, "perm", ()) != (0, 2, 1, 3, 4):
        return None
    first = _inner(swap.inputs[0], "Reshape")
    if first is None or first.inputs[0] is None:
        return None
    shape, grouped = facts.shape(first.inputs[0]), facts.shape(first.outputs[0])
    if shape is None or grouped is None or len(shape) != 4 or facts.shape(node.outputs[0]) != shape:
        return None
    if (grouped[0], grouped[1] * grouped[2], *grouped[3:]) != shape:
        return None
    inside = frozenset({first.outputs[0].name or "", swap.outputs[0].name or ""})
    return Pattern(SHUFFLE, (first.inputs[0], swap.outputs[0]), inside)
