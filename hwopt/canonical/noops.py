"""Operators that change nothing  -->  gone, whatever the size of the input."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import numpy as np
import onnx_ir as ir

from hwopt.activations import clip_bounds
from hwopt.canonical.affine import read_affine
from hwopt.canonical.common import Fold, View, bypass, required, take_over
from hwopt.canonical.constants import constant_value
from hwopt.nodes import attr_int, attr_ints, constant, is_op

NOOP = "remove_noop"


def find_noops(view: View) -> None:
    """Adds a fold for every operator whose output equals its first input in value, shape and type."""
    for node in view.model.graph:
        check = _CHECKS.get(node.op_type)
        if check is None or node in view.taken or not is_op(node, node.op_type):
            continue
        index = check(node, view)
        if index is None:
            continue
        reason = _why_it_stays(view.model.graph, node, index)
        if reason:
            view.skip(NOOP, node, reason)
        else:
            view.fold(NOOP, [node], numbers=(index,))


def _why_it_stays(graph: ir.Graph, node: ir.Node, index: int) -> str:
    """A graph output must be computed by some node, under its own name."""
    source, result = node.inputs[index], node.outputs[0]
    if source is None or not result.is_graph_output():
        return ""
    if source.is_graph_input() or source.is_graph_output() or constant(source) is not None:
        return f"it makes the output '{result.name}' of what is an input, output or constant itself"
    producer = source.producer()
    if producer is None or producer.graph is not graph:
        return f"it makes the output '{result.name}'"
    return ""


def apply_noop(model: ir.Model, fold: Fold) -> None:
    """nodes: the operator; numbers: which of its inputs it passes on."""
    node, index = fold.nodes[0], fold.numbers[0]
    result = node.outputs[0]
    source = required(_why_it_stays(model.graph, node, index) or node.inputs[index], NOOP, node)
    move = take_over if result.is_graph_output() else bypass
    move(model.graph, [node], result, source)


# --- what changes nothing: each returns the index of the input that is passed on, or None --


def _identity(node: ir.Node, view: View) -> int | None:
    return 0


def _dropout(node: ir.Node, view: View) -> int | None:
    return 0 if not isinstance(read_affine(node, 0, view.opset), str) else None


def _arithmetic(node: ir.Node, view: View) -> int | None:
    """x * 1, x / 1, x + 0, x - 0 with a constant that does not broadcast x to another shape."""
    neutral = 1.0 if is_op(node, "Mul", "Div") else 0.0
    for index in (0,) if is_op(node, "Sub", "Div") else (0, 1):
        array = constant_value(node.inputs[1 - index], view.opset)
        if array is not None and array.size and np.all(array == neutral):
            return index if _keeps_shape(array.shape, view.dims(node.inputs[index])) else None
    return None


def _keeps_shape(added: tuple[int, ...], dims: tuple[int | None, ...] | None) -> bool:
    if dims is None or len(added) > len(dims):
        return False
    return all(size in (1, dim) for size, dim in zip(added[::-1], dims[::-1], strict=False))


def _reshape(node: ir.Node, view: View) -> int | None:
    dims = view.dims(node.inputs[0])
    target = constant_value(node.inputs[1], view.opset)
    if dims is None or target is None or target.size != len(dims):
        return None
    wanted = [int(size) for size in target.reshape(-1)]
    copies = not attr_int(node, "allowzero", 0)
    kept = [size == dim or (size == 0 and copies) for size, dim in zip(wanted, dims, strict=True)]
    inferred = [size == -1 for size in wanted]
    return 0 if sum(inferred) <= 1 and all(map(any, zip(kept, inferred, strict=True))) else None


def _flatten(node: ir.Node, view: View) -> int | None:
    dims = view.dims(node.inputs[0])
    return 0 if dims is not None and len(dims) == 2 and attr_int(node, "axis", 1) in (1, -1) else None


def _cast(node: ir.Node, view: View) -> int | None:
    dtype = view.dtype(node.inputs[0])
    return 0 if dtype is not None and int(dtype) == attr_int(node, "to", 0) else None


def _transpose(node: ir.Node, view: View) -> int | None:
    order = attr_ints(node, "perm", ())
    dims = view.dims(node.inputs[0])
    if not order:
        return 0 if dims is not None and len(dims) < 2 else None
    return 0 if order == tuple(range(len(order))) else None


def _single(node: ir.Node, view: View) -> int | None:
    return 0 if len(node.inputs) == 1 else None


def _clip(node: ir.Node, view: View) -> int | None:
    return 0 if clip_bounds(node) == (-inf, inf) else None


def _pad(node: ir.Node, view: View) -> int | None:
    """A Pad of nothing."""
    if "pads" in node.attributes:
        return None if any(attr_ints(node, "pads", ())) else 0
    amounts = constant_value(node.inputs[1], view.opset) if len(node.inputs) > 1 else None
    return 0 if amounts is not None and not amounts.any() else None


def _pool(node: ir.Node, view: View) -> int | None:
    """A 1x1 window that moves by one and is not padded."""
    if len([output for output in node.outputs if output.name]) > 1:
        return None
    ones = [*attr_ints(node, "kernel_shape", (0,)), *attr_ints(node, "strides", (1,))]
    return 0 if all(size == 1 for size in ones) and not any(attr_ints(node, "pads", ())) else None


_CHECKS: dict[str, Callable[[ir.Node, View], int | None]] = {
    "Identity": _identity,
    "Dropout": _dropout,
    "Mul": _arithmetic,
    "Div": _arithmetic,
    "Add": _arithmetic,
    "Sub": _arithmetic,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Cast": _cast,
    "Transpose": _transpose,
    "Concat": _single,
    "Sum": _single,
    "Max": _single,
    "Min": _single,
    "Clip": _clip,
    "Pad": _pad,
    "MaxPool": _pool,
    "AveragePool": _pool,
}
