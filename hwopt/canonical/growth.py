"""How large the result of a constant expression would become: asked before it is computed.

Tile, Expand, Range, ConstantOfShape, Gather and broadcasting make gigabytes out of a few bytes. A file from
somewhere must not be able to ask for that, neither at once nor by doubling again and again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from hwopt.nodes import Array, attr_int, constant

_ALWAYS_SMALL = 4096  # bytes
_GROWTH = 2  # a larger result may be so many times the size of what it is made of,
_GROWS_UP_TO = 16 << 20  # unless it is larger than this: then it must not grow
_ROOM = 64 << 20  # bytes that all folds together may add to twice the constants of the model
_CONSTANT_BYTES = "hwopt.constant_bytes"  # key in graph.meta: of the model before the first fold


def most_bytes(operands: Iterable[Array]) -> int:
    """How large what is computed of these may be."""
    given = sum(array.nbytes for array in operands)
    return max(_ALWAYS_SMALL, given, min(_GROWTH * given, _GROWS_UP_TO))


def largest_result(node: ir.Node, operands: Sequence[Array | None]) -> int:
    """A bound on the number of elements of what the node makes of its operands; 0 where it is no more
    than it is given."""
    try:
        return _elements(node, [array for array in operands if array is not None])
    except (ValueError, ArithmeticError, IndexError, TypeError):  # it cannot be computed at all
        return 0


def _elements(node: ir.Node, operands: Sequence[Array]) -> int:
    first = operands[0]
    match node.op_type:
        case "ConstantOfShape":
            return _product(first)
        case "Expand":
            return prod(_broadcast(first.shape, [int(size) for size in operands[1].reshape(-1)]))
        case "Tile":
            return first.size * _product(operands[1])
        case "Range":
            start, limit, delta = (float(item.reshape(-1)[0]) for item in operands[:3])
            return int(max(0.0, (limit - start) / delta)) + 1
        case "Gather":
            axis = attr_int(node, "axis", 0)
            return int(operands[1].size * first.size // max(1, first.shape[axis]))
        case "Concat":
            return sum(array.size for array in operands)
        case "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Where" | "Equal":
            return prod(_broadcast(*(array.shape for array in operands)))
    return 0


def _product(sizes: Array) -> int:
    return prod(int(size) for size in sizes.reshape(-1))


def _broadcast(*shapes: Sequence[int]) -> tuple[int, ...]:
    """As numpy does it, but for any size: numpy refuses more elements than a pointer counts."""
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    return tuple(max(sizes) if 0 not in sizes else 0 for sizes in zip(*padded, strict=True))


def room(model: ir.Model) -> int:
    """Bytes that folds may still add to the model's constants.

    How many there were before the first fold is kept in `graph.meta`, so that many rounds cannot double
    what is there again and again.
    """
    now = _constant_bytes(model.graph)
    before = model.graph.meta.setdefault(_CONSTANT_BYTES, now)
    return int(2 * before + _ROOM - now)


def _constant_bytes(graph: ir.Graph) -> int:
    stored = [value.const_value for value in graph.initializers.values()]
    stored += [constant(node.outputs[0]) for node in graph if node.op_type == "Constant" and node.outputs]
    sized = [t for t in stored if t is not None and t.dtype != ir.DataType.STRING]  # texts have no size
    return sum(int(np.ceil(tensor.nbytes)) for tensor in sized)
