"""What a user's command prints, checked key by key.

    {"latency_us": 123.4}
    {"latency_us": [125.0, 123.4, 124.1], "peak_bytes": 65536, "weight_bytes": 3500,
     "rows": [{"output": "conv1", "latency_us": 80.2}, {"output": "relu2", "latency_us": 43.2}],
     "details": {"temperature_c": 41.5}}
    {"error": "Resize is not supported", "nodes": ["up1"]}

`error` is a property of the model and is remembered; a failure that may pass (a board that does
not answer) is an exit code other than 0, and is tried again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite

from hwopt.oracles.protocol import Row
from hwopt.wording import guess

_KEYS = ("latency_us", "peak_bytes", "weight_bytes", "rows", "details")
_ERROR_KEYS = ("error", "nodes")
_ROW_KEYS = ("output", "latency_us", "macs", "off_chip_bytes", "weight_bytes", "bound")
_SHOWN = 60


@dataclass(frozen=True)
class Report:
    """One run of the command. samples: at least one, in microseconds."""

    samples: tuple[float, ...]
    peak_bytes: int | None = None
    weight_bytes: int | None = None
    rows: tuple[Row, ...] = ()
    details: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Refusal:
    """The device cannot run the model; `nodes` are the outputs of the operators at fault."""

    reason: str
    nodes: tuple[str, ...]


class BadReport(ValueError):
    """The output is not what it should be; the text names the key, what it is and what was expected."""


def parse_report(text: str) -> Report | Refusal:
    """The answer in a command's output: all of it, or the last line that starts with a brace.

    Raises BadReport.
    """
    table = _object(text)
    if "error" in table:
        _known(table, _ERROR_KEYS, "")
        nodes = _list(table.get("nodes", []), "nodes")
        return Refusal(
            _text(table["error"], "error"), tuple(_text(n, f"nodes[{i}]") for i, n in enumerate(nodes))
        )
    _known(table, _KEYS, "")
    if "latency_us" not in table:
        raise BadReport("key 'latency_us' is missing: expected a number, or a list of numbers")
    return Report(
        samples=_samples(table["latency_us"]),
        peak_bytes=_optional(table, "peak_bytes", _whole),
        weight_bytes=_optional(table, "weight_bytes", _whole),
        rows=_rows(table.get("rows", [])),
        details=_details(table.get("details", {})),
    )


def _object(text: str) -> Mapping[str, object]:
    lines = [line for line in text.splitlines() if line.lstrip().startswith("{")]
    for candidate in (text, *lines[-1:]):
        try:
            found = json.loads(candidate)
        except (json.JSONDecodeError, RecursionError):
            continue
        if isinstance(found, dict):
            return found
    got = _shown(text.strip()) if text.strip() else "nothing"
    raise BadReport(f'expected a JSON object such as {{"latency_us": 123.4}} on standard output, got {got}')


def _known(table: Mapping[str, object], keys: tuple[str, ...], place: str) -> None:
    for name in table:
        if name not in keys:
            there = f"{guess(name, keys)}there is {', '.join(keys)}"
            raise BadReport(f"unknown key '{place}{name}': {there}")


def _samples(value: object) -> tuple[float, ...]:
    if not isinstance(value, list):
        return (_positive(value, "latency_us"),)
    if not value:
        raise BadReport("key 'latency_us' is an empty list: expected at least one number")
    return tuple(_positive(item, f"latency_us[{i}]") for i, item in enumerate(value))


def _rows(value: object) -> tuple[Row, ...]:
    rows = tuple(_row(item, f"rows[{i}]") for i, item in enumerate(_list(value, "rows")))
    names = [row.output for row in rows]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise BadReport(f"key 'rows[{i}].output' is '{name}' for the second time: add the two up")
    return rows


def _row(value: object, place: str) -> Row:
    if not isinstance(value, dict):
        raise BadReport(f"key '{place}' is {_shown(value)}: expected an object with output and latency_us")
    _known(value, _ROW_KEYS, f"{place}.")
    for name in ("output", "latency_us"):
        if name not in value:
            raise BadReport(f"key '{place}.{name}' is missing")
    counts = {
        name: _whole(value[name], f"{place}.{name}")
        for name in ("macs", "off_chip_bytes", "weight_bytes")
        if name in value
    }
    return Row(
        output=_text(value["output"], f"{place}.output"),
        latency_us=_not_negative(value["latency_us"], f"{place}.latency_us"),
        bound=_text(value["bound"], f"{place}.bound") if "bound" in value else "",
        **counts,
    )


def _details(value: object) -> Mapping[str, float]:
    if not isinstance(value, dict):
        raise BadReport(f"key 'details' is {_shown(value)}: expected an object of numbers")
    return {name: _number(item, f"details.{name}") for name, item in value.items()}


def _optional(table: Mapping[str, object], key: str, read: Callable[[object, str], int]) -> int | None:
    return None if table.get(key) is None else read(table[key], key)


def _list(value: object, place: str) -> list[object]:
    if not isinstance(value, list):
        raise BadReport(f"key '{place}' is {_shown(value)}: expected a list")
    return value


def _text(value: object, place: str) -> str:
    if not isinstance(value, str) or not value:
        raise BadReport(f"key '{place}' is {_shown(value)}: expected text")
    return value


def _number(value: object, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise BadReport(f"key '{place}' is {_shown(value)}: expected a number")
    return float(value)


def _positive(value: object, place: str) -> float:
    if _number(value, place) <= 0:
        raise BadReport(f"key '{place}' is {_shown(value)}: expected more than zero microseconds")
    return _number(value, place)


def _not_negative(value: object, place: str) -> float:
    if _number(value, place) < 0:
        raise BadReport(f"key '{place}' is {_shown(value)}: expected zero or more microseconds")
    return _number(value, place)


def _whole(value: object, place: str) -> int:
    number = _number(value, place)
    if number < 0 or number != int(number):
        raise BadReport(f"key '{place}' is {_shown(value)}: expected a whole number, zero or more")
    return int(number)


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    short = text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
    return f"'{short}'" if isinstance(value, str) else short
