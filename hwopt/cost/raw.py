"""Signatures as one table of numbers: the only loop over signatures on the way to a price.

Every later step (roofline, features) works on whole columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from hwopt.signature import GRAPH_INPUT, GRAPH_OUTPUT, KINDS, WEIGHTED_KINDS, Shape, Signature, macs

Column = npt.NDArray[np.float64]

OPS = (
    "Sub", "Div", "MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool", "Clip", "Relu", "LeakyRelu",
    "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Silu", "Slice", "Min", "Max", "Abs",
    "ReduceMean", "MatMul", "PRelu", "Gelu", "Sqrt", "Pow", "ReduceSum", "ReduceMax", "BatchNormalization",
    "LayerNormalization", "InstanceNormalization", "DepthToSpace",
)  # fmt: skip
ACTIVATIONS = (
    "",
    "relu",
    "relu6",
    "clip",
    "hardswish",
    "silu",
    "leaky_relu",
    "sigmoid",
    "tanh",
    "hardsigmoid",
)
PATTERNS = ("unread", "dense", "diagonal", "2:4", "block", "random")
NEIGHBOURS = (*KINDS, GRAPH_INPUT, GRAPH_OUTPUT)

_KIND = {word: float(i) for i, word in enumerate(KINDS)}
_OP = {word: i + 1.0 for i, word in enumerate(OPS)}
_ACTIVATION = {word: float(i) for i, word in enumerate(ACTIVATIONS)}
_PATTERN = {word: i + 1.0 for i, word in enumerate(PATTERNS)}
_NEIGHBOUR = {word: i + 1.0 for i, word in enumerate(NEIGHBOURS)}

FIELDS = (
    "kind", "op", "activation", "pattern",
    "ci", "hi", "wi", "co", "ho", "wo",
    "in_elements", "in_largest", "in_second", "inputs", "out_elements", "outputs",
    "kh", "kw", "sh", "sw", "pad_top", "pad_left", "pad_bottom", "pad_right", "dilation", "group",
    "macs", "weights", "bias", "zeros", "distinct", "encoded",
    "producer", "producer2", "consumer", "consumer2", "consumers", "shared", "mode",
)  # fmt: skip


def table(signatures: Sequence[Signature]) -> dict[str, Column]:
    """One column per entry of FIELDS, one row per signature."""
    rows = np.array([_row(signature) for signature in signatures], np.float64).reshape(-1, len(FIELDS))
    return {name: rows[:, i] for i, name in enumerate(FIELDS)}


def _row(s: Signature) -> tuple[float, ...]:
    sizes = [prod(shape) for shape in s.inputs] or [0]
    # What is multiplied with the weights comes first; a fused residual may be larger.
    largest = 0 if s.kind in WEIGHTED_KINDS else max(range(len(sizes)), key=sizes.__getitem__)
    first = s.inputs[largest] if s.inputs else ()
    output = s.outputs[0] if s.outputs else ()
    rows_first = s.kind in ("gemm", "matmul", "softmax")
    w = s.weight
    return (
        _KIND.get(s.kind, _KIND["other"]),
        _OP.get(s.ops[0], 0.0) if s.ops else 0.0,
        _ACTIVATION.get(s.activation, -1.0),
        0.0 if w is None else _PATTERN.get(w.pattern, 0.0),
        *image(first, rows_first),
        *image(output, rows_first),
        sum(sizes),
        sizes[largest],
        sum(sizes) - sizes[largest],
        len(sizes),
        sum(map(prod, s.outputs)),
        len(s.outputs),
        *_two(s.kernel, 1),
        *_two(s.strides, 1),
        *(s.pads if len(s.pads) == 4 else (0, 0, 0, 0)),
        s.dilations[0] if s.dilations else 1,
        s.group,
        macs(s),
        0 if w is None else w.elements,
        s.bias,
        *((0.0, 0, 0) if w is None else (w.zeros, w.distinct, w.encoded_bytes)),
        _neighbour(s.producers, 0),
        _neighbour(s.producers, 1),
        _neighbour(s.consumers, 0),
        _neighbour(s.consumers, 1),
        len(s.consumers),
        s.shared,
        _mode(s),
    )


def image(shape: Shape, rows_first: bool) -> tuple[int, int, int]:
    """(channels, height, width) of a tensor; a matrix has its last axis as channels, its rows as height."""
    if len(shape) == 4 and not rows_first:
        return shape[1], shape[2], shape[3]
    if len(shape) <= 1:
        return prod(shape), 1, 1
    if rows_first or len(shape) == 2:
        return shape[-1], prod(shape[:-1]), 1
    return shape[1], shape[2], prod(shape[3:])


def _two(pair: Shape, default: int) -> tuple[int, int]:
    return (pair[0], pair[1]) if len(pair) == 2 else (default, default)


def _neighbour(kinds: tuple[str, ...], index: int) -> float:
    return _NEIGHBOUR.get(kinds[index], 0.0) if len(kinds) > index else 0.0


def _mode(s: Signature) -> float:
    """Which way of resizing, which axis of concatenation: one number for what attributes tell."""
    for name, value in s.attributes:
        if name == "mode":
            return 1.0 if value == "nearest" else 2.0
        if name == "axis":
            return float(value)
        if name == "perm":
            # Distinct numbers for distinct orders: the digits after the batch axis.
            return 10.0 + float("0." + "".join(value.split(",")[1:]))
    return 0.0
