"""Inputs to compare two models on: seeded noise where nobody gave data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from hwopt.nodes import Array
from hwopt.shapes import bind_inputs
from hwopt.shapes_run import Fill, compared_numbers, fills_to_try


def random_feeds(
    model: ir.Model,
    input_shapes: Mapping[str, tuple[int, ...]],
    seed: int,
    batch: int = 1,
    fill: Fill | None = None,
) -> dict[str, Array]:
    """One array per graph input: floats are normal, integers a number that the model compares with.

    input_shapes: sizes of dynamic axes; a dynamic first axis is given `batch` samples. fill: what
    integers hold instead (`fills`).
    """
    rng = np.random.default_rng(seed)
    bound = bind_inputs(model, input_shapes)
    feeds: dict[str, Array] = {}
    for value in model.graph.inputs:
        name = str(value.name)
        if name not in bound:
            continue
        shape = bound[name]
        if shape and not _fixed(value, 0) and name not in input_shapes:
            shape = (batch, *shape[1:])
        feeds[name] = _filled(value, shape, rng, fill)
    return feeds


def fills(model: ir.Model) -> list[Fill | None]:
    """What to try in integer inputs, one after the other, until the model runs: they may decide a shape."""
    others = fills_to_try(model)
    return [None] if len(others) == 1 else [None, *others]


def _fixed(value: ir.Value, axis: int) -> bool:
    return value.shape is not None and len(value.shape) > axis and isinstance(value.shape[axis], int)


def _filled(value: ir.Value, shape: tuple[int, ...], rng: np.random.Generator, fill: Fill | None) -> Array:
    dtype = value.dtype or ir.DataType.FLOAT
    if dtype == ir.DataType.STRING:
        return np.full(shape, "", dtype=object)
    if dtype.is_floating_point():
        return rng.standard_normal(shape).astype(dtype.numpy())
    if dtype == ir.DataType.BOOL:
        return np.ones(shape, dtype=np.bool_)
    return (fill or Fill(min(compared_numbers(value), default=1))).array(shape, dtype)
