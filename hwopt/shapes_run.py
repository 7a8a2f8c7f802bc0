"""Shapes read off one run of ONNX Runtime, where inference leaves them open.

A model may decide a shape by an input's values: the new shape of a Reshape, the ends of a Slice. Numbers
that a model compares an input with are tried, then ones, zeros, and the new shape of a vector. What runs
with none of them keeps its open shapes: that says nothing against the model, since nobody here knows what
its inputs mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from hwopt.errors import BadInput
from hwopt.guard.client import NotRun, Outcome, run_shapes
from hwopt.nodes import Array, is_op, scalar
from hwopt.runtime import serialised
from hwopt.wording import shorten

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
    for fill in fills_to_try(model):
        feeds = {
            str(v.name): _filled(v, bound[str(v.name)], fill) for v in model.graph.inputs if v.name in bound
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


@dataclass(frozen=True)
class Fill:
    """What an integer input holds: a number, 1 where its type has no such number. last: at a vector's end."""

    number: int = 1
    last: int | None = None

    def array(self, shape: tuple[int, ...], dtype: ir.DataType) -> Array:
        """An input of this shape and type."""
        found = np.full(shape, _within(self.number, dtype), dtype=dtype.numpy())
        if self.last is not None and len(shape) == 1 and found.size:
            found[-1] = _within(self.last, dtype)
        return found


def _within(number: int, dtype: ir.DataType) -> int:
    return number if int(np.asarray(number, np.int64).astype(dtype.numpy())) == number else 1


FLAT = Fill(1, -1)  # as a new shape: of so many axes, everything in the last


def fills_to_try(model: ir.Model) -> list[Fill]:
    """Numbers that the model compares an input with, then ones, zeros and a new shape.

    One alone where no input is of integers.
    """
    integers = [value for value in model.graph.inputs if value.dtype is not None and value.dtype.is_integer()]
    compared = {number for value in integers for number in compared_numbers(value)}
    found = [*(Fill(number) for number in sorted(compared)), Fill(1), Fill(0), FLAT]
    return list(dict.fromkeys(found)) if integers else [Fill(1)]


def compared_numbers(value: ir.Value) -> set[int]:
    """The constants that the model compares a value with: a sampling rate, say, that it branches on."""
    return {
        int(number)
        for node in value.consumers()
        if is_op(node, "Equal")
        for operand in node.inputs
        if (number := scalar(operand)) is not None
    }


def _filled(value: ir.Value, shape: tuple[int, ...], fill: Fill) -> Array:
    """Integers as they are to be filled; ones in any other input."""
    dtype = value.dtype or ir.DataType.FLOAT
    if dtype == ir.DataType.STRING:
        return np.full(shape, "", dtype=object)
    return (fill if dtype.is_integer() else Fill(1)).array(shape, dtype)


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
    return f"the model does not run with input shapes {shapes}: {shorten(problem, 300)}"
