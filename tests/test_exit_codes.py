"""Exit codes through real processes: what is printed where, and that 1, 2 and 3 write nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from tests.planted import plugged_in

Hwopt = Callable[..., "subprocess.CompletedProcess[str]"]
ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "models" / "figures" / "figures.onnx"
QUICK = ("-t", "edge-npu", "--refine", "0")
OUT = ("-o", "out.onnx")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model, the same with another bias, and a network that nothing can be done for."""
    shutil.copy(FIGURES, tmp_path / "model.onnx")
    text = '<ir_version: 8, opset_import: ["" : 13]> one (float[1, 8] x) => (float[1, 8] y) { y = Relu (x) }'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "relu.onnx")
    onnx.save(onnx.parser.parse_model(text.replace("Relu", "Neg")), tmp_path / "neg.onnx")
    return tmp_path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def one_line(text: str) -> bool:
    return text.startswith("hwopt: ") and text.count("\n") == 1 and "Traceback" not in text


def test_0_done(folder: Path, hwopt: Hwopt) -> None:
    before = names(folder)
    done = hwopt("optimize", "model.onnx", *QUICK, *OUT, "--json", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["outcome"] == "changed"
    assert {"out.onnx", "out.plan.json", "out.report.json"} <= names(folder) - before


def test_0_unchanged(folder: Path, hwopt: Hwopt) -> None:
    done = hwopt("optimize", "relu.onnx", *QUICK, *OUT, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "unchanged" in done.stdout
    assert (folder / "out.onnx").is_file()


@pytest.mark.parametrize("as_json", [False, True])
def test_1_a_limit_that_cannot_be_met(as_json: bool, folder: Path, hwopt: Hwopt) -> None:
    before = names(folder)
    limits = ("--max-latency", "1us", *(["--json"] if as_json else []))
    done = hwopt("optimize", "model.onnx", *QUICK, *OUT, *limits, cwd=folder)
    assert done.returncode == 1
    assert one_line(done.stderr)
    assert "--max-latency" in done.stderr or "latency" in done.stderr
    if as_json:
        said = json.loads(done.stdout)
        assert (said["exit_code"], f"hwopt: {said['error']}\n") == (1, done.stderr)
        assert said["closest"]["limits"][0]["met"] is False
    else:
        assert done.stdout == ""
    assert names(folder) == before


def test_1_a_comparison_that_fails(folder: Path, hwopt: Hwopt) -> None:
    before = names(folder)
    assert hwopt("compare", "relu.onnx", "relu.onnx", cwd=folder).returncode == 0
    done = hwopt("compare", "relu.onnx", "neg.onnx", "--json", cwd=folder)
    assert (done.returncode, done.stderr) == (1, "")
    assert json.loads(done.stdout)["equal"] is False
    assert names(folder) == before


def test_1_a_gate_that_is_not_passed(folder: Path, hwopt: Hwopt) -> None:
    assert hwopt("optimize", "relu.onnx", *QUICK, *OUT, cwd=folder).returncode == 0
    before = names(folder)
    assert hwopt("check", "out.report.json", "--max-memory", "1MB", cwd=folder).returncode == 0
    done = hwopt("check", "out.report.json", "--max-memory", "1B", "--json", cwd=folder)
    assert done.returncode == 1
    assert isinstance(json.loads(done.stdout), dict)
    assert names(folder) == before


# What is typed; each is a mistake, and one line on standard error.
MISTAKES = {
    "no command": ["frobnicate"],
    "no such option": ["optimize", "model.onnx", "--max-latencey", "5ms"],
    "no such file": ["optimize", "modle.onnx", *QUICK, *OUT],
    "no such target": ["optimize", "model.onnx", "-t", "edge-nqu", *OUT],
    "no such choice": ["explain", "model.onnx", *QUICK, "--choice", "form:none"],
    "no such plan": ["bisect", "model.onnx", *QUICK[:2], "--plan", "none.json"],
    "no such report": ["check", "none.json", "--max-latency", "5ms"],
    "no such configuration": ["analyze", "model.onnx", "--config", "none.toml"],
    "not a model": ["compare", "relu.onnx", "."],
}


CASES = [*((case, False) for case in sorted(MISTAKES)), ("no command", True), ("no such file", True)]


@pytest.mark.parametrize(("case", "as_json"), CASES)
def test_2_bad_input(case: str, as_json: bool, folder: Path, hwopt: Hwopt) -> None:
    before = names(folder)
    done = hwopt(*MISTAKES[case], *(["--json"] if as_json else []), cwd=folder)
    assert done.returncode == 2
    assert one_line(done.stderr)
    if as_json:
        said = json.loads(done.stdout)
        assert (said["exit_code"], f"hwopt: {said['error']}\n") == (2, done.stderr)
    else:
        assert done.stdout == ""
    assert names(folder) == before


def test_3_a_bug_names_a_folder(folder: Path, hwopt: Hwopt, tmp_path_factory: pytest.TempPathFactory) -> None:
    before = names(folder)
    plugin, kept = tmp_path_factory.mktemp("plugin"), tmp_path_factory.mktemp("kept")
    found = {**plugged_in(plugin, raising=0), "TMPDIR": str(kept)}
    done = hwopt("optimize", "model.onnx", *QUICK, *OUT, "--json", "--plan", "none.json", cwd=folder, **found)
    assert done.returncode == 2  # what was typed comes first
    done = hwopt("optimize", "model.onnx", *QUICK, *OUT, "--minimize", "size", "--json", cwd=folder, **found)
    assert done.returncode == 3, done.stderr
    assert one_line(done.stderr)
    said = json.loads(done.stdout)
    assert said["exit_code"] == 3
    place = Path(said["reproducer"])
    assert kept in place.parents
    assert str(place) in done.stderr
    assert (place / "traceback.txt").is_file()
    assert names(folder) == before


def heeds_interrupts() -> None:
    """Tests that run in the background of a shell, or under nohup, hand down that Ctrl-C is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_130_interrupted(folder: Path, tmp_path: Path) -> None:
    before = names(folder)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HWOPT_DEBUG": "1"}
    command = [sys.executable, "-m", "hwopt.cli", "optimize", "model.onnx", *QUICK, *OUT, "--json"]
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=heeds_interrupts,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if "stage     load" in line:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.splitlines()[-1].startswith("hwopt: interrupted")
    assert json.loads(out)["exit_code"] == 130
    assert names(folder) == before
