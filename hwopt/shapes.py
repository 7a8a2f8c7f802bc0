"""Shapes and dtypes of every value, bound to concrete input sizes on an analysis copy.

The model itself is never touched: what a rewrite may do must not depend on these sizes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import onnx
import onnx_ir as ir

from hwopt.errors import BadInput
from hwopt.guard.client import NotRun, inferred
from hwopt.shapes_proto import without_weight_data
from hwopt.shapes_run import run_for_shapes


@dataclass(frozen=True)
class TensorInfo:
    """A tensor's concrete shape and element type."""

    shape: tuple[int, ...]
    dtype: ir.DataType

    @property
    def elements(self) -> int:
        """Number of elements; 1 for a scalar."""
        return prod(self.shape)


def parse_input_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """Reads `NAME:1,3,224,224`. Raises BadInput where it is something else."""
    name, _, sizes = text.rpartition(":")
    try:
        shape = tuple(int(size) for size in sizes.split(",")) if sizes.strip() else ()
    except ValueError:
        shape = (0,)
    if not name or any(size < 1 for size in shape):
        raise BadInput(f"input shape '{text}' is not of the form NAME:1,3,224,224 with sizes of at least 1")
    return name, shape


def bind_inputs(model: ir.Model, input_shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """A concrete shape for every graph input that is no initializer.

    A dynamic first axis (the batch) counts as 1; every other dynamic axis needs an entry in
    `input_shapes`. Raises BadInput naming the input and the axis, or the entry at fault.
    """
    inputs = {value.name or "": value for value in model.graph.inputs}
    for name in input_shapes:
        if name not in inputs:
            raise BadInput(f"--input-shape names '{name}', but the model's inputs are {', '.join(inputs)}")
    return {
        name: _bind(value, input_shapes.get(name))
        for name, value in inputs.items()
        if not value.is_initializer() and isinstance(value.type, ir.TensorType)
    }


def infer_shapes(model: ir.Model, input_shapes: Mapping[str, tuple[int, ...]]) -> dict[str, TensorInfo]:
    """Shape and dtype of every tensor of the main graph, constants included, by name.

    onnx.shape_inference does it where it can; what it leaves open is read off one run of
    ONNX Runtime on inputs of ones. Values that are no tensors, texts (whose size in bytes nobody
    knows), those behind operators that ONNX Runtime does not know, and those whose shapes hang on
    what an input holds, where the model does not run on ones, are absent. Raises BadInput for inputs
    that cannot be bound (see bind_inputs) and for sizes of free axes that the model does not run
    with (hwopt.shapes_run).
    """
    bound = bind_inputs(model, input_shapes)
    known = _infer_statically(model, bound)
    missing = [name for name in _tensor_names(model) if name not in known]
    found = run_for_shapes(model, bound, missing) if missing else {}
    known |= {name: TensorInfo(shape, dtype) for name, (shape, dtype) in found.items()}
    return {name: info for name, info in known.items() if info.dtype != ir.DataType.STRING}


@dataclass(frozen=True)
class StaticInfo:
    """What is known of a tensor whatever the input's size: None for an axis that varies."""

    dims: tuple[int | None, ...]
    dtype: ir.DataType


def static_shapes(model: ir.Model) -> dict[str, StaticInfo]:
    """Shape and dtype of every value as far as they hold for all inputs that the model accepts.

    Values whose rank is unknown are absent.
    """
    proto = without_weight_data(model)
    for info in proto.graph.input:
        for dim in info.type.tensor_type.shape.dim:
            if dim.dim_value < 0:
                dim.Clear()
    _bind_proto(proto, {})
    return _inferred(proto)


def _size(dim: onnx.TensorShapeProto.Dimension) -> int | None:
    return dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None


def _bind(value: ir.Value, given: tuple[int, ...] | None) -> tuple[int, ...]:
    dims = (
        None if value.shape is None else [d if isinstance(d, int) and d >= 0 else None for d in value.shape]
    )
    if given is not None:
        return _checked(value, dims, given)
    if dims is None:
        raise BadInput(
            f"input '{value.name}' has no shape: give it with --input-shape {value.name}:1,3,224,224"
        )
    for axis, dim in enumerate(dims):
        if dim is None and axis > 0:
            example = ",".join(["1" if dims[0] is None else str(dims[0]), *(_example(d) for d in dims[1:])])
            raise BadInput(
                f"input '{value.name}' is dynamic in axis {axis}: give its shape, "
                f"for example --input-shape {value.name}:{example}"
            )
    return tuple(1 if dim is None else dim for dim in dims)


def _example(dim: int | None) -> str:
    return "224" if dim is None else str(dim)


def _checked(value: ir.Value, dims: list[int | None] | None, given: tuple[int, ...]) -> tuple[int, ...]:
    wrong = dims is not None and (
        len(dims) != len(given) or any(d not in (None, g) for d, g in zip(dims, given, strict=True))
    )
    if wrong or any(size < 1 for size in given):
        raise BadInput(
            f"--input-shape {value.name}:{','.join(map(str, given))} does not fit the model's {value.shape}"
        )
    return given


def _tensor_names(model: ir.Model) -> Iterator[str]:
    """Every value that some node computes and that may be a tensor, in graph order."""
    for node in model.graph:
        for value in node.outputs:
            if value.name and (value.type is None or isinstance(value.type, ir.TensorType)):
                yield value.name


def _infer_statically(model: ir.Model, bound: Mapping[str, tuple[int, ...]]) -> dict[str, TensorInfo]:
    proto = without_weight_data(model)
    _bind_proto(proto, bound)
    known: dict[str, TensorInfo] = {}
    for name, info in _inferred(proto).items():
        shape = tuple(dim for dim in info.dims if dim is not None)
        if len(shape) == len(info.dims):
            known[name] = TensorInfo(shape, info.dtype)
    return known


def _inferred(proto: onnx.ModelProto) -> dict[str, StaticInfo]:
    """What onnx.shape_inference says of each tensor whose rank it knows."""
    found = inferred(proto.SerializeToString())
    if isinstance(found, NotRun):  # it gave up: a run may say more
        return {}
    graph = onnx.ModelProto.FromString(found).graph
    known = {
        tensor.name: StaticInfo(tuple(tensor.dims), ir.DataType(tensor.data_type))
        for tensor in graph.initializer
    }
    for info in (*graph.input, *graph.value_info, *graph.output):
        tensor_type = info.type.tensor_type
        if info.type.HasField("tensor_type") and tensor_type.HasField("shape") and tensor_type.elem_type:
            dims = tuple(_size(dim) for dim in tensor_type.shape.dim)
            known[info.name] = StaticInfo(dims, ir.DataType(tensor_type.elem_type))
    return known


def _bind_proto(proto: onnx.ModelProto, bound: Mapping[str, tuple[int, ...]]) -> None:
    """Writes the sizes into the inputs and forgets those of outputs, which may be stale or symbolic."""
    for info in proto.graph.input:
        if info.name in bound:
            info.type.tensor_type.shape.Clear()
            for size in bound[info.name]:
                info.type.tensor_type.shape.dim.add(dim_value=size)
    for info in proto.graph.output:
        if info.type.HasField("tensor_type"):
            info.type.tensor_type.ClearField("shape")
