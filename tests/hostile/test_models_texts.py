"""Text that is none, in every field of the format that holds text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor  # type: ignore[import-untyped]
from google.protobuf.message import Message  # type: ignore[import-untyped]

from hwopt.errors import BadInput
from hwopt.ir import load_model
from hwopt.ir.vet_names import LONGEST_NAME, check_names
from hwopt.ir.vet_words import Unsound

_TEXT, _BROKEN = b"Text", b"T\xfaxt"


def _paths(kind: Descriptor, seen: frozenset[str], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The fields that hold text, each kind of message entered once on every way down."""
    for field in kind.fields:
        if field.type == FieldDescriptor.TYPE_STRING:
            yield (*path, field.name)
        elif field.type == FieldDescriptor.TYPE_MESSAGE and field.message_type.full_name not in seen:
            inner = field.message_type
            yield from _paths(inner, seen | {inner.full_name}, (*path, field.name))


def _by_field() -> dict[str, tuple[str, ...]]:
    """One way to each text of each kind of message: the shortest."""
    found: dict[str, tuple[str, ...]] = {}
    for path in sorted(_paths(onnx.ModelProto.DESCRIPTOR, frozenset()), key=lambda path: (len(path), path)):
        found.setdefault(f"{_kind_of(path[:-1])}.{path[-1]}", path)
    return found


def _kind_of(path: tuple[str, ...]) -> str:
    kind = onnx.ModelProto.DESCRIPTOR
    for step in path:
        kind = kind.fields_by_name[step].message_type
    return str(kind.name)


def _model(path: tuple[str, ...], text: str) -> onnx.ModelProto:
    """A model that holds nothing but this text, there."""
    proto = onnx.ModelProto()
    message: Message = proto
    for step in path[:-1]:
        held = getattr(message, step)
        message = held if isinstance(held, Message) else held.add()
        message.SetInParent()
    if isinstance(getattr(message, path[-1]), str):
        setattr(message, path[-1], text)
    else:
        getattr(message, path[-1]).append(text)
    return proto


_FIELDS = _by_field()


@pytest.mark.parametrize("path", _FIELDS.values(), ids=_FIELDS)
def test_text_is_text_in_every_field(path: tuple[str, ...], tmp_path: Path) -> None:
    data = _model(path, _TEXT.decode()).SerializeToString()
    check_names(onnx.ModelProto.FromString(data))
    assert data.count(_TEXT) == 1
    with pytest.raises(Unsound, match=r"'T\\xfaxt' is not in UTF-8"):
        check_names(onnx.ModelProto.FromString(data.replace(_TEXT, _BROKEN)))
    (tmp_path / "m.onnx").write_bytes(data.replace(_TEXT, _BROKEN))
    with pytest.raises(BadInput):
        load_model(tmp_path / "m.onnx")


def test_every_kind_of_text_is_looked_at() -> None:
    assert {"FunctionProto.domain", "OperatorSetIdProto.domain", "Dimension.dim_param"} <= _FIELDS.keys()
    assert len(_FIELDS) >= 35


@pytest.mark.parametrize(("field", "is_note"), [("GraphProto.name", False), ("GraphProto.doc_string", True)])
def test_names_have_a_length_and_notes_any(field: str, is_note: bool) -> None:
    proto = _model(_FIELDS[field], "n" * (LONGEST_NAME + 1))
    if is_note:
        check_names(proto)
    else:
        with pytest.raises(Unsound, match="characters"):
            check_names(proto)
