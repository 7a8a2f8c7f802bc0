"""Answers of oracles as JSON text, and which figures make sense.

Whoever answered (a worker, a user's program, a file of the cache), what is no figure is never taken for
one: it becomes an `Unmeasured` that says so, and is not remembered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite

from hwopt.oracles.protocol import Answer, Measurement, Row, Unmeasured
from hwopt.wording import said

_LARGEST_US = 1e12  # eleven days
_LARGEST = 1 << 62
_ROW_COUNTS = ("macs", "off_chip_bytes", "weight_bytes")
_SHOWN = 60


def answer_to_json(answer: Answer) -> str:
    """An answer as JSON text: an object with the one key `measurement` or `unmeasured`."""
    if isinstance(answer, Measurement):
        body = {**asdict(answer), "details": dict(answer.details)}
        return json.dumps({"measurement": body}, sort_keys=True)
    return json.dumps({"unmeasured": asdict(answer)}, sort_keys=True)


def answer_from_json(text: str) -> Answer:
    """The reverse of `answer_to_json`; raises ValueError for anything else, nonsense among it."""
    try:
        table = json.loads(text)
        if "measurement" in table:
            body = dict(table["measurement"])
            rows = tuple(Row(**row) for row in body.get("rows", ()))
            answer: Answer = Measurement(
                **{**body, "rows": rows, "unpriced": tuple(body.get("unpriced", ()))}
            )
        else:
            body = dict(table["unmeasured"])
            answer = Unmeasured(**{**body, "nodes": tuple(body.get("nodes", ()))})
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not an oracle's answer: {error}") from error
    if reason := nonsense(answer):
        raise ValueError(f"not an oracle's answer: {reason}")
    return answer


def read_answer(data: bytes) -> Answer:
    """What a worker said; anything but an answer is an Unmeasured that may pass."""
    try:
        return answer_from_json(data.decode("utf-8"))
    except ValueError as error:  # of decoding, of JSON and of what it says
        return Unmeasured(f"its answer cannot be used: {said(error)}", transient=True)


def sound(answer: Answer) -> Answer:
    """The answer, or that it makes no sense."""
    reason = nonsense(answer)
    return Unmeasured(f"its answer cannot be used: {reason}", transient=True) if reason else answer


def nonsense(answer: Answer) -> str:
    """Why an answer cannot be used; "" where it can."""
    if isinstance(answer, Unmeasured):
        fine = isinstance(answer.reason, str) and isinstance(answer.transient, bool) and _texts(answer.nodes)
        return "" if fine else "its reason is no text"
    if not isinstance(answer, Measurement):
        return f"it is {_shown(answer)}"
    checks = (
        _time("latency_us", answer.latency_us),
        *(f"{name} is {_shown(value)}" for name, value in _sizes(answer) if not _is_count(value)),
        *(_row(row) for row in answer.rows),
        "" if _numbers(answer.details) else f"details are {_shown(answer.details)}",
        "" if _texts(answer.unpriced) else f"unpriced is {_shown(answer.unpriced)}",
    )
    return next(filter(None, checks), "")


def _sizes(answer: Measurement) -> list[tuple[str, object]]:
    known = (("peak_bytes", answer.peak_bytes), ("weight_bytes", answer.weight_bytes))
    return [(name, value) for name, value in known if value is not None]


def _row(row: Row) -> str:
    if not isinstance(row.output, str) or not isinstance(row.bound, str):
        return f"a row is {_shown(row)}"
    for name in _ROW_COUNTS:
        if not _is_count(getattr(row, name)):
            return f"{name} of '{row.output}' is {_shown(getattr(row, name))}"
    return _time(f"latency_us of '{row.output}'", row.latency_us)


def _time(name: str, value: object) -> str:
    fine = _is_number(value) and 0 <= float(str(value)) <= _LARGEST_US
    return "" if fine else f"{name} is {_shown(value)}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST


def _numbers(table: object) -> bool:
    return isinstance(table, Mapping) and all(
        isinstance(name, str) and _is_number(value) for name, value in table.items()
    )


def _texts(values: object) -> bool:
    return isinstance(values, Sequence) and all(isinstance(value, str) for value in values)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
