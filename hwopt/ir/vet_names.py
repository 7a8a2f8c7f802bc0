"""Text in a parsed model: it is text, and names are of a length that names have."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import onnx
from google.protobuf.descriptor import Descriptor, FieldDescriptor  # type: ignore[import-untyped]
from google.protobuf.message import Message  # type: ignore[import-untyped]

from hwopt.ir.vet_words import Unsound, shown

LONGEST_NAME = 4096  # characters
_NOTES = {"doc_string", "producer_name", "producer_version", "metadata_props"}  # no names: they may be long


def check_names(proto: onnx.ModelProto) -> None:
    """Raises Unsound for text that is not UTF-8, and for names that nobody would give.

    The parser lets any bytes pass as text, and hands on `bytes` for what cannot be decoded. Characters
    that a terminal obeys are no error: whoever shows a name escapes them. Which fields hold text is read
    from the format's own description, so that none is forgotten.
    """
    left: list[tuple[Message, bool]] = [(proto, False)]  # a message, and whether it is a note
    while left:
        message, is_note = left.pop()
        texts, messages = _fields_of(message.DESCRIPTOR)
        for field in texts:
            _check_texts(getattr(message, field), is_note or field in _NOTES)
        for field in messages:
            left += [(inner, is_note or field in _NOTES) for inner in _held(message, field)]


def _check_texts(value: str | bytes | Iterable[str | bytes], is_note: bool) -> None:
    for text in (value,) if isinstance(value, str | bytes) else value:
        if not isinstance(text, str):
            raise Unsound(f"the {'text' if is_note else 'name'} {shown(text)} is not in UTF-8")
        if len(text) > LONGEST_NAME and not is_note:
            raise Unsound(f"the name {shown(text)} has {len(text):,} characters: {LONGEST_NAME:,} are read")


def _held(message: Message, field: str) -> Iterable[Message]:
    value = getattr(message, field)
    if isinstance(value, Message):
        return (value,) if message.HasField(field) else ()
    return value  # type: ignore[no-any-return]  # many of them


@cache
def _fields_of(kind: Descriptor) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The fields of a kind of message that hold text, and those that hold messages."""

    def of(wanted: int) -> tuple[str, ...]:
        return tuple(field.name for field in kind.fields if field.type == wanted)

    return of(FieldDescriptor.TYPE_STRING), of(FieldDescriptor.TYPE_MESSAGE)
