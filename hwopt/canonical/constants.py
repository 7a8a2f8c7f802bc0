"""Constant expressions: values that look computed but depend on constants alone.

Add(x, Reshape(weight, shape))  -->  Add(x, constant)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from hwopt.nodes import constant, constant_array, is_op

Array = npt.NDArray[np.generic]

# Deterministic operators whose result is given by the standard to the last bit or rounding.
# No DequantizeLinear: quantised weights must stay quantised.
FOLDABLE = (
    *("Reshape", "Cast", "Unsqueeze", "Squeeze", "Identity", "Transpose", "Concat", "Slice", "Gather"),
    *("Shape", "Flatten", "Range", "ConstantOfShape", "Expand", "Tile", "Where", "Equal", "Floor", "Ceil"),
    *("Add", "Sub", "Mul", "Div", "Neg", "Sqrt", "Pow", "Reciprocal"),
)
_ALWAYS_SMALL = 4096  # bytes
_GROWTH = 2  # a larger result may be so many times the size of what it is made of
_DEEPEST = 32


def constant_producers(value: ir.Value | None, depth: int = 0) -> list[ir.Node]:
    """The nodes that compute a constant expression, the last one first; empty where it is none.

    Plain constants (initializers, Constant nodes) have no such nodes either.
    """
    producer = None if value is None else value.producer()
    if producer is None or depth > _DEEPEST or not is_op(producer, *FOLDABLE) or len(producer.outputs) != 1:
        return []
    nodes = [producer]
    for operand in producer.inputs:
        if operand is None or constant(operand) is not None:
            continue
        deeper = constant_producers(operand, depth + 1)
        if not deeper:
            return []
        nodes += [node for node in deeper if node not in nodes]
    return nodes


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
    ordered: list[ir.Node] = []

    def visit(node: ir.Node) -> None:
        for operand in node.inputs:
            producer = None if operand is None else operand.producer()
            if producer in nodes and producer not in ordered:
                visit(producer)
        if node not in ordered:
            ordered.append(node)

    for node in nodes:
        visit(node)
    return ordered


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
    try:
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(ir.to_proto(node), opsets={"": opset}).run(None, feeds)
    except Exception:  # not implemented there, or invalid: then it stays as it is
        return None
    array = np.asarray(next(iter(results)))
    limit = max(_ALWAYS_SMALL, _GROWTH * sum(feed.nbytes for feed in feeds.values()))
    return array if array.nbytes <= limit else None
