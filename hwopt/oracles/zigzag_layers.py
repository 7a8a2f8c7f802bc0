"""From one ONNX operator to the loop nest that ZigZag costs.

ZigZag 3.9.1 reads Conv, Gemm and MatMul from ONNX itself. Additions and poolings it costs as
well, but only in its own workload format; those loop nests are written here as its example
workloads write them (a pooling is a weightless sum, an addition a product-free one). Its ONNX
parser also takes the kernel's height, vertical stride and vertical padding for the horizontal
loop, which is harmless for square kernels only; here every axis keeps its own.

A transposed convolution is written as the convolution it equals on its input with zeros between the
pixels: what an array without a mode for it computes, zeros included. A mean over height and width is
a global pooling; differences, products and extrema of two equal shapes are loops like an addition's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from hwopt.describe import reduced_axes, target_op
from hwopt.nodes import ONNX_DOMAINS, attr_int, attr_ints, constant
from hwopt.shapes import TensorInfo

Shapes = Mapping[str, TensorInfo]
Shape = tuple[int, ...]

_CONV = "O[b][g][k][oy][ox]+=W[g][k][c][fy][fx]*I[b][g][c][iy][ix]"
_POOL = "O[b][g][oy][ox]+=W[fx][fy]*I[b][g][iy][ix]"
_ADD = "O[b][g][oy][ox]=W[b][g][oy][ox]+I[b][g][oy][ox]"


@dataclass(frozen=True)
class Layer:
    """A loop nest, canonical: equal layers cost the same, whatever network they stand in.

    operator: Conv, DepthwiseConv, Gemm, Add or Pooling; picks the entry of the mapping.
    equation, relations: in ZigZag's notation. loops, inputs: sizes of the loops and of the
        padded-off input axes. bits: of the operands, W, I, final O and partial O.
    constant_weights: False where both operands are activations.
    """

    operator: str
    equation: str
    loops: tuple[tuple[str, int], ...]
    relations: tuple[str, ...]
    inputs: tuple[tuple[str, int], ...]
    bits: tuple[tuple[str, int], ...]
    constant_weights: bool = True

    def to_json(self) -> str:
        """The layer as canonical JSON text, the key of its measurement."""
        return json.dumps(vars(self), sort_keys=True)

    @property
    def macs(self) -> int:
        """Multiply-adds; 0 for additions and poolings, which multiply nothing."""
        return 0 if self.operator in ("Add", "Pooling") else prod(size for _, size in self.loops)

    @property
    def weight_bytes(self) -> int:
        """Bytes of constant weights, biases left out as ZigZag leaves them out."""
        if not self.constant_weights or self.macs == 0:
            return 0
        names = {"K", "G", "C", "FX", "FY"} if "g" in self.equation else {"K", "C"}
        return prod(size for name, size in self.loops if name in names) * dict(self.bits)["W"] // 8


def layer_of(node: ir.Node, shapes: Shapes, element_bytes: int) -> Layer | None:
    """The loop nest of one operator; None where ZigZag has no figure for it.

    shapes: static, by value name. element_bytes: of activations and weights; partial sums have
    twice that, as in ZigZag's ONNX parser.
    """
    lower = _LOWERINGS.get(node.op_type)
    if lower is None or node.domain not in ONNX_DOMAINS or not node.inputs or node.inputs[0] is None:
        return None
    return lower(node, shapes, 8 * element_bytes)


def _shape(value: ir.Value | None, shapes: Shapes) -> Shape | None:
    """The value's shape; None where it is unknown or empty, so that nothing is to be done."""
    info = None if value is None else shapes.get(value.name or "")
    return None if info is None or 0 in info.shape else tuple(info.shape)


def _bits(weight: int, activation: int) -> tuple[tuple[str, int], ...]:
    return ("W", weight), ("I", activation), ("O_final", activation), ("O", 2 * activation)


def _image(shape: Shape) -> tuple[int, int, int, int] | None:
    """(batch, channels, height, width) of a 2-D or 1-D feature map; None for anything else."""
    if len(shape) == 3:
        return shape[0], shape[1], 1, shape[2]
    return (shape[0], shape[1], shape[2], shape[3]) if len(shape) == 4 else None


def _pair(node: ir.Node, name: str) -> tuple[int, int]:
    """A (vertical, horizontal) attribute, 1 where it is missing; one number is the horizontal one."""
    values = attr_ints(node, name, (1, 1))
    return (1, values[0]) if len(values) == 1 else (values[0], values[1])


def _relations(strides: tuple[int, int], dilations: tuple[int, int]) -> tuple[str, ...]:
    return f"ix={strides[1]}*ox+{dilations[1]}*fx", f"iy={strides[0]}*oy+{dilations[0]}*fy"


def _conv(node: ir.Node, shapes: Shapes, bits: int) -> Layer | None:
    ends = [_shape(value, shapes) for value in (node.inputs[0], node.inputs[1], node.outputs[0])]
    x, weight, y = (None if shape is None else _image(shape) for shape in ends)
    if x is None or weight is None or y is None:
        return None
    group = attr_int(node, "group", 1)
    loops = (
        ("B", y[0]), ("K", y[1] // group), ("G", group), ("OX", y[3]), ("OY", y[2]),
        ("C", x[1] // group), ("FX", weight[3]), ("FY", weight[2]),
    )  # fmt: skip
    operator = "DepthwiseConv" if target_op(node) == "DepthwiseConv" else "Conv"
    relations = _relations(_pair(node, "strides"), _pair(node, "dilations"))
    return Layer(operator, _CONV, loops, relations, (("IX", x[3]), ("IY", x[2])), _bits(bits, bits))


def _transposed(node: ir.Node, shapes: Shapes, bits: int) -> Layer | None:
    ends = [_shape(value, shapes) for value in (node.inputs[0], node.inputs[1], node.outputs[0])]
    x, weight, y = (None if shape is None else _image(shape) for shape in ends)
    if x is None or weight is None or y is None:
        return None
    group, strides = attr_int(node, "group", 1), _pair(node, "strides")
    loops = (
        ("B", y[0]), ("K", y[1] // group), ("G", group), ("OX", y[3]), ("OY", y[2]),
        ("C", x[1] // group), ("FX", weight[3]), ("FY", weight[2]),
    )  # fmt: skip
    operator = "DepthwiseConv" if group == x[1] == y[1] else "Conv"
    spread = (("IX", (x[3] - 1) * strides[1] + 1), ("IY", (x[2] - 1) * strides[0] + 1))
    return Layer(
        operator, _CONV, loops, _relations((1, 1), _pair(node, "dilations")), spread, _bits(bits, bits)
    )


def _mean(node: ir.Node, shapes: Shapes, bits: int) -> Layer | None:
    """A mean over height and width; other reductions are no loop nest of ZigZag's."""
    shape = _shape(node.inputs[0], shapes)
    if shape is None or len(shape) != 4 or {axis % 4 for axis in reduced_axes(node)} != {2, 3}:
        return None
    return _pool_of(shape, (*shape[:2], 1, 1), shape[2:], ((1, 1), (1, 1)), bits)


def _pool(node: ir.Node, shapes: Shapes, bits: int) -> Layer | None:
    shape_in, shape_out = _shape(node.inputs[0], shapes), _shape(node.outputs[0], shapes)
    if shape_in is None or shape_out is None:
        return None
    x, y = _image(shape_in), _image(shape_out)
    if x is None or y is None:
        return None
    whole = node.op_type.startswith("Global")
    kernel = x[2:] if whole else _pair(node, "kernel_shape")
    strides = (1, 1) if whole else _pair(node, "strides")
    return _pool_of(x, y, kernel, (strides, _pair(node, "dilations")), bits)


def _pool_of(
    x: Shape, y: Shape, kernel: Shape, steps: tuple[tuple[int, int], tuple[int, int]], bits: int
) -> Layer:
    """steps: strides and dilations."""
    loops = (("B", y[0]), ("G", y[1]), ("OY", y[2]), ("OX", y[3]), ("FX", kernel[1]), ("FY", kernel[0]))
    relations = _relations(*steps)
    return Layer("Pooling", _POOL, loops, relations, (("IX", x[3]), ("IY", x[2])), _bits(0, bits))


def _add(node: ir.Node, shapes: Shapes, bits: int) -> Layer | None:
    """Two tensors of one shape, element by element; ZigZag has no figure for a broadcast one."""
    if len(node.inputs) != 2:
        return None
    ends = {_shape(value, shapes) for value in (*node.inputs, *node.outputs)}
    shape = next(iter(ends))
    if len(ends) != 1 or shape is None:
        return None
    sizes = _image(shape)
    if sizes is None:
        return None
    loops = tuple(zip(("B", "G", "OY", "OX"), sizes, strict=True))
    return Layer("Add", _ADD, loops, (), (), _bits(bits, bits), constant_weights=False)


def _gemm(node: ir.Node, shapes: Shapes, bits: int) -> Layer | None:
    x, y = _shape(node.inputs[0], shapes), _shape(node.outputs[0], shapes)
    if x is None or y is None or len(x) != 2 or len(y) != 2:
        return None
    inner = x[0] if attr_int(node, "transA", 0) else x[1]
    return _matrix(((), y[0], inner, y[1]), constant(node.inputs[1]) is not None, bits)


def _matmul(node: ir.Node, shapes: Shapes, bits: int) -> Layer | None:
    """Matrix products, the second operand one matrix for all of them or of the same leading sizes."""
    x, weight, y = (_shape(value, shapes) for value in (*node.inputs[:2], node.outputs[0]))
    if x is None or weight is None or y is None or min(len(x), len(weight)) < 2 or len(x) != len(y):
        return None
    leading, theirs = x[:-2], (1,) * (len(x) - len(weight)) + weight[:-2]
    shared = prod(theirs) == 1
    if not shared and theirs != leading:
        return None
    if len(leading) > 2:
        leading = (prod(leading),)  # products one after the other, however many axes count them
    return _matrix((leading, x[-2], x[-1], y[-1]), shared and constant(node.inputs[1]) is not None, bits)


def _matrix(sizes: tuple[Shape, int, int, int], constant_weights: bool, bits: int) -> Layer:
    """sizes: (leading sizes, rows, inner, columns); the weights repeat over the leading sizes."""
    leading, rows, inner, columns = sizes
    names = ("B", "H")[: len(leading)]
    index = "".join(f"[{name.lower()}]" for name in names)
    own = "" if constant_weights else index
    equation = f"O{index}[d][k]+=I{index}[d][c]*W{own}[c][k]"
    loops = (("C", inner), ("D", rows), ("K", columns), *zip(names, leading, strict=True))
    return Layer("Gemm", equation, loops, (), (), _bits(bits, bits), constant_weights)


_LOWERINGS: Mapping[str, Callable[[ir.Node, Shapes, int], Layer | None]] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    **dict.fromkeys(("Add", "Sub", "Mul", "Min", "Max"), _add),
    "ConvTranspose": _transposed,
    "ReduceMean": _mean,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GlobalAveragePool": _pool,
    "GlobalMaxPool": _pool,
}
