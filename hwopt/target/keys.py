"""The keys of target.toml: which tables there are, what each key holds, and what is wrong with one.

A rule says what a value must be, and says nothing where it is. Only the shape of the file is
checked here; what must hold between keys is in hwopt.target.check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import inf

from hwopt.target.toml_lines import Path
from hwopt.wording import guess, shorten, unknown

Rule = Callable[[object], str]

PRECISION_BYTES = {"int8": 1, "fp16": 2, "fp32": 4}
ARRAY_DIMENSIONS = ("out_channels", "in_channels", "out_height", "out_width")
SPARSITY_PATTERNS = ("unstructured", "2:4", "1:4", "block", "1x4", "4x1", "channel")
_OWN_OPS = ("DepthwiseConv", "GroupedConv", "Silu")  # words of target files that ONNX does not have
_SHA256_DIGITS = 64
_SHOWN = 60
LARGEST_WHOLE = 1 << 50  # a petabyte, or as many MACs: beyond, doubles no longer count
LARGEST, SMALLEST = 1e15, 1e-9
LONGEST_TEXT = 1_000
LONGEST_NAME = 100
MOST_TABLES = 200  # of one kind; a shipped target has 12 fusion rules at most
MOST_ELEMENTS = 1_000  # of an array: ONNX has 200 operators


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where in the file, and one sentence.

    spoils: whether nothing that needs the table can be judged any more.
    """

    path: Path
    text: str
    spoils: bool = True


@dataclass(frozen=True)
class Key:
    """A key of a table: the rule that its value obeys, and whether it may be left out.

    each: the rule for every element, where the value is an array.
    """

    rule: Rule
    required: bool = True
    each: Rule | None = None


def text(value: object) -> str:
    """Text in quotes, on one line: letters that can be seen."""
    if not isinstance(value, str) or not value.strip() or "\n" in value:
        return "must be text in quotes"
    if not value.isprintable():
        return "must not hold letters that nobody sees"
    return "" if len(value) <= LONGEST_TEXT else f"must not be longer than {LONGEST_TEXT} letters"


def name(value: object) -> str:
    """A name that may be part of a file's name, and of a sentence."""
    reason = text(value)
    if reason:
        return reason
    assert isinstance(value, str)
    if set(value) & set("/\\") or value.startswith("."):
        return "must be a name, not a path"
    return "" if len(value) <= LONGEST_NAME else f"must not be longer than {LONGEST_NAME} letters"


def positive(value: object) -> str:
    """A number above zero that a clock, a memory or a device can have."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "must be a number"
    if not value > 0 or value == inf:
        return "must be positive"
    return "" if SMALLEST <= value <= LARGEST else f"must lie between {SMALLEST:g} and {LARGEST:g}"


def whole(value: object) -> str:
    """A whole number above zero that a device can have."""
    if isinstance(value, bool) or not isinstance(value, int):
        return "must be a whole number"
    if value <= 0:
        return "must be positive"
    return "" if value <= LARGEST_WHOLE else f"must not be larger than {LARGEST_WHOLE:,}"


def flag(value: object) -> str:
    """true or false."""
    return "" if isinstance(value, bool) else "must be true or false"


def sha256(value: object) -> str:
    """A SHA-256 as text."""
    fine = isinstance(value, str) and len(value) == _SHA256_DIGITS and set(value) <= set("0123456789abcdef")
    return "" if fine else f"must be a SHA-256: {_SHA256_DIGITS} digits of 0-9 and a-f"


def one_of(kind: str, known: tuple[str, ...]) -> Rule:
    """Text that is one of these."""
    return lambda value: text(value) or ("" if value in known else unknown(kind, str(value), known))


def array(value: object) -> str:
    """An array; `Key.each` says what its elements must be."""
    if not isinstance(value, list):
        return "must be an array: [ ... ]"
    return "" if len(value) <= MOST_ELEMENTS else f"must not have more than {MOST_ELEMENTS:,} elements"


def some(value: object) -> str:
    """An array with at least one element, no element twice."""
    if not isinstance(value, list) or array(value):
        return array(value)
    twice = [item for index, item in enumerate(value) if item in value[:index]]
    if twice:
        return f"names {shown(twice[0])} twice"
    return "" if value else "must not be empty"


def operators(value: object) -> str:
    """A set of operators: the followers of one stage."""
    return some(value) or next((reason for item in value if (reason := operator(item))), "")  # type: ignore[attr-defined]


def operator(value: object) -> str:
    """An operator of ONNX, or one of the words that tell convolutions apart."""
    if text(value) or value in _OWN_OPS:
        return text(value)
    known = onnx_operators()
    if value in known:
        return ""
    return f"unknown operator '{value}': {guess(str(value), [*_OWN_OPS, *known])}names are those of ONNX"


@lru_cache(maxsize=1)
def onnx_operators() -> tuple[str, ...]:
    """Names of all operators of ONNX's own domain."""
    import onnx.defs

    return tuple(sorted({s.name for s in onnx.defs.get_all_schemas() if s.domain == ""}))


def dimensions(value: object) -> str:
    """The array's unrolling: known loops, each with a whole number."""
    if not isinstance(value, dict):
        return "must be a table: { out_channels = 16, in_channels = 16 }"
    for name, size in value.items():
        if name not in ARRAY_DIMENSIONS:
            return unknown("dimension", str(name), ARRAY_DIMENSIONS)
        if whole(size):
            return f"'{name}' is {shown(size)}: {whole(size)}"
    return ""


def options(value: object) -> str:
    """Options of an oracle: text, numbers and flags only."""
    if not isinstance(value, dict):
        return "must be a table"
    for key, item in value.items():
        if not isinstance(item, str | int | float | bool):
            return f"'{key}' must be text, a number, true or false"
        if isinstance(item, str) and item and text(item):
            return f"'{key}' {text(item)}"
    return ""


TOP: Mapping[str, Key] = {
    "schema_version": Key(whole),
    "name": Key(name),
    "title": Key(text),
    "precision": Key(one_of("precision", tuple(PRECISION_BYTES))),
}
TABLES: Mapping[str, tuple[Mapping[str, Key], bool]] = {  # keys, whether the table must be there
    "hardware": (
        {
            "clock_mhz": Key(positive),
            "macs_per_cycle": Key(whole),
            "array": Key(dimensions, required=False),
            "channel_multiples": Key(some, each=whole),
            "weights_compressed": Key(flag),
            "depthwise_macs_per_cycle": Key(whole, required=False),
            "arena_memory": Key(text, required=False),
        },
        True,
    ),
    "sparsity": (
        {"skipped": Key(array, required=False, each=one_of("sparsity pattern", SPARSITY_PATTERNS))},
        False,
    ),
    "oracle": ({"name": Key(text), "options": Key(options, required=False)}, True),
    "cost_model": (
        {
            "file": Key(text),
            "sha256": Key(sha256),
            "feature_version": Key(whole),
            "data_sha256": Key(sha256),
        },
        False,
    ),
}
ARRAYS: Mapping[str, tuple[Mapping[str, Key], bool]] = {  # arrays of tables: [[memory]] ...
    "memory": ({"name": Key(name), "bytes": Key(whole), "bytes_per_cycle": Key(positive)}, True),
    "engine": (
        {"name": Key(name), "ops": Key(some, each=operator), "host": Key(flag, required=False)},
        True,
    ),
    "fusion": ({"anchors": Key(some, each=operator), "followers": Key(array, each=operators)}, False),
}


def shape_problems(table: Mapping[str, object]) -> Iterator[Problem]:
    """Missing and unknown keys, and values that no other key is needed to judge."""
    yield from _table_problems(table, TOP, (), (*TABLES, *ARRAYS))
    for name, (keys, required) in TABLES.items():
        item = table.get(name)
        if item is None and required:
            yield Problem((), f"table [{name}] is missing")
        elif isinstance(item, dict):
            yield from _table_problems(item, keys, (name,))
        elif item is not None:
            yield Problem((name,), f"key '{name}' is {shown(item)}: must be a table [{name}]")
    for name, (keys, required) in ARRAYS.items():
        yield from _array_problems(table.get(name), keys, name, required)


def _array_problems(items: object, keys: Mapping[str, Key], name: str, required: bool) -> Iterator[Problem]:
    if items is None or items == []:
        if required:
            yield Problem((), f"table [[{name}]] is missing: one for each {name}")
    elif not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        yield Problem((name,), f"key '{name}' must be written as tables [[{name}]]")
    elif len(items) > MOST_TABLES:
        yield Problem((name,), f"there are {len(items)} tables [[{name}]]: at most {MOST_TABLES} are read")
    else:
        for index, item in enumerate(items):
            yield from _table_problems(item, keys, (name, index))


def _table_problems(
    table: Mapping[str, object], keys: Mapping[str, Key], path: Path, others: tuple[str, ...] = ()
) -> Iterator[Problem]:
    for name in table:
        if name not in keys and name not in others:
            known, place = [*keys, *others], (*path, name)
            there = f"{guess(name, known)}keys here are {', '.join(known)}"
            yield Problem(place, f"unknown key '{dotted(place)}': {there}", spoils=False)
    for name, key in keys.items():
        if name in table:
            yield from _value_problems(table[name], key, (*path, name))
        elif key.required:
            yield Problem(path, f"key '{dotted((*path, name))}' is missing: it {key.rule(None)}")


def _value_problems(value: object, key: Key, place: Path) -> Iterator[Problem]:
    reason = key.rule(value)
    if reason:
        yield Problem(place, f"key '{dotted(place)}' is {shown(value)}: {reason}")
    if key.each is not None and isinstance(value, list):
        for index, item in enumerate(value):
            if reason := key.each(item):
                yield Problem((*place, index), f"key '{dotted(place)}' names {shown(item)}: {reason}")


def dotted(path: Path) -> str:
    """A path as a person writes it: hardware.clock_mhz, memory[1].bytes (elements count from 0).

    A name that is too long for a line is cut.
    """
    words = ""
    for part in path:
        name = part if isinstance(part, int) else shorten(part)
        words += f"[{name}]" if isinstance(name, int) else f".{name}" if words else name
    return words


def shown(value: object) -> str:
    """A value for an error line, cut where it is long."""
    written = f"'{value}'" if isinstance(value, str) else str(value).replace("True", "true")
    written = written.replace("False", "false")
    return written if len(written) <= _SHOWN else written[: _SHOWN - 3] + "..."
