"""The weights that are trained, each in units of its own channel.

    weight = start + scale * change

The scale is the root mean square of a weight's output channel, so that one rate fits all
layers; it is zero where a weight is zero (sparse weights, padded channels), so zeros stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from hwopt.edit import set_constant
from hwopt.nodes import Array, FloatArray, attr_int, constant_array, is_op

if TYPE_CHECKING:
    from torch import Tensor

REPEATED = 0.25  # a weight with more repeated values than this share is a codebook and indices


@dataclass(frozen=True)
class Trained:
    """A constant that is trained: where it is read (node, input), its values and its scale."""

    name: str
    node: ir.Node
    index: int
    start: FloatArray
    scale: FloatArray


def trainable(nodes: Sequence[ir.Node]) -> list[Trained]:
    """Weights and biases of the convolutions and matrix products among these nodes.

    A constant that several nodes read is trained once, and stays shared.
    """
    found: dict[str, Trained] = {}
    for node in nodes:
        for trained in _of_node(node):
            found.setdefault(trained.name, trained)
    return list(found.values())


def _of_node(node: ir.Node) -> list[Trained]:
    if not is_op(node, "Conv", "ConvTranspose", "Gemm", "MatMul"):
        return []
    weight = constant_array(node.inputs[1])
    if weight is None or weight.dtype != np.float32 or weight.ndim < 2:
        return []
    axis = _output_axis(node, weight)
    channels = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1).astype(np.float64)
    if clustered(channels):
        return []
    alive = np.maximum((channels != 0).sum(axis=1), 1)
    rms = np.sqrt((channels**2).sum(axis=1) / alive)
    shape = [1] * weight.ndim
    shape[axis] = -1
    scale = rms.reshape(shape) * (weight != 0)
    found = [_trained(node, 1, weight, scale)]
    bias = constant_array(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else None
    if bias is not None and bias.dtype == np.float32 and bias.shape == rms.shape:
        found.append(_trained(node, 2, bias, rms * np.sqrt(alive)))
    return found


def _trained(node: ir.Node, index: int, array: Array, scale: Array) -> Trained:
    value = node.inputs[index]
    assert value is not None
    return Trained(str(value.name), node, index, array.astype(np.float32), scale.astype(np.float32))


def _output_axis(node: ir.Node, weight: Array) -> int:
    """The axis of a weight that counts output channels (of a group, for ConvTranspose)."""
    if is_op(node, "Conv"):
        return 0
    if is_op(node, "Gemm") and attr_int(node, "transB", 0):
        return 0
    return weight.ndim - 1 if is_op(node, "MatMul") else 1


def clustered(channels: Array) -> bool:
    """Whether a weight [channels, others] takes few values per channel: steps would tear them apart.

    Trained weights hardly ever repeat a value; zeros do not count.
    """
    ordered = np.sort(channels, axis=1)
    nonzero = ordered[:, 1:] != 0
    repeated = (ordered[:, 1:] == ordered[:, :-1]) & nonzero
    return bool(repeated.sum() > REPEATED * max(int(nonzero.sum()), 1))


def write(model: ir.Model, trained: Sequence[Trained], values: Mapping[str, FloatArray]) -> None:
    """Put new values into a clone of the model whose nodes were trained; shared ones stay shared."""
    by_output = {str(node.outputs[0].name): node for node in model.graph}
    for one in trained:
        node = by_output[str(one.node.outputs[0].name)]
        old = node.inputs[one.index]
        assert old is not None
        if old.is_initializer():
            old.const_value = ir.tensor(np.ascontiguousarray(values[one.name]), name=old.name)
            continue
        readers = [(use.node, use.idx) for use in old.uses()]
        set_constant(node, one.index, values[one.name])
        for reader, index in readers:
            reader.replace_input_with(index, node.inputs[one.index])


def tensors(trained: Sequence[Trained], changes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights with their changes, differentiable in the changes."""
    import torch

    return {
        one.name: torch.addcmul(
            torch.from_numpy(one.start),
            torch.from_numpy(one.scale).expand(one.start.shape),
            changes[one.name],
        )
        for one in trained
    }
