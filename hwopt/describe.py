"""From the nodes of one operator group to its signature (context apart)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.descriptor import WeightDescriptor, describe
from hwopt.nodes import attr_int, attr_ints, attr_string, constant, constant_array, is_op
from hwopt.shapes import TensorInfo
from hwopt.signature import Shape, Signature
from hwopt.target import Target

Shapes = Mapping[str, TensorInfo]

VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout")

_KIND_OF = {
    "ConvTranspose": "transposed",
    "Gemm": "gemm",
    "Add": "add",
    "Sub": "add",
    "Mul": "mul",
    "Div": "mul",
    "Pow": "mul",
    "MaxPool": "pool",
    "AveragePool": "pool",
    "GlobalAveragePool": "global_pool",
    "GlobalMaxPool": "global_pool",
    "Concat": "concat",
    "Split": "split",
    "Slice": "split",
    "Resize": "resize",
    "Upsample": "resize",
    "Softmax": "softmax",
    "LogSoftmax": "softmax",
    "Pad": "pad",
    "Transpose": "transpose",
    **dict.fromkeys(VIEWS, "view"),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2"), "reduce"),
    **dict.fromkeys(
        (
            "Clip", "Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Gelu", "Sigmoid", "HardSigmoid",
            "Tanh", "HardSwish", "Silu", "Mish", "Softplus", "Softsign",
            "Abs", "Neg", "Sqrt", "Exp", "Log", "Erf",
        ),
        "activation",
    ),
}  # fmt: skip

_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "concat": ("axis",),
    "split": ("axis", "axes", "starts", "ends", "steps"),
    "softmax": ("axis",),
    "transpose": ("perm",),
    "resize": ("mode", "coordinate_transformation_mode", "nearest_mode"),
    "reduce": ("axes", "keepdims"),
    "pool": ("count_include_pad", "ceil_mode"),
    "transposed": ("output_padding",),
    "gemm": ("transA",),
}


@dataclass(frozen=True)
class Group:
    """Nodes that run as one unit: an anchor, then the followers fused into it.

    ops: what each counts as (one word per follower, however many nodes it is written with).
    activation: the word for the fused activation, "" where there is none.
    inputs: activations read, constants left out; outputs: values that others may read.
    """

    nodes: tuple[ir.Node, ...]
    ops: tuple[str, ...]
    activation: str
    inputs: tuple[ir.Value, ...]
    outputs: tuple[ir.Value, ...]

    @property
    def anchor(self) -> ir.Node:
        return self.nodes[0]


def kind_of(group: Group) -> str:
    """The word of signature.KINDS for what the group's anchor does."""
    node, op = group.anchor, group.ops[0]
    if op in ("Conv", "DepthwiseConv", "GroupedConv"):
        return _conv_kind(node, op)
    if op == "MatMul":
        return "gemm" if len(group.inputs) == 1 else "matmul"
    if op == "ReduceMean" and _reduces_image(node):
        return "global_pool"
    return _KIND_OF.get(op, "other") if node.domain in ("", "ai.onnx") else "other"


def _conv_kind(node: ir.Node, op: str) -> str:
    if op != "Conv":
        return "depthwise" if op == "DepthwiseConv" else "grouped"
    weight = constant(node.inputs[1])
    shape = () if weight is None else tuple(weight.shape)
    return "pointwise" if all(k == 1 for k in shape[2:]) and len(shape) > 2 else "conv"


def reduced_axes(node: ir.Node) -> Shape:
    """The axes that a Reduce node names, as attribute or (from opset 18) as constant input."""
    axes = attr_ints(node, "axes", ())
    if not axes and len(node.inputs) > 1:
        array = constant_array(node.inputs[1])
        axes = () if array is None else tuple(int(axis) for axis in array.reshape(-1))
    return axes


def _reduces_image(node: ir.Node) -> bool:
    return tuple(sorted(reduced_axes(node))) in ((2, 3), (-2, -1))


def target_op(node: ir.Node) -> str:
    """The operator's name in target files: convolutions are told apart by their groups."""
    if not is_op(node, "Conv") or attr_int(node, "group", 1) == 1:
        return node.op_type
    weight = constant(node.inputs[1])
    if weight is None or len(weight.shape) < 2:
        return "GroupedConv"
    depthwise = weight.shape[1] == 1 and weight.shape[0] == attr_int(node, "group", 1)
    return "DepthwiseConv" if depthwise else "GroupedConv"


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if len(node.inputs) > index else None


def shape_of(value: ir.Value, shapes: Shapes) -> Shape | None:
    """The value's static shape, or None where it is unknown."""
    info = shapes.get(value.name or "")
    return None if info is None else tuple(info.shape)


@dataclass(frozen=True)
class Context:
    """A group's neighbours: producers, consumers and shared as in hwopt.signature."""

    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    shared: int


def signature_of(group: Group, kind: str, shapes: Shapes, target: Target, context: Context) -> Signature:
    """The group's signature; unknown shapes are written as ()."""
    node = group.anchor
    weight, bias = _weights(group, kind, target)
    inputs = tuple(shape_of(value, shapes) or () for value in group.inputs)
    outputs = tuple(shape_of(value, shapes) or () for value in group.outputs)
    kernel = _kernel(node, kind, inputs)
    spatial = _spatial(node, kernel, inputs, outputs)
    return Signature(
        kind=kind,
        ops=group.ops,
        inputs=inputs,
        outputs=outputs,
        dtype=target.precision,
        kernel=kernel,
        **spatial,
        group=attr_int(node, "group", 1) if kind in _GROUPED else 1,
        activation=group.activation,
        producers=context.producers,
        consumers=context.consumers,
        weight=weight,
        bias=bias,
        shared=context.shared,
        attributes=_options(node, kind),
    )


_GROUPED = ("depthwise", "grouped", "transposed")


def _weights(group: Group, kind: str, target: Target) -> tuple[WeightDescriptor | None, int]:
    """Descriptor of the anchor's constant operand (the largest one), and the bias' size."""
    node = group.anchor
    if kind in ("conv", "depthwise", "grouped", "pointwise", "transposed", "gemm"):
        position = next((i for i, value in enumerate(node.inputs[:2]) if constant(value) is not None), None)
        tensor = None if position is None else constant(node.inputs[position])
        if tensor is None:
            return None, 0
        bias = constant(_input(node, 2)) if node.op_type != "MatMul" else _added(group)
        axis = _channel_axis(node, kind, len(tensor.shape))
        return describe(tensor, axis, target), 0 if bias is None else int(bias.size)
    if kind in ("add", "mul"):
        operands = [tensor for tensor in map(constant, node.inputs) if tensor is not None]
        if operands:
            largest = max(operands, key=lambda tensor: int(tensor.size))
            return describe(largest, max(len(largest.shape) - 1, 0), target), 0
    return None, 0


def _added(group: Group) -> ir.TensorProtocol | None:
    """The bias that a MatMul's group adds."""
    add = group.nodes[1] if len(group.nodes) > 1 and is_op(group.nodes[1], "Add") else None
    return None if add is None else next((t for t in map(constant, add.inputs) if t is not None), None)


def _channel_axis(node: ir.Node, kind: str, rank: int) -> int:
    if kind == "transposed":
        return 1
    if kind == "gemm":
        return 0 if node.op_type == "Gemm" and attr_int(node, "transB", 0) else rank - 1
    return 0


def _kernel(node: ir.Node, kind: str, inputs: tuple[Shape, ...]) -> Shape:
    if kind in ("conv", "depthwise", "grouped", "pointwise", "transposed"):
        weight = constant(node.inputs[1])
        return () if weight is None else tuple(weight.shape.numpy()[2:])
    if kind == "pool":
        return attr_ints(node, "kernel_shape", ())
    if kind == "global_pool" and inputs:
        return inputs[0][2:]
    return ()


def _spatial(
    node: ir.Node, kernel: Shape, inputs: tuple[Shape, ...], outputs: tuple[Shape, ...]
) -> dict[str, Shape]:
    """Strides, pads and dilations of an operator that slides a kernel; nothing for others."""
    if not kernel or not is_op(node, "Conv", "ConvTranspose", "MaxPool", "AveragePool"):
        return {}
    strides = attr_ints(node, "strides", (1,) * len(kernel))
    dilations = attr_ints(node, "dilations", (1,) * len(kernel))
    pads = attr_ints(node, "pads", (0,) * 2 * len(kernel))
    mode = attr_string(node, "auto_pad", "NOTSET")
    if mode.startswith("SAME") and inputs and inputs[0] and outputs[0] and not is_op(node, "ConvTranspose"):
        sizes = zip(inputs[0][2:], outputs[0][2:], kernel, strides, dilations, strict=True)
        pads = _same_pads(mode, [max((o - 1) * s + (k - 1) * d + 1 - i, 0) for i, o, k, s, d in sizes])
    return {"strides": strides, "pads": pads, "dilations": dilations}


def _same_pads(mode: str, totals: Sequence[int]) -> Shape:
    small, large = tuple(t // 2 for t in totals), tuple(t - t // 2 for t in totals)
    return small + large if mode == "SAME_UPPER" else large + small


def _options(node: ir.Node, kind: str) -> tuple[tuple[str, str], ...]:
    if kind == "reduce":
        axes = ",".join(str(axis) for axis in reduced_axes(node))
        return (("axes", axes), ("keepdims", str(attr_int(node, "keepdims", 1))))
    names = [name for name in _OPTIONS.get(kind, ()) if name in node.attributes]
    return tuple((name, _text(node.attributes[name])) for name in sorted(names))


def _text(attribute: ir.Attr) -> str:
    readers: Mapping[ir.AttributeType, Callable[[], object]] = {
        ir.AttributeType.INT: attribute.as_int,
        ir.AttributeType.STRING: attribute.as_string,
        ir.AttributeType.INTS: lambda: ",".join(str(item) for item in attribute.as_ints()),
    }
    read = readers.get(attribute.type)
    return "" if read is None else str(read())
