"""Jobs and answers as bytes: a line of JSON, then blocks of bytes. No pickles.

Arrays travel as dtype, shape and bytes; arrays of text as JSON.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
_SIZE = struct.Struct("<Q")
Head = dict[str, object]


def pack(head: Mapping[str, object], blocks: Sequence[bytes | memoryview] = ()) -> bytes:
    """One message."""
    text = json.dumps({"head": head, "sizes": [memoryview(block).nbytes for block in blocks]}).encode()
    return b"".join([_SIZE.pack(len(text)), text, *blocks])


def unpack(message: bytes) -> tuple[Head, list[memoryview]]:
    """What `pack` was given. The blocks are views of the message. Raises ValueError for other bytes."""
    start = _SIZE.size
    (length,) = _SIZE.unpack_from(message)
    found = json.loads(message[start : start + length])
    start += length
    blocks, view = list[memoryview](), memoryview(message)
    for size in found["sizes"]:
        blocks.append(view[start : start + size])
        start += size
    if start != len(message):
        raise ValueError(f"a message of {start} bytes has {len(message)}")
    return dict(found["head"]), blocks


def pack_arrays(arrays: Mapping[str, Array], blocks: list[bytes | memoryview]) -> list[Head]:
    """A description of each array; its bytes go to the end of `blocks`."""
    return [{"name": name, **_described(np.asarray(array), blocks)} for name, array in arrays.items()]


def unpack_arrays(described: object, blocks: Sequence[memoryview]) -> dict[str, Array]:
    """What `pack_arrays` was given. Arrays are read-only views of the message."""
    assert isinstance(described, list)
    return {str(item["name"]): _array(item, blocks) for item in described}


def _described(array: Array, blocks: list[bytes | memoryview]) -> Head:
    if array.dtype.kind in "OUS":
        return {"shape": list(array.shape), "text": [_text(item) for item in array.ravel().tolist()]}
    # bytes of views (bfloat16 has no buffer of its own)
    blocks.append(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return {"shape": list(array.shape), "dtype": array.dtype.name, "block": len(blocks) - 1}


def _text(item: object) -> str:
    return item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)


def _array(item: Mapping[str, object], blocks: Sequence[memoryview]) -> Array:
    shape = item["shape"]
    assert isinstance(shape, list)
    if "text" in item:
        return np.array(item["text"], dtype=object).reshape(shape)
    block = item["block"]
    assert isinstance(block, int)
    return np.frombuffer(blocks[block], dtype=dtype_of(str(item["dtype"]))).reshape(shape)


def dtype_of(name: str) -> np.dtype[np.generic]:
    """A dtype by its name, those of ml_dtypes (bfloat16, float8 ...) included."""
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes

        known: np.dtype[np.generic] = np.dtype(getattr(ml_dtypes, name))
        return known
