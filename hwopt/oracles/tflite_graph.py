"""The graph under construction: feature maps with their layout, operators with their owner.

Feature maps of rank 3 and more are stored channels-last where convolutions want them so, and
as ONNX has them elsewhere; a TRANSPOSE appears only where the two meet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from math import prod

import numpy as np
import onnx_ir as ir

from hwopt.nodes import Array
from hwopt.oracles.tflite_facts import Facts
from hwopt.oracles.tflite_quant import FEATURE, quantise_constant
from hwopt.oracles.tflite_schema import Quant, TfOperator, TfTensor


class NotLowered(Exception):
    """This operator has no form in TFLite here; the text says why."""


class Layout(Enum):
    """How a feature map is stored.

    PLAIN: as ONNX has it. LAST: [N, spatial ..., C]. FLAT: logically [N, C*H*W], stored in
    the order H, W, C (a Flatten that moved no data).
    """

    PLAIN = "plain"
    LAST = "last"
    FLAT = "flat"


@dataclass(frozen=True)
class Feature:
    """A feature map: tensor index, stored shape, layout; `flat` is (H, W, C) for FLAT."""

    index: int
    shape: tuple[int, ...]
    layout: Layout
    quant: Quant
    flat: tuple[int, int, int] = (0, 0, 0)


def last_order(rank: int) -> tuple[int, ...]:
    """Axes in channels-last order: (0, 2, 3, 1) for rank 4."""
    return (0, *range(2, rank), 1)


def to_last(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape in channels-last order."""
    return tuple(shape[axis] for axis in last_order(len(shape)))


def inverse(order: Sequence[int]) -> tuple[int, ...]:
    """The permutation that undoes this one."""
    return tuple(int(axis) for axis in np.argsort(order))


def moves_data(shape: Sequence[int], order: Sequence[int]) -> bool:
    """Whether permuting a tensor of this shape changes the order of its elements."""
    axes = [axis for axis in order if shape[axis] != 1]
    return axes != sorted(axes)


@dataclass
class Builder:
    """Collects tensors and operators while the nodes of a model are lowered one by one.

    owner: the ONNX value that the operators emitted now are charged to; None for guards.
    """

    facts: Facts
    tensors: list[TfTensor] = field(default_factory=list)
    operators: list[TfOperator] = field(default_factory=list)
    owners: list[str | None] = field(default_factory=list)
    features: dict[str, Feature] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)  # outputs that an earlier node computes as well
    owner: str | None = None

    def add(self, tensor: TfTensor) -> int:
        """Adds a tensor and returns its index."""
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def ints(self, values: int | Sequence[int] | Array) -> int:
        """A constant int32 vector or scalar (axes, shapes, paddings)."""
        data = np.asarray(values, np.int32)
        return self.add(TfTensor(self._fresh("ints"), data.shape, "int32", None, data))

    def constant(self, data: Array) -> Feature:
        """A constant operand, quantised, stored as given."""
        stored, quant = quantise_constant(data)
        index = self.add(TfTensor(self._fresh("constant"), stored.shape, "int8", quant, stored))
        return Feature(index, tuple(stored.shape), Layout.PLAIN, quant)

    def requantised_constant(self, value: float, quant: Quant) -> Feature:
        """A single number stored under a given quantisation (as MINIMUM demands)."""
        stored = np.clip(np.rint(value / quant.scales[0]) + quant.zero_point, -128, 127)
        data = np.asarray([stored], np.int8)
        index = self.add(TfTensor(self._fresh("constant"), (1,), "int8", quant, data))
        return Feature(index, (1,), Layout.PLAIN, quant)

    def new(
        self, shape: Sequence[int], layout: Layout, quant: Quant = FEATURE, name: str | None = None
    ) -> Feature:
        """A feature map that nobody computes yet."""
        stored = tuple(int(size) for size in shape)
        index = self.add(TfTensor(name or self._fresh("step"), stored, "int8", quant))
        return Feature(index, stored, layout, quant)

    def emit(
        self,
        opcode: str,
        inputs: Sequence[int],
        output: Feature,
        options: Mapping[str, int | float | bool] | None = None,
    ) -> Feature:
        """Adds an operator that computes `output`, charged to the current owner."""
        self.emit_many(opcode, inputs, [output], options)
        return output

    def emit_many(
        self,
        opcode: str,
        inputs: Sequence[int],
        outputs: Sequence[Feature],
        options: Mapping[str, int | float | bool] | None = None,
    ) -> None:
        """Adds an operator with several outputs."""
        indices = tuple(output.index for output in outputs)
        self.operators.append(TfOperator(opcode, tuple(inputs), indices, dict(options or {})))
        self.owners.append(self.owner)

    def shape(self, value: ir.Value | None) -> tuple[int, ...]:
        """The logical shape. Raises NotLowered where it is not static."""
        shape = self.facts.shape(value)
        if shape is None:
            raise NotLowered(f"the shape of '{value.name if value else ''}' is not static")
        return shape

    def feature(self, value: ir.Value | None) -> Feature:
        """The feature map of a value; a constant becomes a PLAIN constant operand."""
        name = (value.name or "") if value is not None else ""
        if name not in self.features:
            data = self.facts.constant(value)
            if data is None:
                raise NotLowered(f"input '{name}' is missing")
            self.features[name] = self.constant(data)
        return self.features[name]

    def is_constant(self, value: ir.Value | None) -> bool:
        """Whether the value is known before the network runs."""
        return self.facts.constant(value) is not None

    def data(self, value: ir.Value | None, what: str) -> Array:
        """A constant's data. Raises NotLowered saying which operand is not constant."""
        array = self.facts.constant(value)
        if array is None:
            raise NotLowered(f"{what} is not a constant")
        return array

    def bind(self, value: ir.Value, feature: Feature) -> None:
        """Says that this feature map is the value."""
        self.features[value.name or ""] = feature

    def last(self, value: ir.Value | None) -> Feature:
        """The value channels-last, moved if it is not stored so."""
        return self.move(self.feature(value), Layout.LAST)

    def plain(self, value: ir.Value | None) -> Feature:
        """The value as ONNX orders it, moved if it is not stored so."""
        return self.move(self.feature(value), Layout.PLAIN)

    def move(self, feature: Feature, layout: Layout) -> Feature:
        """The feature map in another layout: free where no element changes its place."""
        if feature.layout is layout or (layout is Layout.LAST and len(feature.shape) < 3):
            return feature
        if feature.layout is Layout.FLAT:
            return self.move(self._unflatten(feature), layout)
        rank = len(feature.shape)
        order = last_order(rank) if layout is Layout.LAST else inverse(last_order(rank))
        return self.transpose(feature, order, layout)

    def transpose(
        self, feature: Feature, order: Sequence[int], layout: Layout, name: str | None = None
    ) -> Feature:
        """The stored tensor permuted; a RESHAPE where only axes of size 1 move."""
        shape = tuple(feature.shape[axis] for axis in order)
        if shape == feature.shape and not moves_data(feature.shape, order):
            return replace(feature, layout=layout)
        output = self.new(shape, layout, feature.quant, name)
        if moves_data(feature.shape, order):
            return self.emit("TRANSPOSE", (feature.index, self.ints(order)), output)
        return self.emit("RESHAPE", (feature.index, self.ints(shape)), output)

    def reshape(
        self, feature: Feature, shape: Sequence[int], layout: Layout, name: str | None = None
    ) -> Feature:
        """The stored tensor under another shape; nothing is emitted where it has that shape."""
        if tuple(shape) == feature.shape:
            return replace(feature, layout=layout)
        output = self.new(shape, layout, feature.quant, name)
        return self.emit("RESHAPE", (feature.index, self.ints(tuple(shape))), output)

    def requantised(self, feature: Feature, quant: Quant) -> Feature:
        """The feature map under another quantisation, by a QUANTIZE where it differs."""
        if feature.quant == quant:
            return feature
        output = self.new(feature.shape, feature.layout, quant)
        return self.emit("QUANTIZE", (feature.index,), output)

    def _unflatten(self, feature: Feature) -> Feature:
        """A FLAT map as PLAIN [N, C*H*W]: here the postponed transposition is paid."""
        height, width, channels = feature.flat
        batch = prod(feature.shape) // (height * width * channels)
        spatial = self.reshape(feature, (batch, height, width, channels), Layout.LAST)
        return self.reshape(self.move(spatial, Layout.PLAIN), feature.shape, Layout.PLAIN)

    def _fresh(self, what: str) -> str:
        return f"{self.owner or ''}/#{what}{len(self.tensors)}"
