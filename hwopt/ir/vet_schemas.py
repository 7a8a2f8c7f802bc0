"""Nodes against what the standard says of their operators: how many inputs and outputs, which attributes.

`onnx.checker` does the same, but stops at the first operator that it does not know; what stands behind that
one would reach passes that rely on it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import onnx
from onnx.defs import OpSchema, SchemaError, get_schema

from hwopt.ir.vet_functions import Key, domain_of, key_of
from hwopt.ir.vet_graphs import title
from hwopt.ir.vet_words import Unsound, shown

Versions = Mapping[str, int]


def versions_of(imports: Sequence[onnx.OperatorSetIdProto]) -> Versions:
    """The version of each domain."""
    return {domain_of(entry.domain): entry.version for entry in imports}


@dataclass(frozen=True)
class _Rules:
    """What of an operator's schema is looked at: asking onnx for it anew costs a hundred times as much.

    inputs, outputs: least and most. needed: names of inputs that cannot be left out, by place. types: of the
    attributes; required: those that have to be there.
    """

    inputs: range
    outputs: range
    needed: Mapping[int, str]
    types: Mapping[str, int]
    required: frozenset[str]


def check_schema(node: onnx.NodeProto, versions: Versions, functions: Collection[Key]) -> None:
    """Raises Unsound where a node of a known operator has inputs, outputs or attributes that it cannot have.

    functions: those of the model, which stand before operators of the same name.
    """
    domain = domain_of(node.domain)
    if domain == "" and domain not in versions:
        raise Unsound(
            f"{title(node)} is a standard operator, and the model names no opset for these: export it again"
        )
    rules = None if key_of(node) in functions else _rules(node.op_type, versions.get(domain, 0), domain)
    if rules is None:
        return
    for what, allowed, given in (
        ("inputs", rules.inputs, len(node.input)),
        ("outputs", rules.outputs, len(node.output)),
    ):
        if given not in allowed:
            raise Unsound(f"{title(node)} has {given} {what}, which the operator cannot have")
    for place, formal in rules.needed.items():
        if place < len(node.input) and not node.input[place]:
            raise Unsound(f"{title(node)} does without its input {formal}, which it needs")
    _check_attributes(node, rules)


def _check_attributes(node: onnx.NodeProto, rules: _Rules) -> None:
    for attribute in node.attribute:
        name, known = attribute.name, rules.types.get(attribute.name)
        if known is None and not name.startswith("__"):  # ONNX Runtime writes such, everybody lets them pass
            raise Unsound(f"{title(node)} has the attribute {shown(name)}, which the operator does not have")
        if known is not None and attribute.type != known:
            raise Unsound(f"the attribute {shown(name)} of {title(node)} is of the wrong type")
        if known is not None and not all(_is_text(text) for text in (attribute.s, *attribute.strings)):
            raise Unsound(f"the attribute {shown(name)} of {title(node)} is not text in UTF-8")
    missing = rules.required.difference(attribute.name for attribute in node.attribute)
    if missing:
        raise Unsound(f"{title(node)} lacks the attribute {shown(min(missing))}")


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@lru_cache(maxsize=4096)
def _rules(operator: str, version: int, domain: str) -> _Rules | None:
    try:
        schema = get_schema(operator, version, domain)
    except (SchemaError, TypeError, ValueError, OverflowError):  # unknown, or no version that there could be
        return None
    if schema.deprecated:
        return None
    formals, single = enumerate(schema.inputs), OpSchema.FormalParameterOption.Single
    return _Rules(
        range(schema.min_input, schema.max_input + 1),
        range(schema.min_output, schema.max_output + 1),
        {place: formal.name for place, formal in formals if formal.option == single},
        {name: int(formal.type.value) for name, formal in schema.attributes.items()},  # type: ignore[attr-defined] # an enum of pybind11
        frozenset(name for name, formal in schema.attributes.items() if formal.required),
    )
