"""`hwopt explain` as a command: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hwopt.cli.entry import main

FIGURES = Path(__file__).parents[2] / "models" / "figures" / "figures.onnx"
COMMON = ["explain", str(FIGURES), "--target", "edge-npu", "--refine", "0", "--quiet"]
BLOCK1 = "form:conv-1b990fa119"


def test_one_choice(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMON, "--choice", BLOCK1]) == 0
    text = capsys.readouterr().out
    assert f"{BLOCK1} (form): block1.depthwise.conv2d" in text
    assert "chosen: dense: by itself -13.8 us; exact" in text
    assert "merged: needs calibration data: give --calib" in text
    assert "depthwise Conv --> dense Conv" in text
    assert "cluster_weights, every layer: " in text


def test_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMON, "--choice", "block1.depthwise.conv2d", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert next(iter(told)) == "schema_version"
    assert told["outcome"] == "changed"
    assert told["choices"][0]["id"] == BLOCK1
    values = {item["name"]: item for item in told["choices"][0]["values"]}
    assert values["dense"]["fate"] == "chosen"
    assert values["dense"]["alone"]["latency_us"]["source"] == "predicted"
    assert values["merged"]["damage"] == {"unavailable": "needs calibration data: give --calib"}
    assert {row["pass"] for row in told["nodes"]["everywhere"]} == {"cluster_weights", "sparsify"}


def test_all_choices_in_a_list(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(COMMON) == 0
    text = capsys.readouterr().out
    line = next(line for line in text.splitlines() if BLOCK1 in line)
    assert "dense, merged" in line
    assert "-13.81 us" in line
    assert "and 34 folds" in text


def test_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMON, "--choice", BLOCK1, "--max-latency", "-90%"]) == 0
    assert capsys.readouterr().out.startswith("no plan keeps the limits: --max-latency")
    assert main([*COMMON, "--choice", "block99"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert "--choice block99" in told.err
    assert main(["explain", "no.onnx", "--target", "edge-npu"]) == 2
