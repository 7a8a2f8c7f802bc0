"""Lowering of an ONNX model to an int8 TFLite file, operator by operator.

    lowered = lower(model, guarded=True)

The file is for a compiler's cost model: real weights quantised per channel, a fixed scheme
for activations. What has no form here is named, and the graph is cut around it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import onnx_ir as ir

from hwopt.nodes import ONNX_DOMAINS
from hwopt.oracles import tflite_conv, tflite_elementwise, tflite_norm, tflite_pool, tflite_shape
from hwopt.oracles.tflite_elementwise import operands, unary
from hwopt.oracles.tflite_facts import find_facts
from hwopt.oracles.tflite_graph import Builder, Feature, Layout, NotLowered, to_last
from hwopt.oracles.tflite_layout import prefers_last
from hwopt.oracles.tflite_pads import SAME, Window
from hwopt.oracles.tflite_patterns import GELU, HARD_SWISH, SHUFFLE, Pattern, find_patterns
from hwopt.oracles.tflite_pool import pool_options
from hwopt.oracles.tflite_quant import FEATURE
from hwopt.oracles.tflite_schema import TfGraph, serialise

Handler = Callable[[Builder, ir.Node], None]

OPERATORS: Mapping[str, Handler] = MappingProxyType(
    {
        "Abs": tflite_elementwise.lower_unary,
        "Add": tflite_elementwise.lower_binary,
        "AveragePool": tflite_pool.lower_pool,
        "BatchNormalization": tflite_elementwise.lower_batch_norm,
        "Cast": tflite_shape.lower_identity,
        "Clip": tflite_elementwise.lower_clip,
        "Concat": tflite_shape.lower_concat,
        "Conv": tflite_conv.lower_conv,
        "ConvTranspose": tflite_conv.lower_conv_transpose,
        "DequantizeLinear": tflite_shape.lower_identity,
        "Div": tflite_elementwise.lower_div,
        "Dropout": tflite_shape.lower_identity,
        "Elu": tflite_elementwise.lower_unary,
        "Exp": tflite_elementwise.lower_unary,
        "Flatten": tflite_shape.lower_reshape,
        "Gather": tflite_shape.lower_gather,
        "Gelu": tflite_elementwise.lower_unary,
        "Gemm": tflite_conv.lower_gemm,
        "GlobalAveragePool": tflite_pool.lower_global_pool,
        "GlobalMaxPool": tflite_pool.lower_global_pool,
        "HardSigmoid": tflite_elementwise.lower_hard_sigmoid,
        "HardSwish": tflite_elementwise.lower_unary,
        "Identity": tflite_shape.lower_identity,
        "InstanceNormalization": tflite_norm.lower_instance_norm,
        "LayerNormalization": tflite_norm.lower_layer_norm,
        "LeakyRelu": tflite_elementwise.lower_leaky_relu,
        "Log": tflite_elementwise.lower_unary,
        "MatMul": tflite_conv.lower_matmul,
        "Max": tflite_elementwise.lower_extrema,
        "MaxPool": tflite_pool.lower_pool,
        "Min": tflite_elementwise.lower_extrema,
        "Mul": tflite_elementwise.lower_binary,
        "Neg": tflite_elementwise.lower_unary,
        "PRelu": tflite_elementwise.lower_prelu,
        "Pad": tflite_shape.lower_pad,
        "Pow": tflite_elementwise.lower_pow,
        "QuantizeLinear": tflite_shape.lower_identity,
        "ReduceMax": tflite_pool.lower_reduction,
        "ReduceMean": tflite_pool.lower_reduction,
        "ReduceMin": tflite_pool.lower_reduction,
        "ReduceSum": tflite_pool.lower_reduction,
        "Relu": tflite_elementwise.lower_clip,
        "Reshape": tflite_shape.lower_reshape,
        "Resize": tflite_shape.lower_resize,
        "Sigmoid": tflite_elementwise.lower_unary,
        "Slice": tflite_shape.lower_slice,
        "Softmax": tflite_elementwise.lower_softmax,
        "Split": tflite_shape.lower_split,
        "Sqrt": tflite_elementwise.lower_sqrt,
        "Squeeze": tflite_shape.lower_reshape,
        "Sub": tflite_elementwise.lower_binary,
        "Tanh": tflite_elementwise.lower_unary,
        "Transpose": tflite_shape.lower_transpose,
        "Unsqueeze": tflite_shape.lower_reshape,
        "Upsample": tflite_shape.lower_resize,
    }
)


@dataclass(frozen=True)
class Missing:
    """An operator that was not lowered: the first of its outputs, its type, and why."""

    output: str
    op_type: str
    reason: str


@dataclass(frozen=True)
class Lowered:
    """A TFLite file, and what belongs to what.

    owners: for each operator of the file the ONNX value it is charged to; None for guards.
    """

    file: bytes
    owners: tuple[str | None, ...]
    missing: tuple[Missing, ...]


def lower(model: ir.Model, guarded: bool = False) -> Lowered:
    """The main graph as int8 TFLite, batch 1, channels-last.

    guarded: a 2x2 stride-1 max-pool stands before each input of rank 4 with more than 4
    channels and after each output of rank 4, so that an operator sees neighbours as it does
    inside a network. Never raises for an operator: what is not lowered is in `missing`, its
    outputs become inputs of the file and its inputs outputs.
    """
    facts = find_facts(model)
    builder = Builder(facts)
    inputs = [value for value in model.graph.inputs if value.name not in facts.constants]
    starts = [_start(builder, value, guarded) for value in inputs if facts.shape(value) is not None]
    missing: list[Missing] = []
    patterns = find_patterns(model, facts)
    inside = {name for pattern in patterns.values() for name in pattern.inside}
    builder.done |= inside
    loose: list[ir.Value] = []
    for node in model.graph:
        if _settled(builder, node):
            continue
        problem = _lower_node(builder, node, patterns.get(node.outputs[0].name or ""))
        if problem is not None:
            missing.append(problem)
            loose += [value for value in node.inputs if value is not None]
            starts += [_cut(builder, value) for value in node.outputs if facts.shape(value) is not None]
    ends = _ends(builder, [*model.graph.outputs, *loose], starts, guarded)
    graph = TfGraph(builder.tensors, builder.operators, _used(builder, starts, ends), ends)
    return Lowered(serialise(graph) if builder.operators else b"", tuple(builder.owners), tuple(missing))


def _settled(builder: Builder, node: ir.Node) -> bool:
    """Constants, and nodes that another one has computed along."""
    names = [value.name or "" for value in node.outputs if value.name]
    if all(name in builder.facts.constants for name in names):
        return True
    return names[0] in builder.done


def _lower_node(builder: Builder, node: ir.Node, pattern: Pattern | None) -> Missing | None:
    """Lowers one node; on failure takes back what it had added and says why."""
    output = node.outputs[0].name or ""
    builder.owner = output
    before = (len(builder.operators), set(builder.done))
    try:
        if pattern is not None:
            _lower_pattern(builder, node, pattern)
        else:
            _handler(node)(builder, node)
        return None
    except NotLowered as error:
        reason = str(error)
    except (ValueError, IndexError, TypeError, KeyError) as error:  # a form nobody thought of
        reason = f"cannot be read ({type(error).__name__}: {error})"
    del builder.operators[before[0] :], builder.owners[before[0] :]
    builder.done = before[1]
    return Missing(output, node.op_type, reason)


def _handler(node: ir.Node) -> Handler:
    handler = OPERATORS.get(node.op_type) if node.domain in ONNX_DOMAINS else None
    if handler is None:
        raise NotLowered("the operator has no form in TFLite here")
    return handler


def _lower_pattern(builder: Builder, node: ir.Node, pattern: Pattern) -> None:
    if pattern.kind in (HARD_SWISH, GELU):
        opcode = "HARD_SWISH" if pattern.kind == HARD_SWISH else "GELU"
        unary(builder, pattern.inputs[0], opcode, FEATURE, node.outputs[0])
        return
    if pattern.kind == SHUFFLE:
        source, swapped = pattern.inputs
        tflite_shape.lower_shuffle(builder, source, swapped, node.outputs[0])
        return
    left, variance = operands(builder, pattern.inputs)
    root = builder.emit("RSQRT", (variance.index,), builder.new(variance.shape, variance.layout))
    output = builder.new(left.shape, left.layout, FEATURE, node.outputs[0].name)
    builder.bind(node.outputs[0], builder.emit("MUL", (left.index, root.index), output))


def _start(builder: Builder, value: ir.Value, guarded: bool) -> int:
    """The tensor of a graph input, behind its guard if it gets one."""
    shape = builder.shape(value)
    layout = Layout.LAST if len(shape) >= 3 and prefers_last(value, len(shape)) else Layout.PLAIN
    stored = to_last(shape) if layout is Layout.LAST else shape
    feature = builder.new(stored, layout, FEATURE, value.name)
    builder.bind(value, feature)
    if not guarded or len(shape) != 4 or stored[-1] <= 4:
        return feature.index
    source = builder.new(stored, layout, FEATURE, f"{value.name}/#before")
    _guard(builder, source, feature)
    return source.index


def _guard(builder: Builder, source: Feature, output: Feature) -> None:
    builder.owner = None
    window = Window((2, 2), (1, 1), (1, 1), None, "SAME_UPPER")
    builder.emit("MAX_POOL_2D", (source.index,), output, pool_options(window, SAME, 0))


def _cut(builder: Builder, value: ir.Value) -> int:
    """A fresh input of the file in place of a value that nothing computes."""
    builder.owner = value.name
    return _start(builder, value, guarded=False)


def _ends(builder: Builder, values: list[ir.Value], starts: list[int], guarded: bool) -> list[int]:
    """The tensors of the graph's outputs, each behind its guard if it gets one."""
    ends: dict[int, None] = {}
    for value in values:
        feature = builder.features.get(value.name or "")
        if feature is None or feature.index in starts or builder.tensors[feature.index].data is not None:
            continue
        if guarded and len(feature.shape) == 4:
            after = builder.new(feature.shape, feature.layout, feature.quant, f"{value.name}/#after")
            _guard(builder, feature, after)
            feature = after
        ends[feature.index] = None
    return list(ends)


def _used(builder: Builder, starts: list[int], ends: list[int]) -> list[int]:
    """Inputs that an operator of the file reads."""
    read = {index for operator in builder.operators for index in operator.inputs}
    return [index for index in dict.fromkeys(starts) if index in read or index in ends]
