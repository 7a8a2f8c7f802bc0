"""Linear operators with constant weights that can absorb an affine operator before or after them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from hwopt.canonical.affine import FLOATS, Affine, Vector
from hwopt.canonical.common import drop_expression
from hwopt.canonical.constants import constant_value
from hwopt.edit import set_constant
from hwopt.nodes import attr_float, attr_int, attr_ints, attr_string, constant, dims_of, is_op

Array = npt.NDArray[np.generic]
Part = tuple[slice, slice]
LINEAR = ("Conv", "ConvTranspose", "Gemm")


_BLOCK = 1 << 20  # elements that are held in float64 at a time


@dataclass(frozen=True, eq=False)
class Folded:
    """What an anchor's weight and bias become. scale: broadcast over the canonical weight. bias: [out]."""

    scale: Vector
    bias: Vector


@dataclass(frozen=True, eq=False)
class Anchor:
    """A Conv, ConvTranspose or Gemm. Its weight is read when it is needed, and never held.

    tensor: the weight as it is in the file. groups, outs, ins: of the weight as all speak of it here,
    [groups, out / groups, in / groups, taps]. bias: [out], zeros where there is none; in float64.
    """

    node: ir.Node
    tensor: ir.TensorProtocol
    groups: int
    outs: int
    ins: int
    bias: Vector

    @property
    def out_channels(self) -> int:
        return self.groups * self.outs

    @property
    def in_channels(self) -> int:
        return self.groups * self.ins

    @property
    def rank(self) -> int:
        """Rank of input and output."""
        return len(self.tensor.shape)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The type that its numbers are stored in."""
        return np.dtype(self.tensor.dtype.numpy())

    def followed_by(self, affine: Affine) -> Folded:
        """Weight and bias with an affine operator on the output absorbed."""
        scale = np.broadcast_to(affine.scale, (self.out_channels,))
        return Folded(scale.reshape(self.groups, self.outs, 1, 1), self.bias * scale + affine.shift)

    def preceded_by(self, affine: Affine) -> Folded:
        """Weight and bias with an affine operator on the input absorbed; right only if nothing is padded."""
        shape = (self.groups, 1, self.ins, 1)
        scale = np.broadcast_to(affine.scale, (self.in_channels,)).reshape(shape)
        shift = np.broadcast_to(affine.shift, (self.in_channels,)).reshape(shape)
        if not shift.any():
            return Folded(scale, self.bias)
        added = np.zeros((self.groups, self.outs))
        weight = _canonical(self.node, self._stored())
        for part in self._parts(weight.shape):
            added[part] = (self._numbers(weight[part]) * _of(shift, part)).sum(axis=(2, 3))
        return Folded(scale, self.bias + added.reshape(-1))

    def store(self, folded: Folded) -> None:
        """Gives the node weights of its own; a bias only where it has one or needs one."""
        stored = self._stored()
        made = np.empty(stored.shape, self.dtype)
        weight, target = _canonical(self.node, stored), _canonical(self.node, made)
        for part, numbers in self._scaled(weight, folded.scale):
            target[part] = numbers
        del stored, weight
        self._set(1, made)
        if has_bias(self.node) or folded.bias.any():
            self._set(2, folded.bias.astype(self.dtype))
            if is_op(self.node, "Gemm"):
                self.node.attributes["beta"] = ir.AttrFloat32("beta", 1.0)

    def fits(self, folded: Folded) -> bool:
        """Whether the numbers are finite in the type that they will be stored in."""
        with np.errstate(over="ignore"):
            if not np.isfinite(folded.bias.astype(self.dtype)).all():
                return False
            weight = _canonical(self.node, self._stored())
            parts = self._scaled(weight, folded.scale)
            return all(bool(np.isfinite(numbers.astype(self.dtype)).all()) for _, numbers in parts)

    def _stored(self) -> Array:
        return np.asarray(self.tensor.numpy())

    def _scaled(self, weight: Array, scale: Vector) -> Iterator[tuple[Part, Vector]]:
        """The scaled weight as it is to be stored, part by part."""
        alpha = _alpha(self.node)
        for part in self._parts(weight.shape):
            numbers = self._numbers(weight[part]) * _of(scale, part)
            yield part, numbers if alpha == 1.0 else numbers / alpha

    def _numbers(self, part: Array) -> Vector:
        """What a part of the stored weight acts like: in float64, Gemm's alpha included."""
        numbers = part.astype(np.float64)
        return numbers * _alpha(self.node) if _alpha(self.node) != 1.0 else numbers

    def _parts(self, shape: Sequence[int]) -> Iterator[Part]:
        """Cuts the first two axes so that a part has about `_BLOCK` elements."""
        rows = max(1, _BLOCK // max(1, prod(shape[2:])))
        outs = min(rows, max(self.outs, 1))
        groups = max(1, rows // outs)
        for group in range(0, self.groups, groups):
            for out in range(0, self.outs, outs):
                yield slice(group, group + groups), slice(out, out + outs)

    def _set(self, index: int, array: Array) -> None:
        old = self.node.inputs[index] if index < len(self.node.inputs) else None
        graph = self.node.graph
        set_constant(self.node, index, array)
        if old is not None and isinstance(graph, ir.Graph):
            drop_expression(graph, old)


def read_anchor(node: ir.Node | None, opset: int) -> Anchor | str | None:
    """The node as an anchor; a reason where it is linear but cannot be one; None where it is not linear."""
    if node is None or not is_op(node, *LINEAR):
        return None
    tensor = constant(node.inputs[1])
    if tensor is None:
        array = constant_value(node.inputs[1], opset)
        if array is None:
            return f"the weight of the {node.op_type} is not constant"
        tensor = ir.tensor(array)
    dtype = None if tensor.dtype == ir.DataType.STRING else tensor.dtype.numpy()
    if dtype not in FLOATS:
        return f"the weight of the {node.op_type} is {dtype}: its rounding would show"
    if is_op(node, "Gemm") and attr_float(node, "alpha", 1.0) == 0:
        return "the Gemm's alpha is 0"
    shape = dims_of(tensor)
    bias = _bias(node, _out_channels(node, shape), opset)
    if bias is None:
        return f"the bias of the {node.op_type} is not a constant vector"
    groups, outs, ins, _ = _canonical(node, np.broadcast_to(np.float32(0), shape)).shape
    return Anchor(node, tensor, groups, outs, ins, bias)


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


def _canonical(node: ir.Node, stored: Array) -> Array:
    """A view from the operator's own layout to [groups, out / groups, in / groups, taps]."""
    groups = attr_int(node, "group", 1)
    taps = prod(stored.shape[2:])
    if is_op(node, "Conv"):
        return stored.reshape(groups, stored.shape[0] // groups, stored.shape[1], taps)
    if is_op(node, "ConvTranspose"):
        return stored.reshape(groups, stored.shape[0] // groups, stored.shape[1], taps).swapaxes(1, 2)
    matrix = stored if attr_int(node, "transB", 0) else stored.T
    return matrix[None, :, :, None]


def _of(factors: Vector, part: Part) -> Vector:
    """What of factors that are broadcast over a weight belongs to a part of it."""
    return factors[part[0], part[1] if factors.shape[1] > 1 else slice(None)]


def _alpha(node: ir.Node) -> float:
    return attr_float(node, "alpha", 1.0) if is_op(node, "Gemm") else 1.0
