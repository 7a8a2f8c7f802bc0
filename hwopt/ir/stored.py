"""Tensors whose bytes stay on disk: read when somebody asks, in as small parts as he asks for.

    FileTensor     a weight in the input's external data; the file is opened anew for every read, and
                   refused where it is not the very file any more that was looked at when the model was loaded
    ScratchTensor  a weight that a rewrite made for such a model; its bytes lie in a nameless temporary file

Nothing is mapped: mapped pages count as memory of the process for as long as the map lives. What
`numpy()` gives back is read once for as long as somebody holds it.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from math import prod
from typing import IO, Protocol

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from hwopt.errors import BadInput
from hwopt.files.data_file import DataFile, Identity

Array = npt.NDArray[np.generic]

BLOCK_BYTES = 1 << 20  # what is held at a time where a tensor is passed through
LARGE_BYTES = 16 << 20  # up to here a tensor is read whole by whoever has to know it
_SAMPLES, _SAMPLE_BYTES = 4, 64 << 10
_SEGMENT_BYTES = 256 << 20  # of scratch in one file: its room comes back when all its tensors are gone


class Store(Protocol):
    """Where bytes lie."""

    @property
    def path(self) -> str:
        """A name by which another process can open it, while this one lives."""
        ...

    @property
    def identity(self) -> Identity:
        """By which it knows that it has opened the same."""
        ...

    def opened(self) -> AbstractContextManager[int]:
        """A file descriptor to read from."""
        ...


class Segment:
    """A nameless temporary file that tensors are appended to; gone with the last of them."""

    identity: Identity = ()  # nobody else can put another in its place

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._lock = threading.Lock()
        self.used = 0

    @property
    def path(self) -> str:
        """As Store has it; only where the system shows descriptors as files."""
        return f"/proc/{os.getpid()}/fd/{self._file.fileno()}"

    @contextmanager
    def opened(self) -> Iterator[int]:
        """As Store has it."""
        yield self._file.fileno()

    def append(self, data: memoryview) -> int:
        """Writes at the end: where. Raises OSError where the disk is full."""
        with self._lock:
            start = self.used
            self.used += len(data)
        written = 0
        while written < len(data):
            written += os.pwrite(self._file.fileno(), data[written:], start + written)
        return start


class StoredTensor(ir.ExternalTensor):
    """A tensor whose bytes lie in a store, little endian from `offset` on.

    To onnx_ir it is an external tensor, so `ir.to_proto` only names it: `model_bytes` and `save_model`
    put its data where it belongs.
    """

    def __init__(
        self, store: DataFile | Segment, offset: int, dtype: ir.DataType, shape: ir.Shape, name: str | None
    ) -> None:
        folder, file = os.path.split(store.path)
        length = byte_count(shape, dtype)
        super().__init__(file, offset, length, dtype, shape=shape, name=name or "", base_dir=folder)
        self.store = store
        self.start = offset
        self._known: weakref.ref[Array] | None = None

    @contextmanager
    def opened(self) -> Iterator[Reading]:
        """For several reads in a row."""
        with self.store.opened() as descriptor:
            yield Reading(descriptor, self.start)

    def numpy(self) -> Array:
        """All of it, read now. Not writable; shared with whoever holds it already."""
        known = None if self._known is None else self._known()
        if known is None:
            known = self._load()
            known.setflags(write=False)
            self._known = weakref.ref(known)
        return known

    def _load(self) -> Array:
        data = np.empty(self.nbytes, np.uint8)
        with self.opened() as reading:
            reading.into(data.data, 0)
        shape = tuple(self.shape.numpy())
        if bits_of(self.dtype) % 8 or sys.byteorder != "little":
            proto = onnx.TensorProto(data_type=int(self.dtype), dims=shape, raw_data=data.tobytes())
            return np.array(ir.serde.TensorProtoTensor(proto).numpy())
        return data.view(self.dtype.numpy()).reshape(shape)

    def tobytes(self) -> bytes:
        """All bytes as they lie in the store."""
        with self.opened() as reading:
            return b"".join(reading.blocks(self.nbytes))

    def tofile(self, file: IO[bytes]) -> None:
        """Writes all bytes, a block at a time."""
        with self.opened() as reading:
            for block in reading.blocks(self.nbytes):
                file.write(block)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        array = self.numpy()
        return np.array(array, dtype) if copy or (dtype is not None and dtype != array.dtype) else array

    def __repr__(self) -> str:
        return f"{type(self).__name__}<{self.dtype},{self.shape}>(name={self.name!r}, offset={self.offset})"


class FileTensor(StoredTensor):
    """A weight in the external data of a model."""

    store: DataFile


class ScratchTensor(StoredTensor):
    """A weight that was computed, in a nameless file."""

    store: Segment


@dataclass(frozen=True)
class Reading:
    """An open store, from where one tensor begins."""

    descriptor: int
    start: int

    def into(self, view: memoryview, offset: int) -> None:
        """Fills the view with the tensor's bytes from `offset` on. Raises BadInput where they end early."""
        done = 0
        while done < len(view):
            part = view[done : done + (1 << 30)]  # the system reads less than 2 GB at a time
            count = os.preadv(self.descriptor, [part], self.start + offset + done)
            if not count:
                raise BadInput("external data ended early: the file was changed while it was in use")
            done += count

    def part(self, offset: int, length: int) -> bytes:
        """Some of the tensor's bytes."""
        data = bytearray(length)
        self.into(memoryview(data), offset)
        return bytes(data)

    def blocks(self, length: int) -> Iterator[bytes]:
        """The first `length` bytes, a block at a time."""
        for offset in range(0, length, BLOCK_BYTES):
            yield self.part(offset, min(BLOCK_BYTES, length - offset))


def places_of_samples(length: int) -> list[tuple[int, int]]:
    """(start, length) of four blocks of 64 KiB at even distances, the first and the last bytes among them.

    All of it where that is no more.
    """
    if length <= _SAMPLES * _SAMPLE_BYTES:
        return [(0, length)]
    last = length - _SAMPLE_BYTES
    return [(last * number // (_SAMPLES - 1), _SAMPLE_BYTES) for number in range(_SAMPLES)]


def sampled(reading: Reading, length: int) -> Iterator[bytes]:
    """Those samples of a tensor of that many bytes."""
    for start, count in places_of_samples(length):
        yield reading.part(start, count)


def fingerprint(tensor: ir.TensorProtocol) -> str:
    """SHA-256 of a tensor's data as an array: of all of it up to `LARGE_BYTES`, of samples of a larger one.

    The same wherever the data lies.
    """
    if tensor.nbytes <= LARGE_BYTES:
        return hashlib.sha256(np.ascontiguousarray(tensor.numpy()).tobytes()).hexdigest()
    digest = hashlib.sha256()
    if isinstance(tensor, StoredTensor):
        with tensor.opened() as reading:
            for block in sampled(reading, tensor.nbytes):
                digest.update(block)
        return digest.hexdigest()
    data = memoryview(tensor.tobytes())
    for start, length in places_of_samples(len(data)):
        digest.update(data[start : start + length])
    return digest.hexdigest()


def stored_array(array: Array, name: str | None) -> ir.TensorProtocol:
    """A tensor with this data, in a scratch file; in memory where no such file can be written.

    array: contiguous, of a type whose elements fill whole bytes.
    """
    whole = np.ascontiguousarray(array)
    with suppress(OSError):  # disk full, no folder for temporary files, too many open files
        segment = _segment(whole.nbytes)
        offset = segment.append(whole.reshape(-1).view(np.uint8).data)
        dtype = ir.DataType.from_numpy(array.dtype)
        return ScratchTensor(segment, offset, dtype, ir.Shape(array.shape), name)
    return ir.tensor(whole.reshape(array.shape), name=name)


_latest: weakref.ref[Segment] | None = None


def _segment(room: int) -> Segment:
    """A scratch file with that much room; a new one where the last one is full, or gone."""
    global _latest
    known = None if _latest is None else _latest()
    if known is None or known.used + room > _SEGMENT_BYTES:
        file = tempfile.TemporaryFile(prefix="hwopt.", dir=scratch_folder())  # noqa: SIM115 the segment's
        known = Segment(file)
        _latest = weakref.ref(known)
    return known


def scratch_folder() -> str:
    """TMPDIR where it is set; else /var/tmp, which lies on a disk where /tmp may lie in memory."""
    asked = os.environ.get("TMPDIR")
    if asked or not os.access("/var/tmp", os.W_OK):
        return tempfile.gettempdir()
    return "/var/tmp"


def bits_of(dtype: ir.DataType) -> int:
    """Bits of one element."""
    return int(dtype.itemsize * 8)


def byte_count(shape: ir.Shape, dtype: ir.DataType) -> int:
    """Bytes of a tensor as ONNX stores it; elements of less than a byte lie side by side."""
    return -(-prod(int(dim) for dim in shape.numpy()) * bits_of(dtype) // 8)
