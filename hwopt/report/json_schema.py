"""The JSON Schema (draft 2020-12) of OUT.report.json, and of what --json prints where a command fails.

pydantic makes it from the dataclasses of `hwopt.report.schema`; what a key means is read from the texts that
stand below the fields there, so that code and schema say the same.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from itertools import pairwise

from pydantic import TypeAdapter

from hwopt.report import schema, schema_failure
from hwopt.report.jsonable import Json, JsonObject
from hwopt.report.read import report_adapter

_HEAD: JsonObject = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "hwopt report"}
_FAILURE = "Failure"
_NEVER_WRITTEN = ("common",)  # of an Estimate: it has a meaning inside of a run alone


def report_schema() -> JsonObject:
    """The schema of a report; that of a failure is its definition "Failure"."""
    whole: JsonObject = report_adapter().json_schema()
    failure: JsonObject = TypeAdapter(schema_failure.Failure).json_schema()
    definitions = {**_object(failure.pop("$defs")), **_object(whole.pop("$defs"))}
    definitions[_FAILURE] = failure
    described: JsonObject = {name: _described(name, body) for name, body in sorted(definitions.items())}
    body = _described("Report", whole)
    body.pop("title", None)
    version = {"const": schema.SCHEMA_VERSION}
    body["properties"] = {**_object(body["properties"]), "schema_version": version | _version(body)}
    body["required"] = ["schema_version", *_list(body["required"])]
    return {**_HEAD, "description": body.pop("description"), "$defs": described, **body}


def _version(body: JsonObject) -> JsonObject:
    told = _object(_object(body["properties"])["schema_version"])
    return {key: value for key, value in told.items() if key != "default"}


def _described(name: str, body: Json) -> JsonObject:
    """A definition with the meaning of its keys, under the names that they have in the file."""
    found = dict(_object(body))
    if "properties" not in found:
        return found
    cls = getattr(schema, name, None) or getattr(schema_failure, name, None)
    texts = {} if cls is None else field_texts(cls)
    found["properties"] = {
        key.rstrip("_"): _property(value, texts.get(key))
        for key, value in _object(found["properties"]).items()
        if key not in _NEVER_WRITTEN
    }
    if "required" in found:
        found["required"] = [str(key).rstrip("_") for key in _list(found["required"])]
    return found


def _property(body: Json, text: str | None) -> JsonObject:
    plain = {key: value for key, value in _object(body).items() if key != "title"}
    return plain if text is None else {"description": text, **plain}


def field_texts(cls: type) -> dict[str, str]:
    """What stands below each field of a dataclass, by the field's name."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(tree, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in pairwise(tree.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def _object(value: Json) -> JsonObject:
    assert isinstance(value, dict)
    return value


def _list(value: Json) -> list[Json]:
    assert isinstance(value, list)
    return value
