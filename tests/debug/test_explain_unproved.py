"""A model that ONNX Runtime does not run comes back, and `hwopt explain` says so, of every value too."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

import hwopt
from hwopt.cli.entry import main
from hwopt.debug.explain.answer import explain
from hwopt.debug.explain.fates import Fate

TARGET = "edge-npu"
FIGURES = Path(__file__).parents[2] / "models" / "figures" / "figures.onnx"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a form that pays, and an operator at its end that nobody knows."""
    model = onnx.load(FIGURES)
    output = model.graph.output[0].name
    last = next(node for node in model.graph.node if output in node.output)
    last.output[list(last.output).index(output)] = "known"
    model.graph.node.append(onnx.helper.make_node("Thing", ["known"], [output], domain="own"))
    model.opset_import.append(onnx.helper.make_opsetid("own", 1))
    file = tmp_path_factory.mktemp("net") / "model.onnx"
    onnx.save(model, file)
    return file


def test_it_says_what_the_report_says(path: Path, tmp_path: Path) -> None:
    report = hwopt.optimize(path, target=TARGET, refine=0, output=tmp_path / "out.onnx").report
    told = explain(path, target=TARGET, refine=0)
    assert told.outcome == report.outcome == "unchanged"
    assert told.unproved.startswith("ONNX Runtime cannot load the model: ")
    assert any(told.unproved in note for note in report.notes)
    reasons = {line.id: line.reason for line in told.listed}
    assert {row.id: row.reason for row in report.choices}.items() <= reasons.items()
    fold = next(line.id for line in told.listed if line.kind == "canonical")
    (explained,) = explain(path, target=TARGET, refine=0, choice=fold).choices
    assert [value.fate for value in explained.values] == [Fate.CHOSEN, Fate.UNPROVED]


def test_each_value_that_pays_is_unproved(path: Path) -> None:
    allowed = explain(path, target=TARGET, refine=0, allow_unverified=True)
    assert (allowed.outcome, allowed.unproved) == ("changed", "")
    taken = {line.id: line.chosen for line in allowed.listed if line.chosen != "keep"}
    assert any(id.startswith("form:") for id in taken)
    form = next(id for id in taken if id.startswith("form:"))
    (choice,) = explain(path, target=TARGET, refine=0, choice=form).choices
    assert choice.chosen == "keep"
    assert {value.name: value.fate for value in choice.values}[taken[form]] is Fate.UNPROVED


def test_the_command_says_it_first(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["explain", str(path), "--target", TARGET, "--refine", "0", "--quiet"]
    assert main(words) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert "unchanged: no rewrite could be proved: ONNX Runtime cannot load the model" in first
    assert first.endswith("; give --calib or --allow-unverified")
    assert main([*words, "--json"]) == 0
    assert "ONNX Runtime cannot load" in json.loads(capsys.readouterr().out)["unproved"]
    assert main([*words, "--max-latency", "-1%", "--allow-unpriced"]) == 0
    assert "no rewrite could be proved" in capsys.readouterr().out.splitlines()[0]
