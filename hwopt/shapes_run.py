"""Shapes read off one run of ONNX Runtime, where inference leaves them open.

A model may decide a shape by an input's values: the new shape of a Reshape, the ends of a Slice. Numbers
that a model compares an input with are tried, then ones, then zeros. What runs with none of them keeps its
open shapes: that says nothing against the model, since nobody here knows what its inputs mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from hwopt.errors import BadInput
from hwopt.guard.client import NotRun, Outcome, run_shapes
from hwopt.nodes import Array, is_op, scalar
from hwopt.runtime import serialised

Bound = Mapping[str, tuple[int, ...]]
ShapeAndType = tuple[tuple[int, ...], ir.DataType]


def run_for_shapes(model: ir.Model, bound: Bound, names: Sequence[str]) -> dict[str, ShapeAndType]:
    """Shape and dtype by name, from a run with inputs of these shapes; {} where it runs with none that is
    tried, or ONNX Runtime does not know an operator.

    Values that are no tensors are absent. Raises BadInput where only the sizes that were given for
    free axes can be at fault, and where ONNX Runtime does not live through the run.
    """
    serial = serialised(model, names)
    problem = ""
    for number in numbers_to_try(model):
        feeds = {
            str(v.name): _filled(v, bound[str(v.name)], number) for v in model.graph.inputs if v.name in bound
        }
        found = run_shapes(serial, feeds)
        if found is None:
            return {}
        if isinstance(found, NotRun):  # as a wrong shape does, or a number that the model cannot use
            problem = found.reason
            continue
        return {name: _kind(found[name]) for name in names if name in found}
    if _sizes_alone_matter(model):
        raise BadInput(_refusal(bound, problem))
    return {}


def _kind(outcome: Outcome) -> ShapeAndType:
    return outcome.shape, ir.DataType.from_numpy(outcome.dtype)


def numbers_to_try(model: ir.Model) -> list[int]:
    """What to fill integer inputs with: numbers that the model compares an input with, then 1 and 0."""
    integers = [value for value in model.graph.inputs if value.dtype is not None and value.dtype.is_integer()]
    compared = {number for value in integers for number in compared_numbers(value)}
    return list(dict.fromkeys([*sorted(compared), 1, 0] if integers else [1, 0]))


def compared_numbers(value: ir.Value) -> set[int]:
    """The constants that the model compares a value with: a sampling rate, say, that it branches on."""
    return {
        int(number)
        for node in value.consumers()
        if is_op(node, "Equal")
        for operand in node.inputs
        if (number := scalar(operand)) is not None
    }


def _filled(value: ir.Value, shape: tuple[int, ...], number: int) -> Array:
    """The number in an integer input; ones in a float input, whatever the number."""
    dtype = value.dtype or ir.DataType.FLOAT
    if dtype == ir.DataType.STRING:
        return np.full(shape, "", dtype=object)
    return np.full(shape, number if dtype.is_integer() else 1, dtype=dtype.numpy())


def _sizes_alone_matter(model: ir.Model) -> bool:
    """Whether all inputs are measured data, whose values decide no shape, and some axis is free to choose."""
    inputs = [value for value in model.graph.inputs if not value.is_initializer()]
    measured = all(value.dtype is not None and value.dtype.is_floating_point() for value in inputs)
    tensors = all(isinstance(value.type, ir.TensorType) for value in inputs)
    free = any(
        value.shape is None or not all(isinstance(dim, int) and dim >= 0 for dim in value.shape)
        for value in inputs
    )
    return measured and tensors and free


def _refusal(bound: Bound, problem: str) -> str:
    shapes = "; ".join(f"{name}:{','.join(map(str, shape))}" for name, shape in bound.items())
    return f"the model does not run with input shapes {shapes}: {problem[:300]}"
