"""Tensors of a parsed model: what they claim to hold against what is there.

A claim is checked before anything is allocated for it, so that a small file cannot ask for much memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import onnx
import onnx_ir as ir
from onnx import TensorProto

from hwopt.ir.vet_words import Unsound, shown

LARGEST_TENSOR_BYTES = 2**40  # of a weight, whose bytes have to be there; nobody's memory holds more
MOST_AXES = 32  # what every NumPy can hold; networks have five
SMALL_BYTES = 64 * 2**20  # what a sparse tensor may always become
SPARSEST = 1000  # a larger one may become so many times its stored values
_LONGEST_PART = 255  # bytes of a name in a folder
_LONGEST_NUMBER = 19  # digits of 2**63

_COMPLEX: dict[int, int] = {TensorProto.COMPLEX64: 2, TensorProto.COMPLEX128: 2}
_FIELDS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")
_IN_FIELD: dict[int, str] = {
    TensorProto.FLOAT: "float_data", TensorProto.COMPLEX64: "float_data",
    TensorProto.DOUBLE: "double_data", TensorProto.COMPLEX128: "double_data",
    TensorProto.INT64: "int64_data", TensorProto.STRING: "string_data",
    TensorProto.UINT32: "uint64_data", TensorProto.UINT64: "uint64_data",
}  # fmt: skip


def check_tensor(tensor: onnx.TensorProto) -> None:
    """Raises Unsound for a type, dimensions or data that do not fit each other."""
    where = f"tensor {shown(tensor.name)}"
    dtype = _dtype(tensor.data_type, where)
    count = elements(tensor.dims, where)
    needed = bytes_of(count, dtype)
    if needed > LARGEST_TENSOR_BYTES:
        raise Unsound(f"{where} claims {needed:,} bytes: no weight is larger than {LARGEST_TENSOR_BYTES:,}")
    if tensor.HasField("segment"):
        raise Unsound(f"{where} is stored in segments, which nobody reads any more: export it again")
    if tensor.data_location == TensorProto.EXTERNAL:
        _check_reference(tensor, needed, where)
    else:
        _check_data(tensor, dtype, count, where)


def check_sparse(sparse: onnx.SparseTensorProto) -> None:
    """Raises Unsound for a sparse tensor that is malformed, or that is far larger than what it stores."""
    values, where = sparse.values, f"sparse tensor {shown(sparse.values.name)}"
    for part in (values, sparse.indices):
        check_tensor(part)
    if sparse.indices.data_type != TensorProto.INT64:
        raise Unsound(f"{where} has indices that are not int64")
    dtype = _dtype(values.data_type, where)
    dense = bytes_of(elements(sparse.dims, where), dtype)
    stored = bytes_of(elements(values.dims, where), dtype)
    if dense > max(SMALL_BYTES, SPARSEST * stored):
        raise Unsound(
            f"{where} becomes {dense:,} bytes out of {stored:,} that are stored: "
            f"up to {SPARSEST:,} times as many are read"
        )
    _check_indices(sparse, where)


def elements(dims: Sequence[int], where: str) -> int:
    """How many elements the dimensions make. Raises Unsound for a negative one, and for too many."""
    if len(dims) > MOST_AXES:
        raise Unsound(f"{where} has {len(dims)} axes: up to {MOST_AXES} are read")
    if any(dim < 0 for dim in dims):
        raise Unsound(f"{where} has a negative dimension: {_dims(dims)}")
    return prod(dims)


def bytes_of(count: int, dtype: ir.DataType) -> int:
    """Bytes of so many elements; a string counts as one byte, there may be that few."""
    return count if dtype == ir.DataType.STRING else -(-count * bits_of(dtype) // 8)


def bits_of(dtype: ir.DataType) -> int:
    """Bits of one element, where every element takes the same."""
    return int(dtype.itemsize * 8)


def _dims(dims: Sequence[int]) -> str:
    return f"[{', '.join(map(str, dims[:8]))}{', ...' if len(dims) > 8 else ''}]"


def _dtype(number: int, where: str) -> ir.DataType:
    try:
        dtype = ir.DataType(number)
    except ValueError:
        raise Unsound(f"{where} has the unknown element type {number}") from None
    if dtype == ir.DataType.UNDEFINED:
        raise Unsound(f"{where} has no element type")
    return dtype


def _check_data(tensor: onnx.TensorProto, dtype: ir.DataType, count: int, where: str) -> None:
    if tensor.HasField("raw_data"):
        needed, there = bytes_of(count, dtype), len(tensor.raw_data)
        field = "raw_data"
        if dtype == ir.DataType.STRING:
            raise Unsound(f"{where} holds strings as raw data")
    else:
        field = _IN_FIELD.get(tensor.data_type, "int32_data")
        needed, there = _numbers(count, dtype), len(getattr(tensor, field))
    if needed != there:
        unit = "bytes" if field == "raw_data" else f"numbers in {field}"
        raise Unsound(
            f"{where} of shape {_dims(tensor.dims)} needs {needed:,} {unit}, and has {there:,}: "
            "the file is damaged, export or copy it again"
        )
    if any(len(getattr(tensor, other)) for other in _FIELDS if other != field):
        raise Unsound(f"{where} holds data in more than one field")


def _numbers(count: int, dtype: ir.DataType) -> int:
    """How many numbers of a typed field hold so many elements; narrow ones are packed into bytes."""
    if dtype != ir.DataType.STRING and bits_of(dtype) < 8:
        return bytes_of(count, dtype)
    return count * _COMPLEX.get(int(dtype), 1)


def _check_reference(tensor: onnx.TensorProto, needed: int, where: str) -> None:
    """What an external tensor says of its file; the file itself is looked at when it is opened."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    if tensor.data_type == TensorProto.STRING:
        raise Unsound(f"{where} holds strings in another file")
    location = entries.get("location", "").encode()
    if b"\0" in location or any(len(part) > _LONGEST_PART for part in location.split(b"/")):
        raise Unsound(f"{where} names a file that cannot be one")
    for key in ("offset", "length"):
        text = entries.get(key, "0")
        if not (text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER):
            raise Unsound(f"{where} has the {key} {shown(text)}: a number of bytes was expected")
    if "length" in entries and int(entries["length"]) != needed:
        raise Unsound(f"{where} takes {needed:,} bytes, and refers to {int(entries['length']):,}")


def _check_indices(sparse: onnx.SparseTensorProto, where: str) -> None:
    """As many as there are values, in one of the two forms that the standard has, all inside, in order."""
    rank, count = len(sparse.dims), prod(sparse.values.dims)
    shape = list(sparse.indices.dims)
    if len(sparse.values.dims) != 1 or shape not in ([count], [count, rank]):
        raise Unsound(f"{where} has {count:,} values and indices of shape {_dims(shape)}")
    if sparse.indices.data_location == TensorProto.EXTERNAL:
        return
    flat = _flat(sparse, shape)
    total = prod(sparse.dims)
    if any(not 0 <= index < total for index in flat) or any(a >= b for a, b in pairwise(flat)):
        raise Unsound(f"{where} has indices outside its shape, or out of order")


def _flat(sparse: onnx.SparseTensorProto, shape: Sequence[int]) -> list[int]:
    """Linear indices; -1 stands for one that is outside."""
    numbers = [int(number) for number in onnx.numpy_helper.to_array(sparse.indices).reshape(-1)]
    if len(shape) == 1:
        return numbers
    rank = len(sparse.dims)
    found = []
    for start in range(0, len(numbers), rank):
        linear = 0
        for index, dim in zip(numbers[start : start + rank], sparse.dims, strict=True):
            linear = linear * dim + index if 0 <= index < dim and linear >= 0 else -1
        found.append(linear)
    return found
