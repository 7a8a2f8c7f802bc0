"""ONNX operators as PyTorch functions: what is read from attributes and constants is read once.

Each builder takes a node and returns a function from its inputs to its outputs. Semantics are
those of the ONNX operator specification, versions 7 to 22, for floats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from hwopt.nodes import Array, attr_float, attr_int, attr_string, constant_array, scalar
from hwopt.tuning.resize import resize
from hwopt.tuning.static import Unsupported, axes_of, integers, opset_of
from hwopt.tuning.windows import average_pool, conv, conv_transpose, max_pool

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["OPERATORS", "Operator", "Unsupported", "tensor_of"]

Operator = Callable[[Sequence["Tensor | None"]], Sequence["Tensor"]]
Builder = Callable[[ir.Node], Operator]


def tensor_of(array: Array) -> Tensor:
    """A tensor of its own with this data; 4-D weights with their channels last in memory."""
    import torch

    tensor = torch.from_numpy(np.array(array))
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def _unary(function: Callable[[Tensor], Tensor]) -> Operator:
    def operator(inputs: Sequence[Tensor | None]) -> Sequence[Tensor]:
        assert inputs[0] is not None
        return (function(inputs[0]),)

    return operator


def _named(name: str) -> Builder:
    """An elementwise function of torch by its name."""

    def build(node: ir.Node) -> Operator:
        import torch

        del node
        return _unary(getattr(torch, name))

    return build


def _binary(name: str) -> Builder:
    def build(node: ir.Node) -> Operator:
        import torch

        del node
        function = getattr(torch, name)
        return lambda inputs: (function(inputs[0], inputs[1]),)

    return build


def _identity(node: ir.Node) -> Operator:
    del node
    return _unary(lambda x: x)


def _clip(node: ir.Node) -> Operator:
    bounds = []
    for index, name in ((1, "min"), (2, "max")):
        given = node.inputs[index] if index < len(node.inputs) else None
        bound = scalar(given) if given is not None else None
        if given is not None and bound is None:
            raise Unsupported(f"its {name} is not a constant")
        if given is None and name in node.attributes:
            bound = attr_float(node, name, 0.0)
        bounds.append(bound)
    low, high = bounds
    return _identity(node) if low is None and high is None else _unary(lambda x: x.clamp(low, high))


def _hard_sigmoid(node: ir.Node) -> Operator:
    alpha, beta = attr_float(node, "alpha", 0.2), attr_float(node, "beta", 0.5)
    return _unary(lambda x: (alpha * x + beta).clamp(0, 1))


def _hard_swish(node: ir.Node) -> Operator:
    import torch

    del node
    return _unary(torch.nn.functional.hardswish)


def _leaky_relu(node: ir.Node) -> Operator:
    import torch

    slope = attr_float(node, "alpha", 0.01)
    return _unary(lambda x: torch.nn.functional.leaky_relu(x, slope))


def _elu(node: ir.Node) -> Operator:
    import torch

    alpha = attr_float(node, "alpha", 1.0)
    return _unary(lambda x: torch.nn.functional.elu(x, alpha))


def _gelu(node: ir.Node) -> Operator:
    import torch

    how = attr_string(node, "approximate", "none")
    return _unary(lambda x: torch.nn.functional.gelu(x, approximate=how))


def _prelu(node: ir.Node) -> Operator:
    import torch

    del node
    return lambda inputs: (torch.where(inputs[0] < 0, inputs[0] * inputs[1], inputs[0]),)  # type: ignore[operator]


def _gemm(node: ir.Node) -> Operator:
    alpha, beta = attr_float(node, "alpha", 1.0), attr_float(node, "beta", 1.0)
    turn_a, turn_b = attr_int(node, "transA", 0), attr_int(node, "transB", 0)

    def operator(inputs: Sequence[Tensor | None]) -> Sequence[Tensor]:
        a, b = inputs[0], inputs[1]
        assert a is not None
        assert b is not None
        y = (a.T if turn_a else a) @ (b.T if turn_b else b)
        y = y if alpha == 1 else alpha * y
        c = inputs[2] if len(inputs) > 2 else None
        return (y if c is None else y + (c if beta == 1 else beta * c),)

    return operator


def _batch_normalization(node: ir.Node) -> Operator:
    if attr_int(node, "training_mode", 0):
        raise Unsupported("it is in training mode")
    epsilon = attr_float(node, "epsilon", 1e-5)

    def operator(inputs: Sequence[Tensor | None]) -> Sequence[Tensor]:
        x, scale, shift, mean, variance = inputs[:5]
        assert x is not None
        assert scale is not None
        assert shift is not None
        assert mean is not None
        assert variance is not None
        factor = scale / (variance + epsilon).sqrt()
        shape = (1, -1, *[1] * (x.ndim - 2))
        return (x * factor.reshape(shape) + (shift - mean * factor).reshape(shape),)

    return operator


def _softmax(name: str) -> Builder:
    def build(node: ir.Node) -> Operator:
        import torch

        function = getattr(torch, name)
        modern = opset_of(node) >= 13
        axis = attr_int(node, "axis", -1 if modern else 1)

        def old(x: Tensor) -> Tensor:  # before opset 13: over everything from the axis on
            y: Tensor = function(x.flatten(axis), dim=-1)
            return y.reshape(x.shape)

        return _unary((lambda x: function(x, dim=axis)) if modern else old)

    return build


def _global_pool(name: str) -> Builder:
    def build(node: ir.Node) -> Operator:
        import torch

        del node
        function = getattr(torch, name)
        return _unary(lambda x: function(x, dim=tuple(range(2, x.ndim)), keepdim=True))

    return build


def _reduce(name: str) -> Builder:
    def build(node: ir.Node) -> Operator:
        import torch

        function = getattr(torch, name)
        axes = axes_of(node, 1)
        if not axes and attr_int(node, "noop_with_empty_axes", 0):
            return _identity(node)
        keep = bool(attr_int(node, "keepdims", 1))
        return _unary(lambda x: function(x, dim=tuple(axes or range(x.ndim)), keepdim=keep))

    return build


def _concat(node: ir.Node) -> Operator:
    import torch

    axis = attr_int(node, "axis", 1)
    return lambda inputs: (torch.cat([x for x in inputs if x is not None], dim=axis),)


def _split(node: ir.Node) -> Operator:
    axis, count = attr_int(node, "axis", 0), len(node.outputs)
    sizes = integers(node, 1, "split", required=False)

    def operator(inputs: Sequence[Tensor | None]) -> Sequence[Tensor]:
        x = inputs[0]
        assert x is not None
        parts: Sequence[Tensor] = x.split(sizes or -(-x.shape[axis] // count), dim=axis)
        return parts

    return operator


def _slice(node: ir.Node) -> Operator:
    starts, ends = integers(node, 1, "starts"), integers(node, 2, "ends")
    axes = integers(node, 3, "axes", required=False) or list(range(len(starts)))
    steps = integers(node, 4, "", required=False) or [1] * len(starts)
    if any(step < 1 for step in steps):
        raise Unsupported("a negative step")

    def cut(x: Tensor) -> Tensor:
        index = [slice(None)] * x.ndim
        for axis, begin, end, step in zip(axes, starts, ends, steps, strict=True):
            index[axis] = slice(begin, end, step)
        return x[tuple(index)]

    return _unary(cut)


def _flatten(node: ir.Node) -> Operator:
    axis = attr_int(node, "axis", 1)

    def flat(x: Tensor) -> Tensor:
        split = axis % x.ndim if axis < 0 else axis
        return x.reshape(int(np.prod(x.shape[:split], dtype=np.int64)), -1)

    return _unary(flat)


def _reshape(node: ir.Node) -> Operator:
    if attr_int(node, "allowzero", 0):
        raise Unsupported("zeros in its shape are sizes")

    def operator(inputs: Sequence[Tensor | None]) -> Sequence[Tensor]:
        x, wanted = inputs[0], inputs[1]
        assert x is not None
        assert wanted is not None
        return (x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(wanted.tolist())]),)

    return operator


def _shape(node: ir.Node) -> Operator:
    import torch

    if "start" in node.attributes or "end" in node.attributes:
        raise Unsupported("a part of a shape")
    return _unary(lambda x: torch.tensor(x.shape, dtype=torch.int64))


def _div(node: ir.Node) -> Operator:
    import torch

    del node

    def operator(inputs: Sequence[Tensor | None]) -> Sequence[Tensor]:
        a, b = inputs[0], inputs[1]
        assert a is not None
        whole = not a.is_floating_point()  # integers of shapes
        return (torch.div(a, b, rounding_mode="trunc" if whole else None),)

    return operator


def _transpose(node: ir.Node) -> Operator:
    attribute = node.attributes.get("perm")
    order = None if attribute is None else tuple(attribute.as_ints())
    return _unary(lambda x: x.permute(order or tuple(reversed(range(x.ndim)))))


def _squeeze(node: ir.Node) -> Operator:
    axes = axes_of(node, 1)
    return _unary(lambda x: x.squeeze(tuple(axes)) if axes else x.squeeze())


def _unsqueeze(node: ir.Node) -> Operator:
    axes = axes_of(node, 1)

    def grown(x: Tensor) -> Tensor:
        rank = x.ndim + len(axes)
        for axis in sorted(axis % rank for axis in axes):
            x = x.unsqueeze(axis)
        return x

    return _unary(grown)


def _pad(node: ir.Node) -> Operator:
    import torch

    modes = {"constant": "constant", "edge": "replicate", "reflect": "reflect"}
    mode = modes.get(attr_string(node, "mode", "constant"))
    pads = integers(node, 1, "pads")
    has_value = len(node.inputs) > 2 and node.inputs[2] is not None
    fill = scalar(node.inputs[2]) if has_value else attr_float(node, "value", 0.0)
    if mode is None or fill is None or (len(node.inputs) > 3 and node.inputs[3] is not None):
        raise Unsupported("this kind of padding")
    rank = len(pads) // 2
    pairs = [(pads[axis], pads[axis + rank]) for axis in range(rank)]
    while mode != "constant" and len(pairs) > 2 and pairs[0] == (0, 0) and rank - len(pairs) < 2:
        pairs = pairs[1:]  # torch wants only the spatial axes there
    flat = [size for pair in reversed(pairs) for size in pair]
    return _unary(
        partial(
            torch.nn.functional.pad, pad=flat, mode=mode, **({"value": fill} if mode == "constant" else {})
        )
    )


def _cast(node: ir.Node) -> Operator:
    import torch

    kinds = {ir.DataType.FLOAT: torch.float32, ir.DataType.INT64: torch.int64, ir.DataType.INT32: torch.int32}
    kind = kinds.get(ir.DataType(attr_int(node, "to", 0)))
    if kind is None:
        raise Unsupported("a cast to something else than float32, int32 or int64")
    return _unary(lambda x: x.to(kind))


def _gather(node: ir.Node) -> Operator:
    import torch

    index = constant_array(node.inputs[1])
    axis = attr_int(node, "axis", 0)
    if index is None or index.ndim > 1:
        raise Unsupported("its indices are no constant list")
    flat = torch.from_numpy(index.reshape(-1).astype(np.int64))

    def pick(x: Tensor) -> Tensor:
        y: Tensor = x.index_select(axis, flat % x.shape[axis])
        return y if index.ndim else y.squeeze(axis)

    return _unary(pick)


def _depth_to_space(node: ir.Node) -> Operator:
    size = attr_int(node, "blocksize", 1)
    columns_first = attr_string(node, "mode", "DCR") == "CRD"

    def spread(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        if columns_first:
            y = x.reshape(n, c // size**2, size, size, h, w).permute(0, 1, 4, 2, 5, 3)
        else:
            y = x.reshape(n, size, size, c // size**2, h, w).permute(0, 3, 4, 1, 5, 2)
        return y.reshape(n, c // size**2, h * size, w * size)

    return _unary(spread)


OPERATORS: dict[str, Builder] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Gemm": _gemm,
    "MatMul": _binary("matmul"),
    "Add": _binary("add"),
    "Sub": _binary("sub"),
    "Mul": _binary("mul"),
    "Div": _div,
    "Pow": _binary("pow"),
    "Max": _binary("maximum"),
    "Min": _binary("minimum"),
    "Relu": _named("relu"),
    "Sigmoid": _named("sigmoid"),
    "Tanh": _named("tanh"),
    "Sqrt": _named("sqrt"),
    "Exp": _named("exp"),
    "Log": _named("log"),
    "Erf": _named("erf"),
    "Neg": _named("neg"),
    "Abs": _named("abs"),
    "Reciprocal": _named("reciprocal"),
    "Clip": _clip,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "LeakyRelu": _leaky_relu,
    "Elu": _elu,
    "Gelu": _gelu,
    "PRelu": _prelu,
    "BatchNormalization": _batch_normalization,
    "Softmax": _softmax("softmax"),
    "LogSoftmax": _softmax("log_softmax"),
    "GlobalAveragePool": _global_pool("mean"),
    "GlobalMaxPool": _global_pool("amax"),
    "AveragePool": average_pool,
    "MaxPool": max_pool,
    "ReduceMean": _reduce("mean"),
    "ReduceSum": _reduce("sum"),
    "ReduceMax": _reduce("amax"),
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Resize": resize,
    "DepthToSpace": _depth_to_space,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Shape": _shape,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Pad": _pad,
    "Cast": _cast,
    "Identity": _identity,
    "Dropout": _identity,
}
