"""Constant expressions: values that look computed but depend on constants alone.

Add(x, Reshape(weight, shape))  -->  Add(x, constant)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from hwopt.canonical.growth import largest_result, most_bytes
from hwopt.nodes import constant, constant_array, is_op

Array = npt.NDArray[np.generic]

# Deterministic operators whose result is given by the standard to the last bit or rounding.
# No DequantizeLinear: quantised weights must stay quantised.
FOLDABLE = (
    *("Reshape", "Cast", "Unsqueeze", "Squeeze", "Identity", "Transpose", "Concat", "Slice", "Gather"),
    *("Shape", "Flatten", "Range", "ConstantOfShape", "Expand", "Tile", "Where", "Equal", "Floor", "Ceil"),
    *("Add", "Sub", "Mul", "Div", "Neg", "Sqrt", "Pow", "Reciprocal"),
)
_MOST_NODES = 100  # of one expression; those of shapes that exporters write have a dozen


def constant_producers(value: ir.Value | None) -> list[ir.Node]:
    """The nodes that compute a constant expression, the last one first; empty where it is none.

    Plain constants (initializers, Constant nodes) have no such nodes either. Every node is looked at
    once, however many ways lead to it: a chain of n Add(a, a) has 2^n.
    """
    found: dict[ir.Node, None] = {}
    open_values = [value]
    while open_values:
        producer = None if (asked := open_values.pop()) is None else asked.producer()
        if producer is None or not is_op(producer, *FOLDABLE) or len(producer.outputs) != 1:
            return []
        if producer in found:
            continue
        found[producer] = None
        if len(found) > _MOST_NODES:
            return []
        open_values += [v for v in reversed(producer.inputs) if v is not None and constant(v) is None]
    return list(found)


def constant_value(value: ir.Value | None, opset: int) -> Array | None:
    """The data of a constant or of a constant expression; None where it is neither, or too large."""
    plain = constant_array(value)
    if plain is not None or value is None:
        return plain
    known: dict[ir.Value, Array] = {}
    for node in _in_order(constant_producers(value)):
        result = _evaluate(node, known, opset)
        if result is None:
            return None
        known[node.outputs[0]] = result
    return known.get(value)


def _in_order(nodes: list[ir.Node]) -> list[ir.Node]:
    """Producers before consumers."""
    inside, ordered = set(nodes), dict[ir.Node, None]()

    def visit(node: ir.Node) -> None:
        for operand in node.inputs:
            producer = None if operand is None else operand.producer()
            if producer in inside and producer not in ordered:
                visit(producer)
        ordered.setdefault(node)

    for node in nodes:
        visit(node)
    return list(ordered)


def _evaluate(node: ir.Node, known: dict[ir.Value, Array], opset: int) -> Array | None:
    feeds: dict[str, Array] = {}
    for operand in node.inputs:
        if operand is None:
            continue
        data = known.get(operand)
        data = constant_array(operand) if data is None else data
        if data is None:
            return None
        feeds[operand.name or ""] = data
    limit = most_bytes(feeds.values())
    if largest_result(node, [feeds.get(v.name or "") for v in node.inputs if v is not None]) > limit:
        return None
    try:
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(ir.to_proto(node), opsets={"": opset}).run(None, feeds)
    except Exception:  # not implemented there, or invalid: then it stays as it is
        return None
    array = np.asarray(next(iter(results)))
    return array if array.nbytes <= limit else None
