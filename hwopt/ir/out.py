"""Weights out of a model into one file beside it: tensor by tensor, in order, at most one in memory.

What lies in a file already is copied by the kernel, or a block at a time where it cannot. A tensor that
stands in the model twice (tied weights) is written once. Between two tensors stand zeros, so that each
begins where a reader can map it: large ones at a page, small ones at 64 bytes.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from hwopt.ir.stored import BLOCK_BYTES, StoredTensor

Changed = Callable[[ir.TensorProtocol], ir.TensorProtocol]

_PAGE, _LINE = 4096, 64
_PAGED_FROM = 64 << 10
_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EXDEV, errno.EBADF)


def whole_proto(model: ir.Model) -> onnx.ModelProto:
    """The model as a protobuf message with all its weights inside, those read that lie in files."""
    return ir.to_proto(_with(model, _in_memory))


def move_out(model: ir.Model, path: Path, from_bytes: int) -> onnx.ModelProto:
    """Writes every tensor of at least `from_bytes` to a new file, and returns a message that refers to it.

    The model stays as it is.
    """
    with path.open("wb") as file:
        return ir.to_proto(_with(model, _Outgoing(file.fileno(), path.name, from_bytes)))


def tensors_of(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    """Every tensor of the main graph and of the graphs in it; one that stands there twice, twice."""
    for graph in model.graphs():
        yield from (v.const_value for v in graph.initializers.values() if v.const_value is not None)
        for node in graph:
            for attribute in node.attributes.values():
                yield from _in_attribute(attribute)


def bytes_in_files(model: ir.Model) -> int:
    """Bytes of weights that are not in memory."""
    return sum(tensor.nbytes for tensor in tensors_of(model) if isinstance(tensor, StoredTensor))


def _in_attribute(attribute: ir.Attr) -> tuple[ir.TensorProtocol, ...]:
    if attribute.is_ref():
        return ()
    if attribute.type == ir.AttributeType.TENSOR:
        return (attribute.value,)
    return tuple(attribute.value) if attribute.type == ir.AttributeType.TENSORS else ()


def _with(model: ir.Model, changed: Changed) -> ir.Model:
    """A clone with other tensors in it."""
    copy = model.clone()
    for graph in copy.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                value.const_value = changed(value.const_value)
        for node in graph:
            for name, attribute in list(node.attributes.items()):
                _change(node, name, attribute, changed)
    return copy


def _change(node: ir.Node, name: str, attribute: ir.Attr, changed: Changed) -> None:
    old = _in_attribute(attribute)
    new = [changed(tensor) for tensor in old]
    if all(a is b for a, b in zip(old, new, strict=True)):
        return
    single = attribute.type == ir.AttributeType.TENSOR
    node.attributes[name] = ir.AttrTensor(name, new[0]) if single else ir.AttrTensors(name, new)


def _in_memory(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    if not isinstance(tensor, StoredTensor):
        return tensor
    proto = onnx.TensorProto(name=tensor.name, data_type=int(tensor.dtype), dims=tensor.shape.numpy())
    proto.raw_data = tensor.tobytes()
    if tensor.doc_string:
        proto.doc_string = tensor.doc_string
    return ir.serde.TensorProtoTensor(proto)


class _Outgoing:
    """Puts tensors into a file one after the other. descriptor: of the file; location: its name."""

    def __init__(self, descriptor: int, location: str, from_bytes: int) -> None:
        self._descriptor, self._location, self._from_bytes = descriptor, location, from_bytes
        self._end = 0
        self._written: dict[object, int] = {}
        self._held: list[ir.TensorProtocol] = []  # their ids must stay theirs

    def __call__(self, tensor: ir.TensorProtocol) -> ir.TensorProtocol:
        if tensor.dtype == ir.DataType.STRING or tensor.nbytes < self._from_bytes:
            return _in_memory(tensor)
        key = (tensor.store, tensor.start) if isinstance(tensor, StoredTensor) else id(tensor)
        if (key, tensor.nbytes) not in self._written:
            self._held.append(tensor)
            self._written[key, tensor.nbytes] = self._write(tensor)
        offset = self._written[key, tensor.nbytes]
        return ir.ExternalTensor(
            self._location, offset, tensor.nbytes, tensor.dtype, shape=ir.Shape(tensor.shape.numpy()),
            name=tensor.name or "", doc_string=tensor.doc_string, metadata_props=dict(tensor.metadata_props),
        )  # fmt: skip

    def _write(self, tensor: ir.TensorProtocol) -> int:
        """Where it was written."""
        aligned = _PAGE if tensor.nbytes >= _PAGED_FROM else _LINE
        offset = -(-self._end // aligned) * aligned
        if isinstance(tensor, StoredTensor):
            _copy(tensor, self._descriptor, offset)
        else:
            _put(self._descriptor, _bytes(tensor), offset)
        self._end = offset + tensor.nbytes
        return offset


def _bytes(tensor: ir.TensorProtocol) -> memoryview:
    """A tensor's bytes as ONNX stores them; no copy of an array that lies in memory like that."""
    if isinstance(tensor, ir.Tensor) and tensor.dtype.bitwidth % 8 == 0:
        array = np.asarray(tensor.numpy())
        if array.dtype.byteorder != ">" and array.flags.c_contiguous:
            return array.reshape(-1).view(np.uint8).data
    return memoryview(tensor.tobytes())


def _copy(tensor: StoredTensor, descriptor: int, offset: int) -> None:
    done = 0
    with tensor.opened() as reading:
        while done < tensor.nbytes:
            count = _copied(reading.descriptor, descriptor, tensor.nbytes - done, reading.start + done,
                            offset + done)  # fmt: skip
            if not count:
                break
            done += count
        while done < tensor.nbytes:
            block = reading.part(done, min(BLOCK_BYTES, tensor.nbytes - done))
            _put(descriptor, memoryview(block), offset + done)
            done += len(block)


def _copied(source: int, target: int, count: int, start: int, offset: int) -> int:
    """Bytes that the kernel copied; 0 where it cannot copy between these files."""
    if not hasattr(os, "copy_file_range"):
        return 0
    try:
        return os.copy_file_range(source, target, min(count, 1 << 30), start, offset)
    except OSError as error:
        if error.errno in _CANNOT:
            return 0
        raise


def _put(descriptor: int, data: memoryview, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done : done + (1 << 30)], offset + done)
