"""Attributes of a parsed model's nodes: of one known type each, which is the type of what they hold."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx import AttributeProto

from hwopt.ir.vet_tensors import check_sparse, check_tensor
from hwopt.ir.vet_words import Unsound, shown

_ONE = {
    "f": AttributeProto.FLOAT, "i": AttributeProto.INT, "s": AttributeProto.STRING,
    "t": AttributeProto.TENSOR, "g": AttributeProto.GRAPH, "tp": AttributeProto.TYPE_PROTO,
    "sparse_tensor": AttributeProto.SPARSE_TENSOR,
}  # fmt: skip
_MANY = {
    "floats": AttributeProto.FLOATS, "ints": AttributeProto.INTS, "strings": AttributeProto.STRINGS,
    "tensors": AttributeProto.TENSORS, "graphs": AttributeProto.GRAPHS,
    "type_protos": AttributeProto.TYPE_PROTOS, "sparse_tensors": AttributeProto.SPARSE_TENSORS,
}  # fmt: skip
# A number or a text that is left out is 0 or "", as proto3 writes them; a list may be empty.
_NEVER_LEFT_OUT = {_ONE[name]: name for name in ("t", "g", "tp", "sparse_tensor")}


def check_attributes(attributes: Iterable[AttributeProto], where: str) -> None:
    """Raises Unsound for an attribute that is there twice, of no type, or holds what its type is not."""
    seen: set[str] = set()
    for attribute in attributes:
        if not attribute.name or attribute.name in seen:
            raise Unsound(
                f"{where} has the attribute {shown(attribute.name)} more than once, or without a name"
            )
        seen.add(attribute.name)
        _check_type(attribute, where)
        _check_tensors(attribute)


def _check_type(attribute: AttributeProto, where: str) -> None:
    named = f"the attribute {shown(attribute.name)} of {where}"
    held = [kind for name, kind in _ONE.items() if attribute.HasField(name)]
    held += [kind for name, kind in _MANY.items() if len(getattr(attribute, name))]
    if attribute.ref_attr_name:
        if held:
            raise Unsound(f"{named} refers to one of its function, and has a value besides")
        return
    if (
        attribute.type == AttributeProto.UNDEFINED
        or attribute.type not in AttributeProto.AttributeType.values()
    ):
        raise Unsound(f"{named} has no known type")
    if any(kind != attribute.type for kind in held):
        raise Unsound(f"{named} does not hold what its type says")
    if attribute.type in _NEVER_LEFT_OUT and not held:
        raise Unsound(f"{named} holds nothing")


def _check_tensors(attribute: onnx.AttributeProto) -> None:
    for tensor in (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors):
        check_tensor(tensor)
    one = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
    for sparse in (*one, *attribute.sparse_tensors):
        check_sparse(sparse)
