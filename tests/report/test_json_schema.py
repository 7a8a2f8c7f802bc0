"""The published JSON Schema: true of real reports of every kind, and telling to who reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

import hwopt
from hwopt.cli.entry import main
from hwopt.pipeline import analyze
from hwopt.report import schema, schema_failure
from hwopt.report.json_schema import field_texts, report_schema
from hwopt.report.jsonable import Json, JsonObject, to_json
from hwopt.report.schema import CalibrationInfo, Missing, Outcome, Report
from tests.graphs import write_classifier
from tests.report.reports import example

jsonschema: Any = pytest.importorskip("jsonschema", reason="the dev extra has jsonschema")
ROOT = Path(__file__).parent.parent.parent
PUBLISHED: JsonObject = json.loads((ROOT / "docs" / "report.schema.json").read_text("utf-8"))
TARGET = "edge-npu"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("schema")
    write_classifier(folder)
    return folder


@pytest.fixture(scope="module")
def reports(folder: Path) -> dict[str, Report]:
    """One of every kind."""
    model, calib = folder / "model.onnx", folder / "calib.npz"
    exact = hwopt.optimize(model, target=TARGET, refine=0, max_memory="9MB")
    lossy = hwopt.optimize(model, target=TARGET, calib=calib, max_divergence=0.5, refine=0, seed=1)
    return {
        "unchanged": exact.report,
        "lossy": lossy.report,
        "analysed": analyze(model, target=TARGET, refine=0),
        "by hand": example(),
    }


def objections(value: Json, part: str = "") -> list[str]:
    """What the schema, or a definition in it, has against a value."""
    wanted = {"$ref": f"#/$defs/{part}", "$defs": PUBLISHED["$defs"]} if part else PUBLISHED
    checker: Any = jsonschema.Draft202012Validator(wanted)
    found = checker.iter_errors(value)
    return [f"{'/'.join(map(str, error.path))}: {error.message}" for error in found]


def test_the_published_schema_is_that_of_the_code_and_sound() -> None:
    assert report_schema() == PUBLISHED, "make schema"
    jsonschema.Draft202012Validator.check_schema(PUBLISHED)


@pytest.mark.parametrize("kind", ["unchanged", "lossy", "analysed", "by hand"])
def test_a_real_report_is_valid(reports: dict[str, Report], kind: str) -> None:
    report = reports[kind]
    assert objections(json.loads(json.dumps(to_json(report)))) == []
    wanted = {"unchanged": Outcome.UNCHANGED, "analysed": Outcome.ANALYSED}.get(kind, Outcome.CHANGED)
    assert report.outcome == wanted


def test_a_report_says_what_was_asked_and_on_which_data(reports: dict[str, Report]) -> None:
    exact, lossy = reports["unchanged"], reports["lossy"]
    assert exact.settings == {"max_memory": "9000000B", "refine": 0}
    assert exact.calibration == Missing("no calibration data was given")
    assert lossy.settings == {"max_divergence": 0.5, "refine": 0}
    assert isinstance(lossy.calibration, CalibrationInfo)
    assert len(lossy.calibration.fingerprint) == 64
    assert lossy.calibration.folds == 5
    assert len(lossy.target.cost_model) == 64


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 2},
        {"seed": "0"},
        {"outcome": "splendid"},
        {"before": {"latency_us": 3}},
        {"model": {"path": "m.onnx"}},
        {"notes": "a text"},
    ],
)
def test_the_schema_refuses_what_is_no_report(change: JsonObject) -> None:
    assert objections({**to_json(example()), **change}) != []


@pytest.mark.parametrize("key", ["schema_version", "tool", "before", "choices", "timings_s"])
def test_a_key_of_the_contract_cannot_be_left_out(key: str) -> None:
    table = to_json(example())
    del table[key]
    assert objections(table) != []


def test_keys_that_came_later_may_be_missing_or_unknown() -> None:
    """The policy: keys may come without a new version, so readers take no offence at either."""
    table = to_json(example())
    del table["calibration"], table["settings"], table["passes"]
    assert objections({**table, "mood": "good"}) == []


def test_the_schema_has_the_keys_of_the_file() -> None:
    """Not those of the code: a report holds `pass`, which no Python name can be."""
    rows = PUBLISHED["$defs"]
    assert isinstance(rows, dict)
    assert set(rows["SkippedRow"]["properties"]) == {"pass", "node", "reason"}  # type: ignore[index,call-overload,arg-type]
    assert "common" not in rows["Estimate"]["properties"]  # type: ignore[index,call-overload,operator]


def classes() -> Iterator[type]:
    for module in (schema, schema_failure):
        for item in vars(module).values():
            if isinstance(item, type) and is_dataclass(item) and item.__module__.startswith("hwopt.report"):
                yield item


@pytest.mark.parametrize("cls", sorted(set(classes()), key=str))
def test_every_class_and_what_is_said_of_its_fields_is_in_the_schema(cls: type) -> None:
    parts = PUBLISHED["$defs"]
    assert isinstance(parts, dict)
    part = PUBLISHED if cls is Report else parts[cls.__name__]
    assert isinstance(part, dict)
    assert part["description"]
    keys = part["properties"]
    assert isinstance(keys, dict)
    assert set(keys) == {item.name.rstrip("_") for item in fields(cls)}
    for name, text in field_texts(cls).items():
        assert keys[name.rstrip("_")]["description"] == text  # type: ignore[index,call-overload]


def test_a_failure_is_described_too(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    command = ["optimize", "model.onnx", "-t", TARGET, "--refine", "0", "--dry-run", "--json"]
    for more, code in ((["--max-latency", "-99%"], 1), (["--max-latency", "soon"], 2)):
        assert main([*command, *more]) == code
        told = json.loads(capsys.readouterr().out)
        assert objections(told, "Failure") == []
        assert told["exit_code"] == code
        assert ("closest" in told) == (code == 1)
    assert objections({"error": "no code"}, "Failure") != []
