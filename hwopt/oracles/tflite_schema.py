"""A TFLite graph as plain values, and its serialisation to a flatbuffer.

Uses the schema classes that ship in the `ethos-u-vela` wheel (`ethosu.vela.tflite`), so no
TensorFlow is needed. Nothing here knows ONNX.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType

import flatbuffers
import numpy as np

from hwopt.nodes import Array

_IDENTIFIER = b"TFL3"
_SCHEMA_VERSION = 3
_TYPES = {"int8": "INT8", "int32": "INT32", "bool": "BOOL"}

# The option table that an operator carries; operators that are missing here carry none.
_OPTIONS = {
    "ADD": "AddOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "GATHER": "GatherOptions",
    "HARD_SWISH": "HardSwishOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "MUL": "MulOptions",
    "PAD": "PadOptions",
    "QUANTIZE": "QuantizeOptions",
    "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions",
    "RESHAPE": "ReshapeOptions",
    "RESIZE_BILINEAR": "ResizeBilinearOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    "RSQRT": "",
    "SOFTMAX": "SoftmaxOptions",
    "SPLIT_V": "SplitVOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "SUB": "SubOptions",
    "SUM": "ReducerOptions",
    "TRANSPOSE": "TransposeOptions",
    "TRANSPOSE_CONV": "TransposeConvOptions",
}


@dataclass(frozen=True)
class Quant:
    """Affine quantisation: real = scale * (stored - zero_point), per tensor or along one axis."""

    scales: tuple[float, ...]
    zero_point: int = 0
    axis: int = 0


@dataclass(frozen=True, eq=False)
class TfTensor:
    """A tensor; `data` is None for feature maps."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "int8"
    quant: Quant | None = None
    data: Array | None = None


@dataclass(frozen=True)
class TfOperator:
    """An operator by its TFLite name; -1 stands for an absent input."""

    opcode: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, int | float | bool] = field(default_factory=dict)


@dataclass(frozen=True)
class TfGraph:
    """One subgraph; inputs and outputs are tensor indices."""

    tensors: Sequence[TfTensor]
    operators: Sequence[TfOperator]
    inputs: Sequence[int]
    outputs: Sequence[int]


def serialise(graph: TfGraph) -> bytes:
    """The graph as a TFLite file.

    Option fields are named as in the schema (`StrideW`, `FusedActivationFunction` ...); an
    unknown one raises AttributeError.
    """
    builder = flatbuffers.Builder(1 << 16)
    codes = sorted({operator.opcode for operator in graph.operators})
    constants = [index for index, tensor in enumerate(graph.tensors) if tensor.data is not None]
    buffer_of = {tensor: 1 + number for number, tensor in enumerate(constants)}
    buffers = [_buffer(builder, None)] + [_buffer(builder, graph.tensors[i].data) for i in constants]
    tensors = [_tensor(builder, tensor, buffer_of.get(i, 0)) for i, tensor in enumerate(graph.tensors)]
    operators = [_operator(builder, operator, codes) for operator in graph.operators]
    subgraph = _table(
        builder,
        "SubGraph",
        Tensors=_offsets(builder, tensors),
        Inputs=_ints(builder, graph.inputs),
        Outputs=_ints(builder, graph.outputs),
        Operators=_offsets(builder, operators),
    )
    root = _table(
        builder,
        "Model",
        Version=_SCHEMA_VERSION,
        OperatorCodes=_offsets(builder, [_code(builder, code) for code in codes]),
        Subgraphs=_offsets(builder, [subgraph]),
        Buffers=_offsets(builder, buffers),
    )
    builder.Finish(root, _IDENTIFIER)
    return bytes(builder.Output())


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"ethosu.vela.tflite.{name}")


def _enum(enum: str, name: str) -> int:
    return int(getattr(getattr(_module(enum), enum), name))


def _table(builder: flatbuffers.Builder, name: str, **fields: int | float | bool) -> int:
    """Writes one flatbuffer table; offsets in `fields` must have been created before."""
    module = _module(name)
    getattr(module, f"{name}Start")(builder)
    for key, value in fields.items():
        getattr(module, f"{name}Add{key}")(builder, value)
    return int(getattr(module, f"{name}End")(builder))


def _offsets(builder: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _ints(builder: flatbuffers.Builder, values: Sequence[int]) -> int:
    return int(builder.CreateNumpyVector(np.asarray(values, np.int32)))


def _buffer(builder: flatbuffers.Builder, data: Array | None) -> int:
    if data is None:
        return _table(builder, "Buffer")
    raw = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
    builder.StartVector(1, len(raw), 16)  # TFLite wants buffers aligned to 16 bytes
    builder.head -= len(raw)
    builder.Bytes[builder.head : builder.head + len(raw)] = raw.tobytes()
    builder.vectorNumElems = len(raw)
    return _table(builder, "Buffer", Data=int(builder.EndVector()))


def _tensor(builder: flatbuffers.Builder, tensor: TfTensor, buffer: int) -> int:
    fields = {
        "Shape": _ints(builder, tensor.shape),
        "Type": _enum("TensorType", _TYPES[tensor.dtype]),
        "Buffer": buffer,
        "Name": int(builder.CreateString(tensor.name)),
    }
    if tensor.quant is not None:
        fields["Quantization"] = _quantization(builder, tensor.quant)
    return _table(builder, "Tensor", **fields)


def _quantization(builder: flatbuffers.Builder, quant: Quant) -> int:
    scales = np.asarray(quant.scales, np.float32)
    zeros = np.full(len(scales), quant.zero_point, np.int64)
    return _table(
        builder,
        "QuantizationParameters",
        Scale=int(builder.CreateNumpyVector(scales)),
        ZeroPoint=int(builder.CreateNumpyVector(zeros)),
        QuantizedDimension=quant.axis,
    )


def _code(builder: flatbuffers.Builder, opcode: str) -> int:
    number = _enum("BuiltinOperator", opcode)
    return _table(
        builder, "OperatorCode", DeprecatedBuiltinCode=min(number, 127), Version=1, BuiltinCode=number
    )


def _operator(builder: flatbuffers.Builder, operator: TfOperator, codes: Sequence[str]) -> int:
    fields = {
        "OpcodeIndex": codes.index(operator.opcode),
        "Inputs": _ints(builder, operator.inputs),
        "Outputs": _ints(builder, operator.outputs),
    }
    options = _OPTIONS.get(operator.opcode)
    if options:
        fields["BuiltinOptionsType"] = _enum("BuiltinOptions", options)
        fields["BuiltinOptions"] = _table(builder, options, **operator.options)
    return _table(builder, "Operator", **fields)
