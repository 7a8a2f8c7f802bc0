"""Linear operators with constant weights that can absorb an affine operator before or after them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from hwopt.canonical.affine import FLOATS, Affine, Vector
from hwopt.canonical.common import drop_expression
from hwopt.canonical.constants import constant_value
from hwopt.edit import set_constant
from hwopt.nodes import attr_float, attr_int, attr_ints, attr_string, is_op

Array = npt.NDArray[np.generic]
LINEAR = ("Conv", "ConvTranspose", "Gemm")


@dataclass(frozen=True, eq=False)
class Anchor:
    """A Conv, ConvTranspose or Gemm, its weight brought to [groups, out / groups, in / groups, taps].

    bias: [out], zeros where there is none. Both in float64. stored: the weight as it is in the file.
    """

    node: ir.Node
    stored: Array
    weight: Vector
    bias: Vector

    @property
    def out_channels(self) -> int:
        return int(self.weight.shape[0] * self.weight.shape[1])

    @property
    def in_channels(self) -> int:
        return int(self.weight.shape[0] * self.weight.shape[2])

    @property
    def rank(self) -> int:
        """Rank of input and output."""
        return self.stored.ndim

    def followed_by(self, affine: Affine) -> tuple[Vector, Vector]:
        """Weight and bias with an affine operator on the output absorbed."""
        scale = np.broadcast_to(affine.scale, (self.out_channels,))
        groups, out = self.weight.shape[:2]
        weight = self.weight * scale.reshape(groups, out, 1, 1)
        return weight, self.bias * scale + affine.shift

    def preceded_by(self, affine: Affine) -> tuple[Vector, Vector]:
        """Weight and bias with an affine operator on the input absorbed; right only if nothing is padded."""
        groups, _, ins, _ = self.weight.shape
        scale = np.broadcast_to(affine.scale, (self.in_channels,)).reshape(groups, 1, ins, 1)
        shift = np.broadcast_to(affine.shift, (self.in_channels,)).reshape(groups, 1, ins, 1)
        added = (self.weight * shift).sum(axis=(2, 3)).reshape(-1)
        return self.weight * scale, self.bias + added

    def store(self, weight: Vector, bias: Vector) -> None:
        """Gives the node weights of its own; a bias only where it has one or needs one."""
        stored = _restore(self.node, weight, self.stored.shape)
        self._set(1, stored.astype(self.stored.dtype))
        if has_bias(self.node) or bias.any():
            self._set(2, bias.astype(self.stored.dtype))
            if is_op(self.node, "Gemm"):
                self.node.attributes["beta"] = ir.AttrFloat32("beta", 1.0)

    def _set(self, index: int, array: Array) -> None:
        old = self.node.inputs[index] if index < len(self.node.inputs) else None
        graph = self.node.graph
        set_constant(self.node, index, array)
        if old is not None and isinstance(graph, ir.Graph):
            drop_expression(graph, old)

    def fits(self, weight: Vector, bias: Vector) -> bool:
        """Whether the numbers are finite in the type that they will be stored in."""
        with np.errstate(over="ignore"):
            return all(bool(np.isfinite(array.astype(self.stored.dtype)).all()) for array in (weight, bias))


def read_anchor(node: ir.Node | None, opset: int) -> Anchor | str | None:
    """The node as an anchor; a reason where it is linear but cannot be one; None where it is not linear."""
    if node is None or not is_op(node, *LINEAR):
        return None
    stored = constant_value(node.inputs[1], opset)
    if stored is None:
        return f"the weight of the {node.op_type} is not constant"
    if stored.dtype not in FLOATS:
        return f"the weight of the {node.op_type} is {stored.dtype}: its rounding would show"
    if is_op(node, "Gemm") and attr_float(node, "alpha", 1.0) == 0:
        return "the Gemm's alpha is 0"
    bias = _bias(node, _out_channels(node, stored.shape), opset)
    if bias is None:
        return f"the bias of the {node.op_type} is not a constant vector"
    return Anchor(node, stored, _canonical(node, stored.astype(np.float64)), bias)


def has_bias(node: ir.Node) -> bool:
    """Whether the third input is there."""
    return len(node.inputs) > 2 and node.inputs[2] is not None


def unpadded(node: ir.Node) -> bool:
    """Whether every output of a Conv or Gemm sees the same number of inputs in every channel."""
    if is_op(node, "Gemm"):
        return attr_int(node, "transA", 0) == 0
    return is_op(node, "Conv") and not padded(node)


def padded(node: ir.Node) -> bool:
    """Whether a Conv reads zeros beyond its input's border, or might."""
    if attr_string(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return True
    return any(attr_ints(node, "pads", ()))


def _bias(node: ir.Node, channels: int, opset: int) -> Vector | None:
    """The bias as it acts, Gemm's beta included; None where it is no constant vector."""
    if not has_bias(node):
        return np.zeros(channels)
    stored = constant_value(node.inputs[2], opset)
    if stored is None or stored.dtype not in FLOATS:
        return None
    if stored.size not in (1, channels) or (stored.ndim > 0 and stored.shape[-1] != stored.size):
        return None
    factor = attr_float(node, "beta", 1.0) if is_op(node, "Gemm") else 1.0
    return np.broadcast_to(stored.astype(np.float64).reshape(-1) * factor, (channels,)).copy()


def _out_channels(node: ir.Node, shape: Sequence[int]) -> int:
    if is_op(node, "Conv"):
        return int(shape[0])
    if is_op(node, "ConvTranspose"):
        return int(shape[1]) * attr_int(node, "group", 1)
    return int(shape[0] if attr_int(node, "transB", 0) else shape[1])


def _canonical(node: ir.Node, stored: Vector) -> Vector:
    """From the operator's own layout to [groups, out / groups, in / groups, taps]; Gemm's alpha included."""
    groups = attr_int(node, "group", 1)
    if is_op(node, "Conv"):
        return stored.reshape(groups, stored.shape[0] // groups, stored.shape[1], -1)
    if is_op(node, "ConvTranspose"):
        return stored.reshape(groups, stored.shape[0] // groups, stored.shape[1], -1).swapaxes(1, 2)
    matrix = stored if attr_int(node, "transB", 0) else stored.T
    return attr_float(node, "alpha", 1.0) * matrix[None, :, :, None]


def _restore(node: ir.Node, weight: Vector, shape: Sequence[int]) -> Vector:
    """Back to the operator's own layout; Gemm's alpha is taken out again."""
    if is_op(node, "Conv"):
        return weight.reshape(tuple(shape))
    if is_op(node, "ConvTranspose"):
        return weight.swapaxes(1, 2).reshape(tuple(shape))
    matrix = weight[0, :, :, 0] / attr_float(node, "alpha", 1.0)
    return matrix if attr_int(node, "transB", 0) else matrix.T
