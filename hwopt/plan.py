"""The plan: what was decided, as a file that can be read, edited by hand and replayed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hwopt.choice import Parameter, Value
from hwopt.errors import BadInput
from hwopt.files.untrusted import Data, read_json, shorten

SCHEMA_VERSION = 1
_NAME_ONE = "name the OUT.plan.json that hwopt optimize has written"
LARGEST_FILE = 16_000_000  # bytes: a hundred thousand steps


@dataclass(frozen=True)
class Step:
    """One value of one choice. `parameters` are for the reader and are not used on replay."""

    choice: str
    pass_name: str
    value: str
    parameters: Mapping[str, Parameter]


@dataclass(frozen=True)
class Plan:
    """Ordered steps and the hashes of everything that they were decided for.

    calibration: fingerprint of the data, None where none was used. output_sha256: what the
    plan gave when it was written, for information only. options: those settings beside the steps
    that decide the result, where they are not the default.
    """

    model_sha256: str
    target: str
    target_config: str
    cost_model_sha256: str | None
    calibration: str | None
    seed: int
    steps: tuple[Step, ...]
    output_sha256: str | None = None
    options: Mapping[str, Parameter] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data, in the order of the file."""
        steps = [
            {"choice": s.choice, "pass": s.pass_name, "value": s.value, "parameters": dict(s.parameters)}
            for s in self.steps
        ]
        table = {"schema_version": SCHEMA_VERSION, **asdict(self)}
        table["steps"] = steps
        table["options"] = dict(self.options)
        return table

    def text(self) -> str:
        """The file's content: the same bytes for the same plan."""
        return json.dumps(self.to_json(), indent=2) + "\n"


def steps_of(values: Iterable[Value]) -> tuple[Step, ...]:
    """The steps that record these values."""
    return tuple(Step(v.choice, v.pass_name, v.name, v.parameters) for v in values)


def read_plan(path: Path) -> Plan:
    """Reads a plan file. Raises BadInput where it is none, or one of another schema."""
    table = read_json(path, "plan", LARGEST_FILE)
    if not isinstance(table, dict):
        raise BadInput(f"plan {path} is not a JSON object")
    if "steps" not in table and "schema_version" not in table:
        raise BadInput(f"{path} is no plan: {_NAME_ONE}")
    version = table.get("schema_version")
    if isinstance(version, bool) or version != SCHEMA_VERSION:
        raise BadInput(f"plan {path} has schema_version {_told(version)}, this hwopt reads {SCHEMA_VERSION}")
    try:
        return _parse(table)
    except KeyError as error:
        raise BadInput(f"plan {path} lacks the key {error}: {_NAME_ONE}") from None
    except ValueError as error:
        raise BadInput(f"plan {path}: {error}") from None


def _parse(table: Mapping[str, Data]) -> Plan:
    """The plan that a table holds. Raises KeyError for what it lacks, ValueError for what is wrong in it."""
    steps = table["steps"]
    if not isinstance(steps, list):
        raise ValueError("'steps' is not a list")
    decided = tuple(_step(number, step) for number, step in enumerate(steps, start=1))
    return Plan(
        model_sha256=_text(table, "model_sha256"),
        target=_text(table, "target"),
        target_config=_text(table, "target_config"),
        cost_model_sha256=_optional(table, "cost_model_sha256"),
        calibration=_optional(table, "calibration"),
        seed=_seed(table["seed"]),
        steps=decided,
        output_sha256=_optional(table, "output_sha256"),
        options=_parameters(table, "options"),
    )


def _step(number: int, step: Data) -> Step:
    if not isinstance(step, dict):
        raise ValueError(f"step {number} is not an object with choice, pass and value")
    choice, by, value = (_text(step, key) for key in ("choice", "pass", "value"))
    return Step(choice, by, value, _parameters(step, "parameters"))


def _seed(value: Data) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"'seed' is {_told(value)}: it must be a whole number that is not negative")
    return value


def _parameters(table: Mapping[str, Data], key: str) -> dict[str, Parameter]:
    """What stands beside the decisions: texts, numbers and lists of numbers by name."""
    found = table.get(key, {})
    if not isinstance(found, dict):
        raise ValueError(f"'{key}' is {_told(found)}: it must be an object")
    return {name: _parameter(value, f"{key}.{name}") for name, value in found.items()}


def _parameter(value: Data, key: str) -> Parameter:
    if isinstance(value, list):
        numbers = tuple(item for item in value if isinstance(item, int))
        if len(numbers) == len(value):
            return numbers
    elif isinstance(value, str | int | float):
        return value
    raise ValueError(f"'{key}' is {_told(value)}: it must be a text, a number or a list of whole numbers")


def _text(table: Mapping[str, Data], key: str) -> str:
    value = table[key]
    if not isinstance(value, str):
        raise ValueError(f"'{key}' is not a text")
    return value


def _optional(table: Mapping[str, Data], key: str) -> str | None:
    return None if table.get(key) is None else _text(table, key)


def _told(value: Data) -> str:
    """A value of the file for a message."""
    return shorten(json.dumps(value))
