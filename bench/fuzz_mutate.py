"""Seeded mutations of an ONNX file: of its bytes, and of the fields that its bytes mean.

Most flipped bits of a network hit a weight, or make protobuf give up; mutations of fields keep the file
readable and reach what lies behind the parser.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

import numpy as np
import onnx
from google.protobuf.descriptor import FieldDescriptor  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]

from bench.fuzz_seeds import Seed

_NUMBERS = (0, -1, 1, 2, 3, 7, 255, 2**16, 2**31 - 1, -(2**31), 2**32, 2**40, 2**62, 2**63 - 1, -(2**63))
_WORDS = ("", "x", "y", "w", "\x00", "../x", "a\nb", "\x1b[31m", "/", "Conv", "Add", "Loop", "own", "N" * 9)
_FLOATS = (0.0, -1.0, float("nan"), float("inf"), 1e38, 1e-45)
_MOST_BYTES_TO_READ = 200_000  # a larger model is mutated byte by byte alone: reading it takes too long


def mutated(seed: Seed, rng: np.random.Generator) -> tuple[str, bytes]:
    """The kind of the mutation, and what became of the seed's bytes."""
    kinds = (
        _BYTES if len(seed.data) > _MOST_BYTES_TO_READ else {**_BYTES, "field": _fields, "fields": _fields}
    )
    kind = str(rng.choice(list(kinds)))
    return kind, kinds[kind](seed.data, rng)


def _truncated(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: int(rng.integers(0, len(data)))]


def _flipped(data: bytes, rng: np.random.Generator) -> bytes:
    """A few bits, half of them near the ends of the file, where the graph is and not the weights."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        place = _place(len(data), rng)
        changed[place] ^= 1 << int(rng.integers(0, 8))
    return bytes(changed)


def _overwritten(data: bytes, rng: np.random.Generator) -> bytes:
    place, size = _place(len(data), rng), int(rng.integers(1, 17))
    noise = bytes(rng.integers(0, 256, size).astype(np.uint8))
    return data[:place] + noise + data[place + size :]


def _moved(data: bytes, rng: np.random.Generator) -> bytes:
    """A piece is cut out and put in somewhere else, or left where it was, too."""
    start, size, to = _place(len(data), rng), int(rng.integers(1, 200)), _place(len(data), rng)
    piece = data[start : start + size]
    rest = data if rng.integers(0, 2) else data[:start] + data[start + size :]
    return rest[:to] + piece + rest[to:]


def _place(size: int, rng: np.random.Generator) -> int:
    window = size if rng.integers(0, 2) else min(size, 2000)
    place = int(rng.integers(0, window))
    return place if rng.integers(0, 2) else size - 1 - place


_BYTES: Mapping[str, Callable[[bytes, np.random.Generator], bytes]] = {
    "truncate": _truncated, "flip": _flipped, "overwrite": _overwritten, "move": _moved,
}  # fmt: skip


def _fields(data: bytes, rng: np.random.Generator) -> bytes:
    """One to three fields of the message are changed, doubled, emptied or swapped."""
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError:
        return data
    for _ in range(int(rng.integers(1, 4))):
        message = _some_message(proto, rng)
        fields = [field for field, _ in message.ListFields()]
        if fields:
            with contextlib.suppress(UnicodeDecodeError):  # of text that is none already
                _change(message, fields[int(rng.integers(0, len(fields)))], rng)
    return bytes(proto.SerializePartialToString(deterministic=True))


def _some_message(proto: Message, rng: np.random.Generator) -> Message:
    """A message somewhere in the tree, the deep ones as likely as those near the root."""
    message = proto
    while True:
        inner = [item for field, value in message.ListFields() for item in _messages(field, value)]
        if not inner or (message is not proto and rng.random() < 0.2):
            return message
        message = inner[int(rng.integers(0, len(inner)))]


def _messages(field: FieldDescriptor, value: object) -> list[Message]:
    if field.type != FieldDescriptor.TYPE_MESSAGE:
        return []
    return list(value) if field.is_repeated else [value]  # type: ignore[call-overload]


def _change(message: Message, field: FieldDescriptor, rng: np.random.Generator) -> None:
    if not field.is_repeated:
        _set(message, field, rng)
        return
    items = getattr(message, field.name)
    place = int(rng.integers(0, len(items)))
    what = int(rng.integers(0, 4))
    if what == 0:
        del items[place]
    elif what == 1 and field.type == FieldDescriptor.TYPE_MESSAGE:
        items.add().CopyFrom(items[place])
    elif what == 1:
        items.append(items[place])
    elif what == 2 and len(items) > 1:
        _swap(items, place, int(rng.integers(0, len(items))), field)
    elif field.type != FieldDescriptor.TYPE_MESSAGE:
        items[place] = _other(field, rng)


def _swap(items: object, one: int, two: int, field: FieldDescriptor) -> None:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        items[one].CopyFrom(items[two])  # type: ignore[index]
    else:
        items[one], items[two] = items[two], items[one]  # type: ignore[index]


def _set(message: Message, field: FieldDescriptor, rng: np.random.Generator) -> None:
    if rng.integers(0, 4) == 0 or field.type == FieldDescriptor.TYPE_MESSAGE:
        message.ClearField(field.name)
        return
    if field.type == FieldDescriptor.TYPE_BYTES:
        value = getattr(message, field.name)
        setattr(
            message,
            field.name,
            value[: int(rng.integers(0, len(value) + 1))] + b"\x00" * int(rng.integers(0, 5)),
        )
        return
    try:
        setattr(message, field.name, _other(field, rng))
    except ValueError:  # a number that the field cannot hold, or an enum does not know
        message.ClearField(field.name)


def _other(field: FieldDescriptor, rng: np.random.Generator) -> object:
    if field.type == FieldDescriptor.TYPE_STRING:
        return _WORDS[int(rng.integers(0, len(_WORDS)))]
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _WORDS[int(rng.integers(0, len(_WORDS)))].encode()
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return _FLOATS[int(rng.integers(0, len(_FLOATS)))]
    fits = [n for n in _NUMBERS if field.type == FieldDescriptor.TYPE_INT64 or abs(n) < 2**31]
    fits = [n for n in fits if n >= 0] if field.type == FieldDescriptor.TYPE_UINT64 else fits
    return (
        int(rng.integers(0, 30))
        if field.type == FieldDescriptor.TYPE_ENUM
        else fits[int(rng.integers(0, len(fits)))]
    )
