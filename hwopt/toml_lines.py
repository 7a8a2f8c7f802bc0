"""At which line of a TOML text each key stands.

tomllib keeps no positions, and neither does tomlkit (python-poetry/tomlkit, issue 55). But the
grammar is one of lines: a text cut after a line is valid TOML unless the cut is inside a value.
(an array that goes on can be closed). So the line of a key is where tomllib sees it first when the
text is read line by line, and no second grammar is needed. That takes a few parses per line: it is
asked for only when something is wrong.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

Path = tuple[str | int, ...]

_ENDS = ("", "]", "]]")  # what closes an array that goes on in the next line
_ERROR_LINE = re.compile(r"\(at line (\d+), column \d+\)")


def lines_of(text: str) -> dict[Path, int]:
    """The line of every key, table header and element of an array of tables, counted from 1.

    A path holds names, and numbers for elements of arrays. Keys of an inline table have the line
    on which their value begins. Raises tomllib.TOMLDecodeError where the text is not TOML.
    """
    tomllib.loads(text)
    lines: dict[Path, int] = {}
    read, start = "", 0  # start: line on which the value being read begins, 0 between values
    for number, line in enumerate(text.split("\n"), 1):
        read += line + "\n"
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        start = start or number
        for end in _ENDS:
            table = _parsed(read + end)
            if table is not None:
                for path in _paths(table):
                    lines.setdefault(path, number if isinstance(path[-1], int) else start)
                break
        if table is not None and not end:
            start = 0
    return lines


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def line_of(lines: dict[Path, int], path: Path) -> int:
    """The line of a key; where there is none, of the innermost table around it that has one."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def error_line(error: tomllib.TOMLDecodeError, text: str) -> int:
    """The line that tomllib complains about: the last one for what ends too early."""
    found = _ERROR_LINE.search(str(error))
    return int(found[1]) if found else max(text.rstrip("\n").count("\n") + 1, 1)


def _paths(value: object, path: Path = ()) -> Iterator[Path]:
    """Every path into a table, parents before children."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _paths(item, (*path, str(key)))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _paths(item, (*path, index))
