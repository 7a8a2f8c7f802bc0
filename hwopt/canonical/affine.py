"""Per-channel affine operators: y = scale * x + shift, with one number per channel (axis 1) or one for all.

BatchNormalization, and Mul, Add, Sub, Div with a constant; Identity and Dropout count too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from hwopt.canonical.constants import constant_producers, constant_value
from hwopt.nodes import attr_float, attr_int, constant, is_op

Vector = npt.NDArray[np.float64]
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
ARITHMETIC = ("Mul", "Add", "Sub", "Div")


@dataclass(frozen=True, eq=False)
class Affine:
    """scale and shift: shape () or [channels], in float64."""

    scale: Vector
    shift: Vector

    def then(self, after: Affine) -> Affine:
        """First this one, then the other, as one."""
        return Affine(after.scale * self.scale, after.scale * self.shift + after.shift)

    @property
    def channels(self) -> int:
        """Number of channels it is made for; 1 where it fits any number."""
        return max(self.scale.size, self.shift.size)

    @property
    def finite(self) -> bool:
        """Whether all its numbers are finite."""
        return bool(np.isfinite(self.scale).all() and np.isfinite(self.shift).all())


SAME = Affine(np.ones(()), np.zeros(()))


def affine_input(node: ir.Node) -> ir.Value | None:
    """The operand that the node transforms, if it may be affine; its constants are not looked at closely."""
    if is_op(node, "BatchNormalization", "Identity", "Dropout"):
        return node.inputs[0]
    if not is_op(node, *ARITHMETIC):
        return None
    left, right = node.inputs
    if is_constant(right) and not is_constant(left):
        return left
    if is_constant(left) and not is_constant(right) and not is_op(node, "Div"):
        return right
    return None


def is_constant(value: ir.Value | None) -> bool:
    """Whether the value is a constant or a constant expression."""
    return constant(value) is not None or bool(constant_producers(value))


def read_affine(node: ir.Node, rank: int, opset: int) -> Affine | str:
    """The node's scale and shift for an input of that rank, or the reason why it has none."""
    if is_op(node, "BatchNormalization"):
        return _read_batch_norm(node, opset)
    if is_op(node, "Identity", "Dropout"):
        return SAME if is_op(node, "Identity") else _read_dropout(node, opset)
    x = affine_input(node)
    other = node.inputs[1] if node.inputs[0] is x else node.inputs[0]
    array = constant_value(other, opset)
    if array is None:
        return "its constant cannot be evaluated"
    if array.dtype not in FLOATS:
        return f"its constant is {array.dtype}, not float32 or float64"
    vector = _per_channel(array.astype(np.float64), rank)
    if vector is None:
        return f"its constant of shape {list(array.shape)} differs within a channel"
    return _combine(node, vector, other is node.inputs[0])


def _combine(node: ir.Node, c: Vector, constant_first: bool) -> Affine | str:
    one, zero = np.ones(()), np.zeros(())
    if is_op(node, "Mul"):
        return Affine(c, zero)
    if is_op(node, "Add"):
        return Affine(one, c)
    if is_op(node, "Sub"):
        return Affine(-one, c) if constant_first else Affine(one, -c)
    return Affine(1.0 / c, zero) if np.all(c != 0) else "it divides by zero"


def _per_channel(array: Vector, rank: int) -> Vector | None:
    """The constant as a vector along axis 1, None where it broadcasts otherwise or adds an axis."""
    if array.ndim > rank:
        return None
    full = array.reshape((1,) * (rank - array.ndim) + array.shape)
    if any(size != 1 for axis, size in enumerate(full.shape) if axis != 1):
        return None
    flat = full.reshape(-1)
    return flat.reshape(()) if flat.size == 1 else flat


def _read_batch_norm(node: ir.Node, opset: int) -> Affine | str:
    if attr_int(node, "training_mode", 0) or attr_int(node, "spatial", 1) != 1:
        return "it normalises over the batch, or each pixel for itself"
    if any(output.name for output in node.outputs[1:]):
        return "it gives statistics, so it is in training mode"
    arrays = [constant_value(value, opset) for value in node.inputs[1:5]]
    if any(array is None or array.dtype not in FLOATS for array in arrays):
        return "its parameters are not float32 or float64 constants"
    gamma, beta, mean, variance = (np.asarray(array, np.float64) for array in arrays)
    scale = gamma / np.sqrt(variance + attr_float(node, "epsilon", 1e-5))
    return Affine(scale, beta - mean * scale)


def _read_dropout(node: ir.Node, opset: int) -> Affine | str:
    if any(output.name and (output.uses() or output.is_graph_output()) for output in node.outputs[1:]):
        return "its mask is read"
    training = node.inputs[2] if len(node.inputs) > 2 else None
    if training is None:
        return SAME
    mode = constant_value(training, opset)
    return SAME if mode is not None and not mode.any() else "it may be in training mode"
