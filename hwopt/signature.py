"""Signatures: what decides the price of a subgraph, and nothing else.

Canonical and hashable: op kinds, shapes, attributes, dtype, context, and a descriptor of the
weights. Never names, never raw values. Two subgraphs with one signature cost the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

from hwopt.descriptor import WeightDescriptor

Shape = tuple[int, ...]

GRAPH_INPUT = "graph_input"
GRAPH_OUTPUT = "graph_output"
VIEW = "view"
CONV_KINDS = frozenset({"conv", "depthwise", "grouped", "pointwise"})
LARGEST_COUNT = 1 << 50  # of one size or one number of weights: beyond, doubles no longer count
WEIGHTED_KINDS = CONV_KINDS | {"transposed", "gemm"}

KINDS = (
    "conv",
    "depthwise",
    "grouped",
    "pointwise",
    "transposed",
    "gemm",
    "matmul",
    "add",
    "mul",
    "pool",
    "global_pool",
    "concat",
    "split",
    "resize",
    "view",
    "activation",
    "reduce",
    "softmax",
    "pad",
    "transpose",
    "other",
)


@dataclass(frozen=True)
class Signature:
    """The canonical form of a fused operator group.

    kind: one of KINDS. ops: ONNX operator kinds in order (a decomposed activation counts as
        one: HardSwish, Silu). inputs, outputs: shapes of activations (NCHW, batch 1), without
        constants. kernel, strides, pads, dilations: (height, width); pads are begins, then ends.
    activation: "relu6", "relu", "hardswish" ... or "". dtype: the target's precision.
    producers: kinds of what makes each input; consumers: kinds of what reads the outputs,
        sorted; "graph_input" and "graph_output" at the ends; views are looked through.
    weight: descriptor of the constant operand, if there is one. bias: its number of elements.
    shared: how many inputs somebody else needs too: a concatenation whose parts nobody else reads
        can be written in place by its producers, another one has to copy.
    attributes: whatever else tells operators of one kind apart (axis, mode), sorted.
    """

    kind: str
    ops: tuple[str, ...]
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    dtype: str
    kernel: Shape = ()
    strides: Shape = ()
    pads: Shape = ()
    dilations: Shape = ()
    group: int = 1
    activation: str = ""
    producers: tuple[str, ...] = ()
    consumers: tuple[str, ...] = ()
    weight: WeightDescriptor | None = None
    bias: int = 0
    shared: int = 0
    attributes: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, object]:
        """The signature as JSON values, without fields at their defaults."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        kept = {name: value for name, value in fields.items() if value not in ((), "", None, 0)}
        if self.weight is not None:
            kept["weight"] = dict(vars(self.weight))
        if self.group == 1:
            kept.pop("group", None)
        return kept

    def text(self) -> str:
        """The signature as canonical JSON text: what is hashed, and what measurement files hold."""
        return json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))

    @cached_property
    def _key(self) -> str:
        return hashlib.sha256(self.text().encode()).hexdigest()

    def key(self) -> str:
        """SHA-256 of the canonical text: the same in every process and on every machine."""
        return self._key

    @property
    def shape_key(self) -> tuple[object, ...]:
        """The operator's shape alone, without context and weight values: for splitting data fairly."""
        return (self.kind, self.inputs, self.outputs, self.kernel, self.strides, self.group)


def from_json(table: dict[str, Any]) -> Signature:
    """The signature written by `to_json`. Raises KeyError, TypeError or ValueError where it is none."""
    fields = {name: _frozen(value) for name, value in table.items() if name != "weight"}
    weight = table.get("weight")
    descriptor = None if weight is None else WeightDescriptor(**weight)
    found = Signature(**fields, weight=descriptor)
    for name, fits in _FITS:
        if not fits(getattr(found, name)):
            raise ValueError(f"'{name}' of a signature is not what it must be")
    if descriptor is not None and not _is_descriptor(descriptor):
        raise ValueError("'weight' of a signature is not what it must be")
    return found


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and 0 <= value <= LARGEST_COUNT


def _is_shape(value: object) -> bool:
    return isinstance(value, tuple) and all(map(_is_count, value))


def _is_shapes(value: object) -> bool:
    return isinstance(value, tuple) and all(map(_is_shape, value))


def _is_texts(value: object) -> bool:
    return isinstance(value, tuple) and all(map(_is_text, value))


def _is_pads(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(v, int) and abs(v) <= LARGEST_COUNT for v in value)


def _is_pairs(value: object) -> bool:
    return isinstance(value, tuple) and all(_is_texts(pair) and len(pair) == 2 for pair in value)


def _is_descriptor(weight: WeightDescriptor) -> bool:
    counts = (weight.elements, weight.distinct, weight.encoded_bytes)
    share = isinstance(weight.zeros, int | float) and 0 <= weight.zeros <= 1
    return share and _is_text(weight.pattern) and all(map(_is_count, counts))


# Fields and what each of them must be, where a signature comes from a file.
_FITS: tuple[tuple[str, Callable[[object], bool]], ...] = (
    ("kind", lambda value: isinstance(value, str) and value in KINDS),
    *((name, _is_text) for name in ("dtype", "activation")),
    *((name, _is_texts) for name in ("ops", "producers", "consumers")),
    *((name, _is_shapes) for name in ("inputs", "outputs")),
    *((name, _is_shape) for name in ("kernel", "strides", "dilations")),
    *((name, _is_count) for name in ("group", "bias", "shared")),
    ("pads", _is_pads),
    ("attributes", _is_pairs),
)


def from_text(text: str) -> Signature:
    """The signature written by `Signature.text`. Raises as `from_json` does where it is none."""
    table = json.loads(text)
    if not isinstance(table, dict):
        raise TypeError("a signature is a JSON object")
    return from_json(table)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def biases(signature: Signature) -> int:
    """Biases that the target stores: a normalisation behind an anchor becomes one per channel."""
    if signature.bias or "BatchNormalization" not in signature.ops[1:]:
        return signature.bias
    return signature.outputs[0][1] if len(signature.outputs[0]) > 1 else 0


def macs(signature: Signature) -> int:
    """Multiply-accumulate operations of a subgraph (its activation functions count nothing).

    0 where a shape is unknown, behind an operator that is not of ONNX: such a subgraph has no price either.
    """
    if not all(signature.inputs[:1]) or (signature.kind == "transposed" and not signature.outputs[0]):
        return 0
    if signature.kind in CONV_KINDS:
        channels = signature.inputs[0][1] // signature.group
        return prod(signature.outputs[0]) * channels * prod(signature.kernel)
    if signature.kind == "transposed":
        channels = signature.outputs[0][1] // signature.group
        return prod(signature.inputs[0]) * channels * prod(signature.kernel)
    if signature.kind in ("gemm", "matmul"):
        return prod(signature.outputs[0]) * signature.inputs[0][-1]
    return 0


def params(signature: Signature) -> int:
    """Trained numbers of a subgraph: weights and biases."""
    weights = signature.weight.elements if signature.weight is not None else 0
    return weights + signature.bias
