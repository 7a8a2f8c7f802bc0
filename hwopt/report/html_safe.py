"""Texts of a report made fit for a page: names of nodes are whatever somebody put into a model.

Escaping is the template's; what is left to do is what no escaping does: letters that turn the direction
of what follows, or that nobody sees, become visible, and words of thousands of letters lose their middle.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import is_dataclass, replace
from enum import Enum
from hashlib import sha256
from operator import is_
from typing import TypeVar, cast

from hwopt.report.jsonable import field_names
from hwopt.report.schema import Report
from hwopt.visible import visible as visible

_WORD = 160  # letters of one word; of a text as a whole:
_TEXT = 4000
_ENDS = 60  # letters that stay at either end
_KEY = 8  # letters of a hash in between: two long names stay two
_LONG_WORD = re.compile(rf"\S{{{_WORD + 1},}}")
Item = TypeVar("Item")


def harmless(report: Report) -> Report:
    """The same report with every text in it made visible and bounded; the command stays as long as it is."""
    return replace(_clean(report), command=visible(report.command))


def bounded(text: str) -> str:
    """Long words and long texts without their middle, the same text always with the same result."""
    text = _LONG_WORD.sub(lambda found: _shortened(found[0]), text)
    return text if len(text) <= _TEXT else _shortened(text)


def _shortened(text: str) -> str:
    key = sha256(text.encode("utf-8", "replace")).hexdigest()[:_KEY]
    return f"{text[:_ENDS]}…{key}…{text[-_ENDS:]}"


def _clean(value: Item) -> Item:
    """The same value; texts in it, at any depth, made harmless."""
    return cast(Item, _cleaned(value))


def _cleaned(value: object) -> object:
    """What needs no cleaning is given back itself: a report of a large model is mostly that."""
    if isinstance(value, Enum):
        return value
    if isinstance(value, str):
        plain = len(value) <= _WORD and value.isascii() and value.isprintable()
        return value if plain else bounded(visible(value))
    if isinstance(value, Mapping):
        return {_cleaned(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, tuple):
        found = tuple(map(_cleaned, value))
        return value if all(map(is_, found, value)) else found
    if is_dataclass(value) and not isinstance(value, type):
        parts = {name: getattr(value, name) for name in field_names(type(value))}
        cleaned = {name: _cleaned(part) for name, part in parts.items()}
        return value if all(cleaned[name] is parts[name] for name in parts) else replace(value, **cleaned)
    return value
