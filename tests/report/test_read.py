"""A report that was written can be read again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import hwopt
from hwopt.errors import BadInput
from hwopt.report.jsonable import JsonObject, json_text, to_json
from hwopt.report.read import from_json, read_report

ROOT = Path(__file__).parent.parent.parent
MODEL = ROOT / "models" / "figures" / "figures.onnx"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out.onnx"
    hwopt.optimize(MODEL, target="edge-npu", output=out, refine=0)
    return out.with_name("out.report.json")


def table_of(path: Path) -> JsonObject:
    table = json.loads(path.read_text("utf-8"))
    assert isinstance(table, dict)
    return table


def test_what_is_read_is_what_was_written(written: Path) -> None:
    assert json_text(to_json(read_report(written))) == written.read_text("utf-8")


def test_keys_of_a_newer_release_are_passed_over(written: Path) -> None:
    table = table_of(written)
    assert from_json({**table, "mood": "good"}) == from_json(table)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema_version": 99}, "schema_version 99"),
        ({"seed": "many"}, "seed"),
        ({"before": {"latency_us": 3}}, "before"),
        ({"skipped": [{"node": "a", "reason": "b"}]}, "skipped.0"),
    ],
)
def test_what_is_no_report_is_told_in_one_line(
    written: Path, tmp_path: Path, change: JsonObject, said: str
) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text(json_text({**table_of(written), **change}), "utf-8")
    with pytest.raises(BadInput, match=said) as found:
        read_report(broken)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", "no json", "[" * 100_000])
def test_other_files_are_no_reports(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"other\.json"):
        read_report(path)


@pytest.mark.parametrize("largest", [2.2e32, 1.7e308])
def test_outputs_may_differ_by_as_much_as_outputs_can(written: Path, tmp_path: Path, largest: float) -> None:
    """Of a network whose numbers grow with its depth that is a small part of them."""
    table = table_of(written)
    table["verification"]["outputs"][0]["max_abs"] = largest  # type: ignore[index, call-overload]
    path = tmp_path / "deep.json"
    path.write_text(json_text(table), "utf-8")
    assert read_report(path).verification.outputs[0].max_abs == largest  # type: ignore[union-attr]
    table["before"]["latency_us"]["value"] = largest  # type: ignore[index, call-overload]
    path.write_text(json_text(table), "utf-8")
    with pytest.raises(BadInput, match="beyond all bounds"):
        read_report(path)
