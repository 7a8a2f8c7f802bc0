"""`hwopt report` and `hwopt check`: through main, and once through a real process."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hwopt.cli.entry import main
from hwopt.report import schema as s
from hwopt.report.jsonable import json_text, to_json
from hwopt.report.markdown import to_markdown
from tests.report.reports import (
    accuracy,
    choice,
    compiled,
    costs,
    example,
    predicted,
    subgraph,
    value,
    verified,
)

Hwopt = Callable[..., "subprocess.CompletedProcess[str]"]
ONNX = b"what was written"


def slower() -> s.Report:
    """The same model on the same target: another seed, one rewrite less."""
    kept = choice("form-1", "keep", value("dense", 60), reason="not together with the rest")
    rows = (subgraph("conv", predicted(1300, 10)), subgraph("tail", predicted(500, 5)))
    parts = s.Subgraphs(example().subgraphs.before, rows)
    return replace(example(), seed=1, after=costs(predicted(1800, 15)), choices=(kept,), subgraphs=parts)


def lossy() -> s.Report:
    taken = (choice("form-2", "lossy", value("lossy", 50, "lossy", 0.1)),)
    proof = verified(compiled(2100), compiled(1480))
    return replace(example(), choices=taken, accuracy=(accuracy("top1", 0.015),), verification=proof)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a.json, b.json (slower), lossy.json, and out.onnx, which a.json is about."""
    written = s.OutputInfo("out.onnx", hashlib.sha256(ONNX).hexdigest())
    runs = {"a.json": replace(example(), output=written), "b.json": slower(), "lossy.json": lossy()}
    for name, report in runs.items():
        (tmp_path / name).write_text(json_text(to_json(report)))
    (tmp_path / "out.onnx").write_bytes(ONNX)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command: its exit code, and what it says on both streams."""

    def run(*words: str) -> tuple[int, str, str]:
        code = main(list(words))
        streams = capsys.readouterr()
        return code, streams.out, streams.err

    return run


Said = Callable[..., tuple[int, str, str]]


def test_a_report_is_shown_as_at_the_end_of_its_run(folder: Path, said: Said) -> None:
    code, out, _ = said("report", "a.json")
    assert code == 0
    for part in ("m.onnx on edge-npu: changed", "1.5 ms", "-25.0%", "a_pass 1x"):
        assert part in out


def test_json_gives_the_report_and_nothing_else(folder: Path, said: Said) -> None:
    code, out, err = said("report", "a.json", "--json")
    assert (code, out, err) == (0, (folder / "a.json").read_text(), "")


def test_it_is_written_in_the_form_that_the_name_says(folder: Path, said: Said) -> None:
    for name in ("r.md", "r.csv", "r.html"):
        assert said("report", "a.json", "-o", name) == (0, f"wrote {name}\n", "")
    shown = json.loads((folder / "a.json").read_text())["output"]["sha256"]
    assert (folder / "r.md").read_text() == to_markdown(
        replace(example(), output=s.OutputInfo("out.onnx", shown))
    )
    rows = list(csv.DictReader((folder / "r.csv").open()))
    assert [row["side"] for row in rows] == ["before", "before", "after", "after"]
    assert "</html>" in (folder / "r.html").read_text()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["report", "a.json", "-o", "out.onnx"], "ends in .html, .md, .csv"),
        (["report", "a.json", "-o", "there/r.md"], "there is not a folder"),
        (["report", "a.json", "b.json", "-o", "d.html"], "ends in .md"),
        (["report", "a.json", "-o", "old.md"], "--force"),
        (["report", "none.json"], "none.json cannot be read"),
        (["report", "out.onnx"], "out.onnx is not JSON"),
        (["report", "a.json", "plan.json"], "plan.json is no report"),
        (["check", "a.json"], "nothing was asked"),
        (["check", "a.json", "--precision", "int8"], "nothing was asked"),
        (["check", "a.json", "--max-latency", "soon"], "--max-latency soon"),
        (["check", "a.json", "--max-latency", "30%"], "-30%"),
        (["check", "a.json", "--max-memory", "much"], "--max-memory much"),
        (["check", "a.json", "--max-drop", "2"], "--max-drop 2"),
        (["check", "a.json", "--max-divergence", "-1"], "--max-divergence"),
        (["check", "a.json", "--max-spread", "wide"], "--max-spread wide"),
        (["check", "a.json", "--require-source", "guessed"], "compiled"),
        (["check", "a.json", "--outcome", "good"], "unchanged"),
        (["check", "a.json", "--model", "none.onnx"], "none.onnx does not exist"),
        (["check", "none.json", "--max-drop", "1"], "none.json cannot be read"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    words: list[str], named: str, folder: Path, said: Said
) -> None:
    (folder / "old.md").write_text("mine")
    (folder / "plan.json").write_text('{"steps": []}')
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    code, out, err = said(*words)
    assert (code, out) == (2, "")
    assert named in err
    assert err.count("\n") == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_force_overwrites(folder: Path, said: Said) -> None:
    (folder / "old.md").write_text("mine")
    assert said("report", "a.json", "-o", "old.md", "--force")[0] == 0
    assert "mine" not in (folder / "old.md").read_text()


def test_two_runs_are_compared(folder: Path, said: Said) -> None:
    code, out, _ = said("report", "a.json", "b.json")
    assert code == 0
    for part in (
        "A: a.json",
        "B: b.json",
        "seed",
        "+300 us",
        "beyond the noise",
        "form-1",
        "not together with",
    ):
        assert part in out
    code, out, _ = said("report", "a.json", "a.json")
    assert "what went in: the same in both" in out
    assert "choices decided differently: none" in out


def test_a_comparison_as_json_and_as_markdown(folder: Path, said: Said) -> None:
    _, out, err = said("report", "a.json", "b.json", "--json")
    table = json.loads(out)
    assert err == ""
    assert table["a"] == {
        "report": "a.json", "model": "m.onnx", "target": "edge-npu", "outcome": "changed",
        "created": "2025-01-01T00:00:00+00:00",
    }  # fmt: skip
    assert table["inputs"] == [{"what": "seed", "a": "0", "b": "1"}]
    latency = next(row for row in table["results"] if row["what"] == "latency")
    assert (latency["change"]["value"], latency["verdict"]) == (300, "beyond the noise")
    assert table["choices"][0]["b"]["reason"] == "not together with the rest"
    assert said("report", "a.json", "b.json", "-o", "d.md")[:2] == (0, "wrote d.md\n")
    assert "## Choices decided differently" in (folder / "d.md").read_text()


def test_a_gate_that_is_passed(folder: Path, said: Said) -> None:
    code, out, err = said(
        "check", "a.json", "--max-latency", "1.6ms", "--max-latency", "-20%", "--max-drop", "0",
        "--max-spread", "5%", "--target", "edge-npu", "--outcome", "changed", "--model",
        "out.onnx", "--max-footprint", "8KB",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "a.json: 7 of 7 conditions met" in out
    assert "NOT" not in out


@pytest.mark.parametrize(
    ("words", "row"),
    [
        (
            ["a.json", "--max-latency", "1.51ms"],
            ["NOT MET", "--max-latency", "1.515 ms", "1.51 ms", "predicted"],
        ),
        (["lossy.json", "--max-drop", "0.01"], ["NOT MET", "--max-drop", "0.015", "0.01", "measured"]),
        (["lossy.json", "--max-divergence", "1"], ["NOT MET", "unavailable", "no divergence was measured"]),
        (["a.json", "--require-source", "compiled"], ["NOT MET", "predicted", "compiled"]),
        (["b.json", "--model", "out.onnx"], ["NOT MET", "bbbbbbbbbbbb", "out.onnx is not the file"]),
        (
            ["lossy.json", "--target", "cpu", "--max-latency", "2ms"],
            ["1 of 2 conditions met", "edge-npu", "cpu"],
        ),
    ],
)
def test_a_condition_that_is_not_met_exits_1_and_is_named(
    words: list[str], row: list[str], folder: Path, said: Said
) -> None:
    code, out, err = said("check", *words)
    assert (code, err) == (1, "")
    assert [part for part in row if part not in out] == []


def test_the_verdict_as_json(folder: Path, said: Said) -> None:
    code, out, err = said("check", "lossy.json", "--max-latency", "1.48ms", "--max-drop", "0.01", "--json")
    assert (code, err) == (1, "")
    assert json.loads(out) == {
        "report": "lossy.json",
        "met": False,
        "conditions": [
            {
                "name": "max_latency",
                "value": 1480,
                "limit": 1480,
                "source": "compiled",
                "met": True,
                "why": "",
            },
            {
                "name": "max_drop", "value": 0.015, "limit": 0.01, "source": "measured", "met": False,
                "why": "in fp32",
            },
        ],
    }  # fmt: skip


def test_through_a_real_process(folder: Path, hwopt: Hwopt) -> None:
    met = hwopt("check", "a.json", "--max-latency", "5ms", cwd=folder)
    assert (met.returncode, met.stderr) == (0, "")
    assert hwopt("check", "a.json", "--max-latency", "-30%", cwd=folder).returncode == 1
    unasked = hwopt("check", "a.json", "--json", cwd=folder)
    assert unasked.returncode == 2
    assert json.loads(unasked.stdout)["exit_code"] == 2
    assert hwopt("report", "a.json", "b.json", cwd=folder).returncode == 0
