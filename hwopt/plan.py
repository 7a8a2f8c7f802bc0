"""The plan: what was decided, as a file that can be read, edited by hand and replayed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hwopt.choice import Parameter, Value
from hwopt.errors import BadInput
from hwopt.wording import near

SCHEMA_VERSION = 1


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
    try:
        table = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadInput(f"plan {path} cannot be read: {error.strerror}{near(path)}") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"plan {path} is not JSON: {error}") from None
    if not isinstance(table, dict):
        raise BadInput(f"plan {path} is not a JSON object")
    if "steps" not in table and "schema_version" not in table:
        raise BadInput(f"{path} is no plan: name the OUT.plan.json that hwopt optimize has written")
    if table.get("schema_version") != SCHEMA_VERSION:
        raise BadInput(f"plan {path} has schema_version {table.get('schema_version')}, this hwopt reads 1")
    try:
        return _parse(table)
    except KeyError as error:
        raise BadInput(f"plan {path} lacks the key {error}") from None
    except (TypeError, ValueError) as error:
        raise BadInput(f"plan {path}: {error}") from None


def _parse(table: dict[str, Any]) -> Plan:
    steps = tuple(
        Step(_text(s, "choice"), _text(s, "pass"), _text(s, "value"), dict(s.get("parameters", {})))
        for s in table["steps"]
    )
    return Plan(
        model_sha256=_text(table, "model_sha256"),
        target=_text(table, "target"),
        target_config=_text(table, "target_config"),
        cost_model_sha256=_optional(table, "cost_model_sha256"),
        calibration=_optional(table, "calibration"),
        seed=int(table["seed"]),
        steps=steps,
        output_sha256=_optional(table, "output_sha256"),
        options=dict(table.get("options", {})),
    )


def _text(table: Mapping[str, Any], key: str) -> str:
    if not isinstance(table[key], str):
        raise ValueError(f"'{key}' is not a text")
    return str(table[key])


def _optional(table: Mapping[str, Any], key: str) -> str | None:
    return None if table.get(key) is None else _text(table, key)
