"""External tensor data: checked on load and left where it is; out again on save (`hwopt.ir.out`).

A tensor of up to `EMBEDDED_BYTES` comes into memory, for it may be a shape or an axis that decides what
operators do. A larger initializer stays in its file (`hwopt.ir.stored`): nothing of it but what tells it from
another is read until somebody asks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
import onnx_ir as ir

from hwopt.errors import BadInput
from hwopt.files.data_file import DataFile
from hwopt.ir.stored import FileTensor, Reading, bits_of, sampled

EXTERNAL = "hwopt.external_data"  # key in graph.meta: some weights came out of files of their own
EMBEDDED_BYTES = 16 << 10
CLAIMED_TIMES = 4  # weights may share bytes of a file; all of them together refer to so many times its size,
CLAIMED_ANYWAY = 64 << 20  # and to so many bytes besides


@dataclass(frozen=True)
class External:
    """What is kept of a model's external data, under EXTERNAL. digest: see `ExternalData.digest`."""

    files: tuple[str, ...]
    digest: str


class ExternalData:
    """The files beside a model that hold its weights, each looked at once.

    folder: the model's. Nothing outside of it is opened.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, DataFile] = {}
        self._claimed: dict[str, int] = {}
        self._digest = hashlib.sha256()

    def __bool__(self) -> bool:
        return bool(self._files)

    @property
    def found(self) -> External:
        """What was found.

        digest: a SHA-256 of what the files hold for this model: every tensor that was embedded in full, and
        of a larger one `sampled`, so that a model of many gigabytes is known by some megabytes of it. Who
        trains a model changes every weight; who changes a few numbers by hand that lie between the samples
        has a file that counts as the same, and a plan for one is carried out, and verified, on the other.
        """
        files = {file.path for file in self._files.values()}
        return External(tuple(sorted(files)), self._digest.hexdigest())

    def embed_small(self, proto: onnx.ModelProto) -> None:
        """Checks every external tensor of a model, and moves into the proto those that are small.

        Those of nested graphs, attributes, functions and sparse tensors, too, whatever their size: a tool
        that is handed a model as bytes can be told of an initializer that lies elsewhere, but of no other.

        Raises BadInput for a file that is missing, too short, no regular file or outside the folder
        (absolute path, `..`, or a link that leaves).
        """
        for tensor in proto.graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                file, offset, length = self._place(tensor)
                if length <= EMBEDDED_BYTES:
                    self._embed(tensor, file, offset, length)
                else:
                    self._sample(file, offset, length)
        for tensor in _always_whole(proto):
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                self._embed(tensor, *self._place(tensor))

    def bind(self, model: ir.Model) -> None:
        """Every initializer of the model that is left in a file becomes one that is read when asked for."""
        for value in model.graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value = self._stored(value.const_value)

    def _stored(self, tensor: ir.ExternalTensor) -> FileTensor:
        file = self._files[str(tensor.location)]
        bound = FileTensor(file, tensor.offset or 0, tensor.dtype, tensor.shape, tensor.name)
        bound.doc_string = tensor.doc_string
        bound.metadata_props.update(tensor.metadata_props)
        return bound

    def _place(self, tensor: onnx.TensorProto) -> tuple[DataFile, int, int]:
        """Where a tensor's bytes lie, once it is certain that they are there."""
        fields = {entry.key: entry.value for entry in tensor.external_data}
        location, needed = fields.get("location", ""), _bytes_of(tensor)
        file = self._file(location, tensor.name)
        try:
            offset = int(fields.get("offset") or 0)
            length = int(fields["length"]) if "length" in fields else needed
        except ValueError:
            offset = length = -1
        if offset < 0 or length < 0:
            raise BadInput(f"tensor '{tensor.name}': external data {file.path} has no such place: {fields}")
        if length != needed:
            raise BadInput(
                f"tensor '{tensor.name}': its shape needs {needed} bytes, its external data {file.path} "
                f"is said to be {length}"
            )
        if offset + length > file.size:
            raise BadInput(
                f"tensor '{tensor.name}': external data {file.path} is too short: "
                f"{length} bytes expected at {offset}, {max(file.size - offset, 0)} found; copy it again, or "
                "export model and data together"
            )
        self._claim(location, length, file)
        return file, offset, length

    def _claim(self, location: str, length: int, file: DataFile) -> None:
        """Counts what tensors ask of a file: a small one could be claimed ten thousand times."""
        claimed = self._claimed[location] = self._claimed.get(location, 0) + length
        if claimed > CLAIMED_TIMES * file.size + CLAIMED_ANYWAY:
            raise BadInput(
                f"external data {file.path} has {file.size} bytes, and tensors refer to more than "
                f"{CLAIMED_TIMES} times as many: store each weight once"
            )

    def _embed(self, tensor: onnx.TensorProto, file: DataFile, offset: int, length: int) -> None:
        with file.opened() as descriptor:
            tensor.raw_data = Reading(descriptor, offset).part(0, length)
        self._digest.update(tensor.raw_data)
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")

    def _sample(self, file: DataFile, offset: int, length: int) -> None:
        with file.opened() as descriptor:
            for block in sampled(Reading(descriptor, offset), length):
                self._digest.update(block)

    def _file(self, location: str, name: str) -> DataFile:
        if location not in self._files:
            path = _inside(location, self._folder, name)
            try:
                self._files[location] = DataFile.at(path)
            except OSError as error:
                raise BadInput(f"tensor '{name}': external data {path} cannot be read: {error}") from None
        return self._files[location]


def _bytes_of(tensor: onnx.TensorProto) -> int:
    dtype = ir.DataType(tensor.data_type)
    if dtype == ir.DataType.STRING:
        raise BadInput(f"tensor '{tensor.name}': strings cannot be external data")
    elements = 1
    for dim in tensor.dims:
        elements *= dim
    return -(-elements * bits_of(dtype) // 8)


def _always_whole(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor but the dense initializers of the main graph."""
    yield from _sparse_parts(proto.graph)
    for node in (*proto.graph.node, *(node for function in proto.functions for node in function.node)):
        yield from _node_tensors(node)


def _sparse_parts(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)


def _node_tensors(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        yield from (attribute.t, *attribute.tensors)
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
        for graph in (attribute.g, *attribute.graphs):
            yield from graph.initializer
            yield from _sparse_parts(graph)
            for inner in graph.node:
                yield from _node_tensors(inner)


def _inside(location: str, folder: Path, name: str) -> Path:
    """The file that `location` names, once it is certain that it lies inside the folder."""
    absolute = PurePosixPath(location).is_absolute() or PureWindowsPath(location).drive
    parts = PurePosixPath(location.replace("\\", "/")).parts
    if not location or absolute or ".." in parts:
        raise BadInput(
            f"tensor '{name}': external data '{location}' must be a path inside the model's folder"
        )
    path = folder / location
    try:
        resolved = path.resolve()
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, links in a circle
        raise BadInput(f"tensor '{name}': external data '{location!r}' is no file name: {error}") from None
    if not resolved.is_relative_to(folder.resolve()):
        raise BadInput(f"tensor '{name}': external data '{location}' is a link out of the model's folder")
    if resolved.exists() and not resolved.is_file():
        raise BadInput(f"tensor '{name}': external data {path} is no regular file: put the data in its place")
    if not resolved.is_file():
        raise BadInput(f"tensor '{name}': external data file {path} is missing: put it beside the model")
    return resolved
