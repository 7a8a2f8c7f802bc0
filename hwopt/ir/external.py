"""External tensor data: into memory on load, never from outside the model's folder; out again on save."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
import onnx_ir as ir

from hwopt.errors import BadInput

EXTERNAL = "hwopt.external_data"  # key in graph.meta: some weights came out of files of their own


def embed_external_data(proto: onnx.ModelProto, folder: Path) -> bool:
    """Moves every external tensor into the proto, in place; returns whether there was any.

    Raises BadInput for a file that is missing, too short, or outside the folder (absolute
    path, `..`, or a symlink that leaves).
    """
    found = False
    for tensor in _tensors(proto):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            tensor.raw_data = _read(tensor, folder)
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
            found = True
    return found


def move_out(proto: onnx.ModelProto, path: Path, from_bytes: int) -> None:
    """Writes every tensor of at least `from_bytes` to one file and refers to it, in place."""
    with path.open("wb") as file:
        for tensor in _tensors(proto):
            if tensor.data_type == onnx.TensorProto.STRING:
                continue
            data = ir.serde.TensorProtoTensor(tensor).tobytes()  # whichever field held it
            if len(data) < from_bytes:
                continue
            offset = file.tell()
            file.write(data)
            _refer(tensor, path.name, offset, len(data))


def _refer(tensor: onnx.TensorProto, location: str, offset: int, length: int) -> None:
    moved = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    moved.doc_string = tensor.doc_string
    moved.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        moved.external_data.add(key=key, value=value)
    tensor.CopyFrom(moved)


def _tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from _graph_tensors(proto.graph)
    for function in proto.functions:
        for node in function.node:
            yield from _node_tensors(node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _node_tensors(node)


def _node_tensors(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        if attribute.HasField("g"):
            yield from _graph_tensors(attribute.g)
        for graph in attribute.graphs:
            yield from _graph_tensors(graph)


def _read(tensor: onnx.TensorProto, folder: Path) -> bytes:
    """The tensor's bytes out of its file."""
    fields = {entry.key: entry.value for entry in tensor.external_data}
    path = _inside(fields.get("location", ""), folder, tensor.name)
    try:
        offset = int(fields.get("offset", 0))
        length = int(fields["length"]) if "length" in fields else -1
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(length)
    except (OSError, ValueError) as error:
        raise BadInput(f"tensor '{tensor.name}': external data {path} cannot be read: {error}") from None
    if length >= 0 and len(data) != length:
        raise BadInput(
            f"tensor '{tensor.name}': external data {path} is too short: "
            f"{length} bytes expected at {offset}, {len(data)} found"
        )
    return data


def _inside(location: str, folder: Path, name: str) -> Path:
    """The file that `location` names, once it is certain that it lies inside the folder."""
    absolute = PurePosixPath(location).is_absolute() or PureWindowsPath(location).drive
    parts = PurePosixPath(location.replace("\\", "/")).parts
    if not location or absolute or ".." in parts:
        raise BadInput(
            f"tensor '{name}': external data '{location}' must be a path inside the model's folder"
        )
    path = folder / location
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BadInput(f"tensor '{name}': external data '{location}' is a link out of the model's folder")
    if not path.is_file():
        raise BadInput(f"tensor '{name}': external data file {path} is missing: put it beside the model")
    return path
