"""Texts of a report made fit for a page: names of nodes are whatever somebody put into a model.

Escaping is the template's; what is left to do is what no escaping does: letters that turn the direction
of what follows, or that nobody sees, become visible, and words of thousands of letters lose their middle.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from hashlib import sha256
from typing import TypeVar, cast

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
    if isinstance(value, Enum):
        return value
    if isinstance(value, str):
        return bounded(visible(value))
    if isinstance(value, Mapping):
        return {_cleaned(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_cleaned, value))
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{item.name: _cleaned(getattr(value, item.name)) for item in fields(value)})
    return value
