"""An incident, told to programs (error.json) and to people (README.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import onnx_ir as ir

from hwopt.debug.faults.incident import Incident
from hwopt.debug.faults.reproduction import Line
from hwopt.errors import HwoptError, PassFailed, RewriteFailed, reason_of
from hwopt.report.jsonable import Json, JsonObject
from hwopt.versions import versions
from hwopt.wording import shorten

SCHEMA_VERSION = 1
_LONGEST = 4_000  # letters of what went wrong


def facts(
    incident: Incident, written: Sequence[str], missing: Mapping[str, str], line: Line | None
) -> JsonObject:
    """error.json: what failed, where, on what material, and how to see it again."""
    work, asked, step = incident.work, incident.asked, incident.step
    calibration = None if work is None or work.calibration is None else work.calibration.fingerprint
    return {
        "schema_version": SCHEMA_VERSION,
        "error": _said(incident.error),
        "type": type(incident.error).__name__,
        "stage": incident.stage or None,
        "step": None
        if step is None
        else {
            "number": _number(incident),
            "pass": step.pass_name,
            "choice": step.choice,
            "value": step.value,
        },
        "command": asked.command or None,
        "directory": str(Path.cwd()),
        "options": {} if asked.command else {name: _plain(value) for name, value in asked.options.items()},
        "reproduce": None if line is None else str(line),
        "reproduce_tried": line is not None and line.tried,
        "model": None if work is None else {"path": work.path or None, "sha256": work.sha256},
        "target": None if work is None else {"name": work.target.name, "config": work.target.config_hash},
        "calibration": calibration,
        "seed": None if work is None else work.settings.seed,
        "files": {name: text for name, text in _files(incident) if name in written},
        "missing": dict(missing),
        "versions": dict(versions()),
    }


def readme(incident: Incident, written: Sequence[str], line: Line | None) -> str:
    """README.md: what happened, the line that shows it again, what each file is."""
    return "\n".join(_paragraphs(incident, written, line)) + "\n"


def _paragraphs(incident: Incident, written: Sequence[str], line: Line | None) -> Iterator[str]:
    yield from ("# What went wrong", "", _said(incident.error), "")
    if incident.stage:
        yield from (f"It happened in the step '{incident.stage}' of {_who_asked(incident)}", "")
    if line is not None:
        yield from (f"To see it again ({line.trust}):", "", f"    {line}", "")
    else:
        yield from ("No command line shows it again: what it was called with is in error.json.", "")
    if (
        isinstance(incident.error, RewriteFailed)
        and not incident.error.choice
        and line is not None
        and line.bisect
    ):
        yield from ("To find the step at fault:", "", f"    {line.bisect}", "")
    yield from ("| file | what it is |", "|---|---|")
    yield from (f"| {name} | {text} |" for name, text in _files(incident) if name in written)
    if incident.work is not None and incident.work.calibration is not None:
        yield from ("", "The calibration data are not here; their fingerprint is in error.json.")


def _who_asked(incident: Incident) -> str:
    command = incident.asked.command
    return (
        f"this command, given in {Path.cwd()}:\n\n    {command}" if command else "a call of `hwopt.optimize`."
    )


def _files(incident: Incident) -> Iterator[tuple[str, str]]:
    yield "traceback.txt", "where in the code"
    yield "error.json", "all that is known, for programs"
    yield "reproduce.sh", "the line that shows it again"
    if incident.plan is not None:
        count = len(incident.plan.steps)
        reach = "the plan up to and with the step that failed" if incident.step else "the plan as it was made"
        yield "plan.json", f"{reach}: {count} step{'' if count == 1 else 's'}"
    yield "model.onnx", "the input"
    if incident.before is not None:
        yield "before.onnx", _before(incident)
    if incident.after is not None:
        yield "after.onnx", "what the steps made of the model"


def _before(incident: Incident) -> str:
    before, work = incident.before, incident.work
    assert before is not None, "only then it is named"
    whole = work is not None and _inputs(before) == _inputs(work.model)
    what = "the model" if whole else "a region cut out of the model"
    did = "was writing into" if incident.step else "was looking at"
    return (
        f"{what} that the pass {did}" if isinstance(incident.error, PassFailed) else f"{what} before the step"
    )


def _number(incident: Incident) -> int | None:
    """Of the step that failed, in the plan: its last."""
    return None if incident.plan is None else len(incident.plan.steps)


def _inputs(model: ir.Model) -> list[str | None]:
    return [value.name for value in model.graph.inputs]


def _said(error: Exception) -> str:
    """What an error says; with its class where nobody raised it on purpose."""
    return shorten(str(error) if isinstance(error, HwoptError) else reason_of(error), _LONGEST)


def _plain(value: object) -> Json:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
