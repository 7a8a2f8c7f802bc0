"""Operators as a person writes them in a spreadsheet, and as fused groups have them.

kind        input        output       kernel  stride  group  activation  latency_us
Conv        1x3x224x224  1x32x112x112 3       2              relu6       812.5
depthwise   1x32x112x112 1x32x112x112 3x3                    relu6       240
Add         1x24x56x56 1x24x56x56     1x24x56x56                         61
Gemm        1x1280       1x1000                                          95.2
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from hwopt.descriptor import unread
from hwopt.files.untrusted import shorten
from hwopt.oracles.table_file import TableRow
from hwopt.signature import Shape, Signature
from hwopt.target import Target
from hwopt.wording import unknown

_CONVS = {"Conv": "conv", "DepthwiseConv": "depthwise", "GroupedConv": "grouped"}
_SLIDING = {**_CONVS, "ConvTranspose": "transposed", "MaxPool": "pool", "AveragePool": "pool"}
_KIND_OF = {
    **_SLIDING,
    "Gemm": "gemm",
    "MatMul": "matmul",
    "Add": "add",
    "Sub": "add",
    "Mul": "mul",
    "Div": "mul",
    "GlobalAveragePool": "global_pool",
    "GlobalMaxPool": "global_pool",
    "Concat": "concat",
    "Split": "split",
    "Slice": "split",
    "Resize": "resize",
    "Softmax": "softmax",
    "Pad": "pad",
    "Transpose": "transpose",
    "ReduceMean": "reduce",
    "ReduceSum": "reduce",
    **dict.fromkeys(
        ("Clip", "Relu", "LeakyRelu", "PRelu", "Sigmoid", "HardSigmoid", "Tanh", "HardSwish", "Silu", "Gelu"),
        "activation",
    ),
}
_ALIASES = {  # what else the operator may be called; words of signatures among them
    "conv2d": "Conv",
    "pointwise": "Conv",
    "depthwise": "DepthwiseConv",
    "dwconv": "DepthwiseConv",
    "grouped": "GroupedConv",
    "transposed": "ConvTranspose",
    "deconv": "ConvTranspose",
    "fc": "Gemm",
    "linear": "Gemm",
    "global_pool": "GlobalAveragePool",
    "gap": "GlobalAveragePool",
    "swish": "Silu",
    "hswish": "HardSwish",
    "relu6": "Clip",
}
_OPS = {name.lower(): name for name in _KIND_OF} | _ALIASES
_ACTIVATION_OPS = {
    "relu": "Relu",
    "relu6": "Clip",
    "clip": "Clip",
    "hardswish": "HardSwish",
    "silu": "Silu",
    "leaky_relu": "LeakyRelu",
    "prelu": "PRelu",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "hardsigmoid": "HardSigmoid",
}
_ACTIVATIONS = {name: name for name in _ACTIVATION_OPS} | {
    "none": "",
    "hswish": "hardswish",
    "h-swish": "hardswish",
    "swish": "silu",
    "leakyrelu": "leaky_relu",
    "leaky": "leaky_relu",
    "hsigmoid": "hardsigmoid",
    "logistic": "sigmoid",
}
_DIGITS = 9  # of one size: no axis of a map is longer
_ANY_ORDER = ("Add", "Mul")


@dataclass(frozen=True)
class ShapeKey:
    """What tells fused groups apart by shape alone: no weights, no neighbours, no padding."""

    op: str
    inputs: tuple[Shape, ...]
    output: Shape
    kernel: Shape = ()
    strides: Shape = ()
    dilations: Shape = ()
    group: int = 1
    activation: str = ""

    def words(self) -> str:
        """One line for a person."""
        inputs = " ".join("x".join(map(str, shape)) for shape in self.inputs)
        parts = [f"{self.op} {inputs} -> {'x'.join(map(str, self.output))}"]
        if self.kernel:
            parts.append(f"kernel {'x'.join(map(str, self.kernel))}")
            parts.append(f"stride {'x'.join(map(str, self.strides))}")
        if self.activation:
            parts.append(self.activation)
        return ", ".join(parts)


def key_of(signature: Signature) -> ShapeKey:
    """The shape of a fused group."""
    op = signature.ops[0] if signature.ops else signature.kind
    sliding = op in _SLIDING
    return ShapeKey(
        op=op,
        inputs=_ordered(op, signature.inputs),
        output=signature.outputs[0] if signature.outputs else (),
        kernel=signature.kernel if sliding else (),
        strides=signature.strides if sliding else (),
        dilations=signature.dilations if sliding else (),
        group=signature.group,
        activation=signature.activation,
    )


def key_of_row(row: TableRow) -> ShapeKey:
    """The shape that a row of a table describes. Raises BadInput naming the column at fault."""
    op = _OPS.get(row.get("kind").lower(), "")
    if not op:
        raise row.error("kind", unknown("operator", row.get("kind"), [*_KIND_OF, "depthwise", "pointwise"]))
    inputs, outputs = _shapes(row, "input"), _shapes(row, "output")
    if len(outputs) != 1:
        raise row.error("output", f"'{row.get('output')}': one shape, such as 1x24x56x56")
    rank = len(inputs[0])
    if op in _SLIDING and rank != 4:
        raise row.error(
            "input", f"'{row.get('input')}': {op} takes an image, batch x channels x height x width"
        )
    key = ShapeKey(op, _ordered(op, inputs), outputs[0], activation=_activation(row))
    return _sliding(row, key) if op in _SLIDING else _plain(row, key)


def signature_of_row(row: TableRow, target: Target) -> Signature:
    """The signature of what a row describes; weights count as unread, neighbours as unknown."""
    key = key_of_row(row)
    kind = _KIND_OF[key.op]
    if key.op == "Conv" and set(key.kernel) == {1}:
        kind = "pointwise"
    if key.op == "MatMul" and len(key.inputs) == 1:
        kind = "gemm"
    weights = _weights(kind, key)
    follower = (_ACTIVATION_OPS[key.activation],) if key.activation else ()
    return Signature(
        kind=kind,
        ops=(key.op, *follower),
        inputs=key.inputs,
        outputs=(key.output,),
        dtype=target.precision,
        kernel=key.inputs[0][2:] if kind == "global_pool" else key.kernel,
        strides=key.strides,
        pads=_pads(key),
        dilations=key.dilations,
        group=key.group,
        activation=key.activation,
        weight=unread(weights, target) if weights else None,
        bias=(key.output[1] if key.kernel else key.output[-1]) if weights else 0,
    )


def _sliding(row: TableRow, key: ShapeKey) -> ShapeKey:
    """The key of an operator that slides a kernel, from its further cells."""
    c_in, c_out = key.inputs[0][1], key.output[1] if len(key.output) == 4 else 0
    if not c_out:
        raise row.error("output", f"'{row.get('output')}': {key.op} writes an image")
    kernel = (1, 1) if row.get("kind").lower() == "pointwise" else None
    found = ShapeKey(
        key.op,
        key.inputs,
        key.output,
        kernel=_pair(row, "kernel", kernel),
        strides=_pair(row, "stride", (1, 1)),
        dilations=_pair(row, "dilation", (1, 1)),
        group=_group(row, key.op, c_in),
        activation=key.activation,
    )
    if key.op in ("DepthwiseConv", "MaxPool", "AveragePool") and c_in != c_out:
        raise row.error("output", f"'{row.get('output')}': {key.op} keeps the {c_in} channels of its input")
    if c_in % found.group or c_out % found.group:
        raise row.error("group", f"{found.group} groups do not divide {c_in} and {c_out} channels")
    return found


def _plain(row: TableRow, key: ShapeKey) -> ShapeKey:
    for column in ("kernel", "stride", "dilation", "group"):
        if row.get(column):
            raise row.error(column, f"'{row.get(column)}': {key.op} has none, leave the cell empty")
    return key


def _group(row: TableRow, op: str, channels: int) -> int:
    if op == "DepthwiseConv":
        return channels
    if op in ("MaxPool", "AveragePool"):
        return 1
    count = row.whole("group")
    if op == "GroupedConv" and not count:
        raise row.error("group", "is empty: a grouped convolution has a number of groups")
    if op == "Conv" and count not in (None, 1):
        raise row.error("group", f"'{count}': call it DepthwiseConv or GroupedConv")
    return count or 1


def _shapes(row: TableRow, column: str) -> tuple[Shape, ...]:
    """Shapes separated by blanks; sizes by x."""
    shapes = tuple(_sizes(row, column, text) for text in row.get(column).split())
    if not shapes:
        raise row.error(column, "is empty: write a shape, such as 1x24x56x56")
    return shapes


def _sizes(row: TableRow, column: str, text: str) -> Shape:
    parts = text.lower().replace("×", "x").split("x")
    if not all(part.isdecimal() and len(part) <= _DIGITS and int(part) > 0 for part in parts):
        told = shorten(text)
        raise row.error(column, f"'{told}' is no shape: write sizes with x between, such as 1x24x56x56")
    return tuple(int(part) for part in parts)


def _pair(row: TableRow, column: str, default: Shape | None) -> Shape:
    """A size for height and width: 3, or 3x1; numbers that a spreadsheet wrote as 3.0 too."""
    text = row.get(column).removesuffix(".0")
    if not text:
        if default is None:
            raise row.error(column, "is empty: write 3, or 3x1 (height x width)")
        return default
    sizes = _sizes(row, column, text)
    if len(sizes) > 2:
        raise row.error(column, f"'{text}': one number, or height x width")
    return sizes * 2 if len(sizes) == 1 else sizes


def _activation(row: TableRow) -> str:
    text = row.get("activation").lower()
    if text and text not in _ACTIVATIONS:
        raise row.error("activation", unknown("activation", row.get("activation"), _ACTIVATION_OPS))
    return _ACTIVATIONS.get(text, "")


def _ordered(op: str, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
    return tuple(sorted(inputs)) if op in _ANY_ORDER else inputs


def _weights(kind: str, key: ShapeKey) -> int:
    """Elements of the constant operand; 0 where there is none."""
    if key.kernel and kind != "pool":
        return key.inputs[0][1] * key.output[1] // key.group * prod(key.kernel)
    if kind == "gemm":
        return key.inputs[0][-1] * key.output[-1]
    return 0


def _pads(key: ShapeKey) -> Shape:
    """The padding that the sizes imply, the larger half at the end; nothing where it slides nothing."""
    if not key.kernel or key.op == "ConvTranspose":
        return (0, 0, 0, 0) if key.kernel else ()
    sizes = zip(key.inputs[0][2:], key.output[2:], key.kernel, key.strides, key.dilations, strict=True)
    totals = [max((o - 1) * s + (k - 1) * d + 1 - i, 0) for i, o, k, s, d in sizes]
    begins = tuple(total // 2 for total in totals)
    return begins + tuple(total - half for total, half in zip(totals, begins, strict=True))
