"""Words for error lines: texts and errors of others shortened, names that nobody knows, what was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from hwopt.visible import escaped

_CLOSE = 0.5  # "densify" is close enough to "densify_depthwise"
_SHOWN = 80
_SAID = 200
_CLOSE_FILE = 0.75  # all models of a folder end in ".onnx"


def shorten(text: str, longest: int = _SHOWN) -> str:
    """A text from a file for an error line: one line, printable, of so many letters at most."""
    line = escaped(" ".join(text.split()))
    return line if len(line) <= longest else line[: longest - 3] + "..."


def said(error: BaseException, longest: int = _SAID) -> str:
    """What an error says, for an error line as `shorten` makes it; its class where it says nothing."""
    return shorten(str(error), longest) or type(error).__name__


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """One line for a name that nobody knows: a guess where one is close, and what there is."""
    names = list(known)
    return f"unknown {kind} '{shorten(name)}': {guess(name, names)}there is {', '.join(names) or 'none'}"


def guess(name: str, known: Iterable[str]) -> str:
    """The words `did you mean ... ?` where a known name is close to this one, else nothing."""
    close = _closest(name, known, _CLOSE)
    return f"did you mean '{close}'? " if close else ""


def near(path: str | Path) -> str:
    """For a file that is not there: `: did you mean ... ?` where its folder holds one of a close name.

    Where there is not even that folder: so much. Else nothing.
    """
    file = Path(path)
    try:
        if not file.parent.is_dir():
            return f": there is no folder {file.parent}"
        close = _closest(file.name, (item.name for item in file.parent.iterdir()), _CLOSE_FILE)
    except (OSError, ValueError):
        return ""
    return f": did you mean '{file.with_name(close)}'?" if close else ""


def _closest(name: str, known: Iterable[str], cutoff: float) -> str:
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=cutoff)), "")
