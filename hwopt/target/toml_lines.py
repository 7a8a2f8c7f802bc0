"""At which line of a TOML text each key stands.

tomllib keeps no positions, and neither does tomlkit (python-poetry/tomlkit, issue 55). But the
grammar is one of lines: a text cut after a line is valid TOML unless the cut is inside a value.
(an array that goes on can be closed). So the line of a key is where tomllib sees it first when the
text is read line by line, and no second grammar is needed. That takes a few parses per line: it is
asked for only when something is wrong. It is bounded: in a file of thousands of lines, keys behind the
first ones get the line of what is around them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path as File
from typing import Any

from hwopt.errors import BadInput
from hwopt.files.untrusted import read_bytes, too_deep
from hwopt.files.untrusted import shorten as shorten

Path = tuple[str | int, ...]

LARGEST_FILE = 200_000
LONGEST_LINE = 4_000  # tomllib takes minutes for a key of a hundred thousand parts
DEEPEST = 32  # tables and arrays in one another: no file of hwopt has six
_LARGEST_BITS = 14_000  # of a whole number: Python writes no longer one in digits
_READ_AGAIN = 2_000_000  # characters that finding lines may parse: a second
_ENDS = ("", "]", "]]")  # what closes an array that goes on in the next line
_BEYOND = "a number or a nesting beyond all bounds"
_ERROR_LINE = re.compile(r"\(at line (\d+), column \d+\)")


def read_text(file: File, kind: str) -> str:
    """A TOML file's text, without a byte order mark; lines end in a newline alone.

    Raises BadInput, naming the kind of file, for what can be no such file.
    """
    data = read_bytes(file, kind, LARGEST_FILE)
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BadInput(f"{file}:{line}: not valid TOML: not UTF-8 text") from None
    if any(len(line) > LONGEST_LINE for line in text.split("\n")):
        raise BadInput(f"{kind} {file}: a line of more than {LONGEST_LINE} characters: break it up")
    return text


def read_tables(file: File, text: str) -> dict[str, Any]:
    """The tables of a TOML text.

    Raises BadInput with the line for what is not TOML, and for a nesting or a number beyond all bounds.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{file}:{error_line(error, text)}: not valid TOML: {shorten(str(error))}") from None
    except (ValueError, RecursionError):
        raise BadInput(f"{file}: not valid TOML: {_BEYOND}") from None
    if too_deep(tables, DEEPEST) or any(map(_too_large, _leaves(tables))):
        raise BadInput(f"{file}: not valid TOML: {_BEYOND}")
    return tables


def _leaves(value: object) -> Iterator[object]:
    """All that is no table and no array; what lies too deep was refused before."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _leaves(item)
    else:
        yield value


def _too_large(value: object) -> bool:
    return isinstance(value, int) and value.bit_length() > _LARGEST_BITS


def lines_of(text: str) -> dict[Path, int]:
    """The line of every key, table header and element of an array of tables, counted from 1.

    A path holds names, and numbers for elements of arrays. Keys of an inline table have the line
    on which their value begins. Text is what `read_tables` takes; raises tomllib.TOMLDecodeError where
    it is not TOML.
    """
    tomllib.loads(text)
    lines: dict[Path, int] = {}
    left = _READ_AGAIN
    read, start = "", 0  # start: line on which the value being read begins, 0 between values
    for number, line in enumerate(text.split("\n"), 1):
        read += line + "\n"
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        start = start or number
        for end in _ENDS:
            table = _parsed(read + end)
            left -= len(read)
            if table is not None:
                for path in _paths(table):
                    lines.setdefault(path, number if isinstance(path[-1], int) else start)
                break
        if table is not None and not end:
            start = 0
        if left < 0:
            break
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
