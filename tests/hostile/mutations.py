"""Files made hostile: seeded mutations of good ones, and what must become of each."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

import pytest

from hwopt.cli.entry import main
from hwopt.errors import BadInput

SECONDS = 20.0  # that reading any file may take, on a machine that others use too
LONGEST = 4_100  # letters of a complaint, the file's name among them

# What a parser may stumble over, wherever it stands.
TOKENS = (
    b"", b"-1", b"0", b"1e308", b"1e999", b"-1e999", b"nan", b"NaN", b"inf", b"Infinity", b"null", b"true",
    b"9" * 30, b"9" * 400, b"9" * 4999, b"0x" + b"f" * 3900, b"1" + b"0" * 18, b'""', b'"\\u0000"', b"''",
    b"[]", b"{}", b"[[[[[[", b"]]]]]", b"[" * 3000, b'{"a":' * 3000, b"\x00", b"\xff\xfe", b"\xef\xbb\xbf",
    b"\x1b[2J", b"\r", b"\r\n", b"\n", b"#", b"=", b",", b";", b"../" * 20, b"/dev/zero", b"%s%n", b"$(id)",
    "\u202e".encode(), b"__import__('os')", b"a" * 5000, b"x" * 100_000, b"1970-01-01", b"1.5", b"'''",
    b'"""',
)  # fmt: skip


def mutations(good: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Seeded mutations of a file: bits flipped, cut short, pieces swapped, doubled, and words put in."""
    rng = random.Random(seed)
    for _ in range(count):
        data = bytearray(good)
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            _mutate(data, rng)
        yield bytes(data)


def _mutate(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((1, 2, 4, 8, 32)))
    match rng.randrange(6):
        case 0 if data:
            data[min(at, len(data) - 1)] ^= 1 << rng.randrange(8)
        case 1:
            del data[at:]
        case 2:
            data[at:end] = rng.choice(TOKENS)
        case 3:
            data[at:at] = rng.choice(TOKENS)
        case 4:  # a word takes the place of another one
            words = _words(data)
            if len(words) > 1:
                (a, b), (c, d) = rng.sample(words, 2)
                data[a:b] = data[c:d]
        case _:
            words = _words(data)
            if words:
                a, b = rng.choice(words)
                data[a:b] = rng.choice(TOKENS)


def _words(data: bytearray) -> list[tuple[int, int]]:
    """Where words and numbers stand."""
    found, start = [], -1
    for index, byte in enumerate(data):
        inside = chr(byte).isalnum() or byte in b"._-"
        if inside and start < 0:
            start = index
        elif not inside and start >= 0:
            found.append((start, index))
            start = -1
    return found


def refused_or_read(read: Callable[[], object], file: Path) -> bool:
    """Whether the file was refused. Fails for any end but a result or one line, and for long waits."""
    started = perf_counter()
    try:
        read()
    except BadInput as error:
        text = str(error)
        assert "\n" not in text.strip(), text
        assert len(text) < LONGEST + len(str(file)), text[:500]
        return True
    finally:
        assert perf_counter() - started < SECONDS
    return False


def refused_by_command(
    arguments: list[str], folder: Path, capfd: pytest.CaptureFixture[str], *words: str
) -> str:
    """The one line with which a command refuses: exit code 2, and nothing in the folder is new or changed."""
    before = _listing(folder)
    started = perf_counter()
    code = main(arguments)
    said = capfd.readouterr()
    assert code == 2, (code, said.err[-800:])
    assert perf_counter() - started < SECONDS
    assert said.out == ""
    assert said.err.startswith("hwopt: "), said.err
    assert said.err.count("\n") == 1, said.err
    assert said.err.rstrip("\n").isprintable(), said.err
    assert "Traceback" not in said.err
    assert len(said.err) < LONGEST
    for word in words:
        assert word in said.err, said.err
    assert _listing(folder) == before
    return said.err


def _listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
    }
