"""Reading single nodes: attributes, constants, and a typed view of convolutions.

Everything here is pure and knows no target. Constants are found in initializers and in
Constant nodes alike (some exporters use only the latter).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

Array = npt.NDArray[np.generic]
FloatArray = npt.NDArray[np.float32]

ONNX_DOMAINS = ("", "ai.onnx")
TRAINED = "hwopt.trained"  # on a weight that training, as the file describes it, would change


def is_op(node: ir.Node | None, *op_types: str) -> bool:
    """Whether the node is one of these operators of the standard ONNX domain."""
    return node is not None and node.op_type in op_types and node.domain in ONNX_DOMAINS


def label(node: ir.Node) -> str:
    """What a person recognises the node by: its name, else its first output's name."""
    if node.name:
        return node.name
    return next((value.name for value in node.outputs if value.name), node.op_type)


def attr_int(node: ir.Node, name: str, default: int) -> int:
    """An integer attribute, or its default."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def attr_float(node: ir.Node, name: str, default: float) -> float:
    """A float attribute, or its default."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_float()


def attr_ints(node: ir.Node, name: str, default: Sequence[int]) -> tuple[int, ...]:
    """An integer-list attribute, or its default where it is left out or empty."""
    attribute = node.attributes.get(name)
    return tuple(default) if attribute is None else tuple(attribute.as_ints()) or tuple(default)


def attr_string(node: ir.Node, name: str, default: str) -> str:
    """A string attribute, or its default."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_string()


def constant(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor behind a value that can never change, without reading its data; else None.

    A value that is also a graph input can be overridden by the caller and is not constant, nor is a weight
    that the model's own training changes (`hwopt.ir.training`).
    """
    if value is None or value.is_graph_input():
        return None
    if value.is_initializer():
        return None if TRAINED in value.meta else value.const_value
    producer = value.producer()
    if producer is None or not is_op(producer, "Constant"):
        return None
    attribute = producer.attributes.get("value")
    if attribute is None:
        return _scalar_constant(producer)
    # Not as_tensor(): its check of the protocol at run time costs a hundred times the read.
    tensor: ir.TensorProtocol = attribute.value
    return tensor


def dims_of(tensor: ir.TensorProtocol) -> tuple[int, ...]:
    """The shape of a constant as plain integers."""
    # Not shape.numpy(): it asks of every size whether it is a number, which a tensor's sizes always are.
    return cast("tuple[int, ...]", tuple(tensor.shape.dims))


def _scalar_constant(node: ir.Node) -> ir.TensorProtocol | None:
    """A Constant node that keeps its data in value_float, value_ints and the like (opset 12)."""
    for name, dtype in (
        ("value_float", np.float32),
        ("value_floats", np.float32),
        ("value_int", np.int64),
        ("value_ints", np.int64),
    ):
        attribute = node.attributes.get(name)
        if attribute is not None:
            return ir.tensor(np.asarray(attribute.value, dtype=dtype))
    return None


def constant_array(value: ir.Value | None) -> Array | None:
    """The data of a constant value, or None where the value is not constant."""
    tensor = constant(value)
    return None if tensor is None else np.asarray(tensor.numpy())


def scalar(value: ir.Value | None) -> float | None:
    """The number held by a one-element constant, or None."""
    tensor = constant(value)
    if tensor is None or tensor.size != 1:
        return None
    return float(np.asarray(tensor.numpy()).reshape(()))


def single_consumer(value: ir.Value) -> ir.Node | None:
    """The only node that reads the value, where there is exactly one and it is no graph output."""
    uses = value.uses()
    if value.is_graph_output() or len(uses) != 1:
        return None
    return next(iter(uses)).node


@dataclass(frozen=True)
class Conv:
    """A Conv node whose weight is constant. Its numbers are read when they are asked for, and once.

    shape: of the weight. pads: (top, left, bottom, right) as ONNX orders them: begins, then ends.
    """

    node: ir.Node
    tensor: ir.TensorProtocol
    bias_tensor: ir.TensorProtocol | None
    shape: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    group: int

    @cached_property
    def weight(self) -> FloatArray:
        """[out, in / group, *kernel]."""
        return np.asarray(self.tensor.numpy(), np.float32)

    @cached_property
    def bias(self) -> FloatArray:
        """[out], zeros where the node has none."""
        if self.bias_tensor is None:
            return np.zeros(self.out_channels, np.float32)
        return np.asarray(self.bias_tensor.numpy(), np.float32)

    @property
    def out_channels(self) -> int:
        return self.shape[0]

    @property
    def in_channels(self) -> int:
        return self.shape[1] * self.group

    @property
    def depthwise(self) -> bool:
        """One input channel per group. A convolution with one output channel is not depthwise."""
        return self.group > 1 and self.shape[1] == 1 and self.out_channels == self.group

    @property
    def pointwise(self) -> bool:
        """A 1x1, stride 1, unpadded, ungrouped convolution: a matrix applied at every pixel."""
        ones = all(k == 1 for k in self.kernel) and all(s == 1 for s in self.strides)
        return self.group == 1 and ones and not any(self.pads)

    @property
    def input(self) -> ir.Value:
        value = self.node.inputs[0]
        assert value is not None
        return value

    @property
    def output(self) -> ir.Value:
        return self.node.outputs[0]


def as_conv(node: ir.Node | None) -> Conv | None:
    """The node as a float 2-D convolution with constant weights and explicit padding, else None.

    `auto_pad` VALID is read as zero padding; SAME_* depends on the input's size and is made
    explicit by canonicalize first.
    """
    if node is None or not is_op(node, "Conv"):
        return None
    weight = constant(node.inputs[1])
    has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
    bias = constant(node.inputs[2]) if has_bias else None
    if weight is None or weight.dtype != ir.DataType.FLOAT or (has_bias and bias is None):
        return None
    shape = dims_of(weight)
    if len(shape) != 4 or attr_string(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    return Conv(
        node=node,
        tensor=weight,
        bias_tensor=bias,
        shape=shape,
        kernel=shape[2:],
        strides=attr_ints(node, "strides", (1, 1)),
        pads=attr_ints(node, "pads", (0, 0, 0, 0)),
        dilations=attr_ints(node, "dilations", (1, 1)),
        group=attr_int(node, "group", 1),
    )


def convs(model: ir.Model) -> Iterator[Conv]:
    """Every readable convolution of the main graph, in graph order."""
    for node in model.graph:
        conv = as_conv(node)
        if conv is not None:
            yield conv
