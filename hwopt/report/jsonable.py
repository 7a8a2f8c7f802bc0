"""Report  -->  JSON text: fixed key order, numbers rounded to what they can mean."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from numbers import Integral, Real

from hwopt.estimate import Estimate
from hwopt.visible import visible

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]
JsonObject = dict[str, Json]

_DIGITS = 7  # significant digits: a float32 holds no more, and a diff of two reports stays short


def to_json(report: object) -> JsonObject:
    """A report, or another versioned dataclass: schema_version comes first, then the fields as they stand."""
    encoded = encode(report)
    assert isinstance(encoded, dict)
    return {"schema_version": encoded.pop("schema_version"), **encoded}


def json_text(value: Json) -> str:
    """Indented JSON that ends in a newline. Strict: NaN and infinities were made strings or null.

    Letters that nobody sees, or that turn the text around, are written by their numbers.
    """
    return visible(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)) + "\n"


def encode(value: object) -> Json:
    """Dataclasses by field, estimates with their three keys, tuples as lists, floats rounded.

    Raises TypeError for anything that has no JSON form.
    """
    if type(value) is float:  # first what there is most of: to ask for a kind of number takes long
        return rounded(value)
    if type(value) is int:
        return value
    if isinstance(value, Enum):
        return encode(value.value)
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return rounded(float(value))
    if isinstance(value, Estimate):
        return {name: encode(part) for name, part in value.to_json().items()}
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {name.rstrip("_"): encode(getattr(value, name)) for name in field_names(type(value))}
    raise TypeError(f"{type(value).__name__} has no place in a report")


@cache
def field_names(kind: type) -> tuple[str, ...]:
    """The names of a dataclass's fields, in their order."""
    return tuple(item.name for item in fields(kind))


def rounded(value: float) -> float | int | None:
    """Seven significant digits; whole numbers without a fraction; None where it is not finite."""
    if not math.isfinite(value):
        return None
    short = float(f"{value:.{_DIGITS}g}") if abs(value) < 10**_DIGITS else float(round(value))
    return int(short) if short.is_integer() and abs(short) < 2**53 else short
