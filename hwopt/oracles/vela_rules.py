"""Forms of operators that Vela leaves to the host processor, or that have no TFLite form here.

Found by compiling each operator (tests/oracles/test_coverage.py does it again): Ethos-U55 and
U65 have one set of limits, U85 a wider one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from hwopt.nodes import attr_int, attr_ints, attr_string, constant, constant_array, is_op
from hwopt.signature import Shape, Signature
from hwopt.target import Target

_MAX_STRIDE = 3  # of a padded or dilated convolution on U55 and U65
_MAX_PADDED_POOL = 8
_RESIZE_FACTORS = (2.0, 4.0, 8.0)

Check = Callable[[ir.Node, Signature, bool], str]


def why_not(node: ir.Node, signature: Signature, target: Target) -> str:
    """Why Vela's NPU does not run this operator; "" where it does."""
    check = _CHECKS.get(node.op_type)
    wide = "u85" in str(target.oracle.options.get("accelerator", ""))
    return "" if check is None else check(node, signature, wide)


def _conv(node: ir.Node, s: Signature, wide: bool) -> str:
    plain = not any(s.pads) and set(s.dilations) <= {1}
    if not wide and max(s.strides, default=1) > _MAX_STRIDE and not plain:
        return f"a padded convolution with a stride of {max(s.strides)} runs on the host"
    return ""


def _transposed(node: ir.Node, s: Signature, wide: bool) -> str:
    if s.group != 1 or set(s.dilations) - {1}:
        return "a grouped or dilated transposed convolution has no form in TFLite"
    if attr_string(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return "auto_pad of a transposed convolution is not read"
    full = [(n - 1) * t + k for n, t, k in zip(s.inputs[0][2:], s.strides, s.kernel, strict=True)]
    if any(b + n > f for b, n, f in zip(s.pads[:2], s.outputs[0][2:], full, strict=True)):
        return "output_padding beyond the full result has no form in TFLite"
    if not wide and s.strides not in ((1, 1), (2, 2)):
        return f"a transposed convolution with strides {s.strides} runs on the host"
    return ""


def _pool(node: ir.Node, s: Signature, wide: bool) -> str:
    if len(node.outputs) > 1 and node.outputs[1].uses():
        return "the indices of a MaxPool have no form in TFLite"
    if set(s.dilations) - {1}:
        return "a dilated pool has no form in TFLite"
    if is_op(node, "MaxPool") or not _pads(s):
        return ""
    same = _pads(s) == _same_pads(s)
    if same == (attr_int(node, "count_include_pad", 0) == 1):
        return "how this AveragePool counts its padding has no form in TFLite"
    large = same and max(s.kernel) > _MAX_PADDED_POOL
    return f"a padded average over more than {_MAX_PADDED_POOL} rows runs on the host" if large else ""


def _reach(s: Signature, axis: int) -> int:
    """Rows that the windows read beyond the input."""
    used = (s.outputs[0][axis + 2] - 1) * s.strides[axis] + s.kernel[axis]
    return max(used - s.inputs[0][axis + 2], 0)


def _pads(s: Signature) -> tuple[tuple[int, int], ...]:
    """(before, after) per axis as far as the windows read them; () where none is read."""
    pads = tuple((s.pads[axis], max(_reach(s, axis) - s.pads[axis], 0)) for axis in (0, 1))
    return pads if any(map(any, pads)) else ()


def _same_pads(s: Signature) -> tuple[tuple[int, int], ...]:
    """What TFLite's SAME pads, where it gives this many outputs."""
    sizes = zip(s.inputs[0][2:], s.strides, s.outputs[0][2:], strict=True)
    if any(-(-n // stride) != out for n, stride, out in sizes):
        return ()
    totals = [_reach(s, axis) for axis in (0, 1)]
    return tuple((total // 2, total - total // 2) for total in totals)


def _resize(node: ir.Node, s: Signature, wide: bool) -> str:
    mode, where = attr_string(node, "mode", "nearest"), _transform(node)
    before, after = s.inputs[0][2:], s.outputs[0][2:]
    if mode not in ("nearest", "linear"):
        return f"resize mode '{mode}' has no form in TFLite"
    if s.inputs[0][:2] != s.outputs[0][:2] or len(before) != 2:
        return "only height and width can be resized"
    if before == (1, 1) or (wide and mode == "nearest"):
        return ""
    half = mode == "linear" and "half_pixel" in where
    factors = _factors(before, after, where == "align_corners")
    if wide:
        fine = all(factor >= 1 and np.log2(factor).is_integer() for factor in factors)
    else:
        allowed = (2.0,) if half else _RESIZE_FACTORS
        fine = (factors[0] == factors[1] and factors[0] in allowed) or (before == after and not half)
    return "" if fine else f"resizing {before} to {after} ({mode}, {where}) runs on the host"


def _transform(node: ir.Node) -> str:
    default = "half_pixel" if is_op(node, "Resize") else "asymmetric"
    return attr_string(node, "coordinate_transformation_mode", default)


def _factors(before: Shape, after: Shape, corners: bool) -> list[float]:
    less = 1 if corners and min(before) > 1 else 0
    return [(n - less) / (m - less) for m, n in zip(before, after, strict=True)]


def _div(node: ir.Node, s: Signature, wide: bool) -> str:
    divisor = constant_array(node.inputs[1])
    fine = divisor is not None and np.all(divisor)
    return "" if fine else "a division by something that is no constant has no form on the NPU"


def _pow(node: ir.Node, s: Signature, wide: bool) -> str:
    exponent = constant_array(node.inputs[1])
    fine = exponent is not None and exponent.size == 1 and float(exponent.reshape(())) == 2.0
    return "" if fine else "a power other than a square has no form on the NPU"


def _matmul(node: ir.Node, s: Signature, wide: bool) -> str:
    if len(s.inputs) < 2 or s.kind != "matmul":
        return ""
    left, right = s.inputs[:2]
    fine = len(left) == len(right) and left[:-2] == right[:-2]
    return "" if fine else f"a matrix product of shapes {left} and {right} has no form in TFLite"


def _reduce_mean(node: ir.Node, s: Signature, wide: bool) -> str:
    rank = len(s.inputs[0])
    axes = {axis % rank for axis in attr_ints(node, "axes", ())}
    if not axes and len(node.inputs) > 1:
        array = constant_array(node.inputs[1])
        axes = set() if array is None else {int(axis) % rank for axis in array.reshape(-1)}
    mixed = rank == 4 and len(axes or range(rank)) > 1 and 1 in (axes or range(rank))
    return "a mean over channels and rows at once runs on the host" if mixed else ""


def _pad(node: ir.Node, s: Signature, wide: bool) -> str:
    if attr_string(node, "mode", "constant") != "constant":
        return "only padding with a constant has a form on the NPU"
    shrinks = any(n < m for m, n in zip(s.inputs[0], s.outputs[0], strict=True))
    return "negative padding has no form in TFLite" if shrinks else ""


def _slice(node: ir.Node, s: Signature, wide: bool) -> str:
    steps = constant_array(node.inputs[4]) if len(node.inputs) > 4 else None
    backwards = steps is not None and bool(np.any(np.asarray(steps, np.int64) < 1))
    return "a Slice with a negative step has no form in TFLite" if backwards else ""


def _gather(node: ir.Node, s: Signature, wide: bool) -> str:
    indices = constant_array(node.inputs[1])
    run = None if indices is None else np.asarray(indices, np.int64).reshape(-1)
    fine = run is not None and indices is not None and indices.ndim <= 1 and bool(np.all(np.diff(run) == 1))
    return "" if fine else "only a Gather of a run of constant indices has a form on the NPU"


def _clip(node: ir.Node, s: Signature, wide: bool) -> str:
    varying = [value for value in node.inputs[1:3] if value is not None and constant(value) is None]
    return "the bounds of the Clip are no constants" if varying else ""


def _prelu(node: ir.Node, s: Signature, wide: bool) -> str:
    return "" if constant(node.inputs[1]) is not None else "the slope of the PRelu is no constant"


def _extremum(node: ir.Node, s: Signature, wide: bool) -> str:
    return "" if len(node.inputs) == 2 else f"{node.op_type} of {len(node.inputs)} operands has no form here"


def _batch_norm(node: ir.Node, s: Signature, wide: bool) -> str:
    fixed = all(constant(value) is not None for value in node.inputs[1:])
    return "" if fixed else f"the parameters of the {node.op_type} are no constants"


def _layer_norm(node: ir.Node, s: Signature, wide: bool) -> str:
    rank = len(s.inputs[0])
    if attr_int(node, "axis", -1) % rank != rank - 1:
        return "a LayerNormalization over several axes has no form here"
    return _batch_norm(node, s, wide)


_CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "AveragePool": _pool,
        "BatchNormalization": _batch_norm,
        "Clip": _clip,
        "Conv": _conv,
        "ConvTranspose": _transposed,
        "Div": _div,
        "Gather": _gather,
        "InstanceNormalization": _batch_norm,
        "LayerNormalization": _layer_norm,
        "MatMul": _matmul,
        "Max": _extremum,
        "MaxPool": _pool,
        "Min": _extremum,
        "PRelu": _prelu,
        "Pad": _pad,
        "Pow": _pow,
        "ReduceMean": _reduce_mean,
        "Resize": _resize,
        "Slice": _slice,
        "Upsample": _resize,
    }
)
