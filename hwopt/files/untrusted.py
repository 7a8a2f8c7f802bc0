"""Reading files that nobody vouches for: bounded in bytes and in depth, and plain data alone.

A file that is handed over may be a pipe that never ends, a device, or a few kilobytes that unpack to
terabytes. Whoever reads one reads it through here, so that nothing is held before its size is known.
"""

from __future__ import annotations

import json
import lzma
import math
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from hwopt.errors import BadInput
from hwopt.wording import near
from hwopt.wording import shorten as shorten

Data = str | int | float | bool | None | list["Data"] | dict[str, "Data"]

DEEPEST = 64  # levels of objects and arrays; no file of hwopt has ten
_DICTIONARY = 256 << 20  # bytes that an xz file may make the unpacker hold: its dictionary
_CHUNK = 1 << 20


def read_bytes(file: Path, kind: str, largest: int) -> bytes:
    """The bytes of a regular file of at most `largest` bytes.

    kind: what the file is, for the message. A pipe, a device or a folder is refused, never waited for.
    Raises BadInput where there is no such file, or it is larger, or cannot be read.
    """
    try:
        with open(file, "rb", opener=_without_waiting) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise BadInput(f"{kind} {file}: not a file: name a regular one")
            data = stream.read(largest + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise BadInput(f"{kind} {file} cannot be read: No such file or directory{near(file)}") from None
    except IsADirectoryError:
        raise BadInput(f"{kind} {file}: not a file: it is a folder") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a file name"
        raise BadInput(f"{kind} {file} cannot be read: {reason}") from None
    if len(data) > largest:
        raise BadInput(f"{kind} {file}: more than {largest} bytes: no {kind} is that large")
    return data


def _without_waiting(name: str, flags: int) -> int:
    """Opens a pipe that nobody writes to without waiting for somebody who does."""
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))


def read_json(file: Path, kind: str, largest: int) -> Data:
    """The data of a JSON file, which a byte order mark may precede.

    Raises BadInput for what is no JSON as RFC 8259 has it: NaN and infinities, also as a number beyond
    what a double holds, and a key that is given twice; for nesting deeper than DEEPEST, and for what
    `read_bytes` refuses.
    """
    data = read_bytes(file, kind, largest)
    try:
        return parse_json(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{kind} {file} is not JSON: {_reason(error)}") from None


def parse_json(text: str) -> Data:
    """The data of a JSON text. Raises ValueError, or RecursionError, for what `read_json` refuses."""
    found: Data = json.loads(
        text, parse_float=_finite, parse_int=_whole, parse_constant=_constant, object_pairs_hook=_once
    )
    if too_deep(found, DEEPEST):
        raise ValueError(f"nested more than {DEEPEST} levels deep")
    return found


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {shorten(digits)} is beyond all bounds")
    return value


def _whole(digits: str) -> int:
    _finite(digits)  # whoever reckons with it does so in doubles
    return int(digits)


def _constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _once(pairs: list[tuple[str, Data]]) -> dict[str, Data]:
    table = dict(pairs)
    if len(table) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"key '{shorten(twice)}' is given twice")
    return table


def too_deep(value: object, levels: int) -> bool:
    """Whether lists and mappings lie in one another deeper than so many levels; asked without recursion."""
    level: list[object] = [value]
    for _ in range(levels + 1):
        level = [inner for item in level for inner in _inside(item)]
        if not level:
            return False
    return True


def _inside(item: object) -> Iterable[object]:
    if isinstance(item, dict):
        return item.values()
    return item if isinstance(item, list) else ()


def unpacked(data: bytes, largest: int) -> bytes:
    """What xz-compressed bytes hold, several streams one after the other too.

    Raises ValueError where it is more than `largest` bytes or the file ends too early; lzma.LZMAError
    where it is no xz file, or one that needs more memory than any file of hwopt to be unpacked.
    """
    parts: list[bytes] = []
    left = largest
    while data or not parts:
        unpacker = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_DICTIONARY)
        while not unpacker.eof:
            part = unpacker.decompress(data, max_length=min(_CHUNK, left + 1))
            data = b""
            left -= len(part)
            if left < 0:
                raise ValueError(f"it unpacks to more than {largest} bytes")
            if not part and unpacker.needs_input:
                raise ValueError("truncated: it ends too early")
            parts.append(part)
        data = unpacker.unused_data.lstrip(b"\0")  # streams may be padded
    return b"".join(parts)


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is no text in UTF-8"
    return "nested beyond all bounds" if isinstance(error, RecursionError) else shorten(str(error))
