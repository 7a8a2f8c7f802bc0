"""Words for names that nobody knows: what there is, and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_CLOSE = 0.5  # "densify" is close enough to "densify_depthwise"


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """One line for a name that nobody knows: a guess where one is close, and what there is."""
    names = list(known)
    return f"unknown {kind} '{name}': {guess(name, names)}there is {', '.join(names) or 'none'}"


def guess(name: str, known: Iterable[str]) -> str:
    """The words `did you mean ... ?` where a known name is close to this one, else nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=_CLOSE)
    return f"did you mean '{close[0]}'? " if close else ""
