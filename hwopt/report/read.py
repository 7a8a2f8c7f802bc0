"""OUT.report.json  -->  Report.

Made by pydantic from the dataclasses of `hwopt.report.schema`, so it cannot disagree with them.
A report is data: reading one runs nothing. Keys that nobody knows are passed over, so that a report of a
newer hwopt of the same schema version can be read.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from hwopt.errors import BadInput
from hwopt.files.untrusted import read_json, shorten
from hwopt.report.coherent import incoherence
from hwopt.report.jsonable import Json, JsonObject
from hwopt.report.schema import SCHEMA_VERSION, Report

LARGEST_FILE = 256_000_000  # bytes: a report of twenty thousand subgraphs has thirty million
_NAME_ONE = "name the OUT.report.json that hwopt optimize has written"
_KEYWORD = "pass"  # the key of the file that no Python name can be


def read_report(path: Path) -> Report:
    """Reads a report. Raises BadInput where the file is none, or one of another schema version."""
    table = read_json(path, "report", LARGEST_FILE)
    if not isinstance(table, dict) or "schema_version" not in table:
        raise BadInput(f"{path} is no report: {_NAME_ONE}")
    if table["schema_version"] != SCHEMA_VERSION:
        version = shorten(str(table["schema_version"]))
        raise BadInput(f"report {path} has schema_version {version}, this hwopt reads {SCHEMA_VERSION}")
    try:
        report = from_json(table)
    except ValidationError as error:
        first = error.errors()[0]
        where = shorten(".".join(str(part) for part in first["loc"]))
        lacks = first["type"] == "missing"
        what = f"it lacks the key '{where}': {_NAME_ONE}" if lacks else f"{where}: {shorten(first['msg'])}"
        raise BadInput(f"report {path}: {what}") from None
    if wrong := incoherence(report):
        raise BadInput(f"report {path}: {shorten(wrong)}")
    return report


def from_json(table: JsonObject) -> Report:
    """The report that `to_json` made this of. Raises pydantic's ValidationError where it is none."""
    skipped = table.get("skipped", [])
    rows: list[Json] = [_renamed(row) for row in skipped] if isinstance(skipped, list) else []
    return report_adapter().validate_python({**table, "skipped": rows})


@cache
def report_adapter() -> TypeAdapter[Report]:
    """What checks a report; built once, it takes a while."""
    return TypeAdapter(Report)


def _renamed(row: Json) -> Json:
    if not isinstance(row, dict):
        return row
    return {f"{key}_" if key == _KEYWORD else key: value for key, value in row.items()}
