"""The command line through a real process: help, lists, and one line for every mistake."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hwopt import __version__

ROOT = Path(__file__).parent.parent
Hwopt = Callable[..., "subprocess.CompletedProcess[str]"]


def test_version_and_help(hwopt: Hwopt) -> None:
    assert hwopt("--version").stdout.startswith(f"hwopt {__version__}\npython ")
    assert "optimize" in hwopt("--help").stdout
    assert hwopt().stdout == hwopt("--help").stdout


def test_every_promised_option_is_in_the_help(hwopt: Hwopt) -> None:
    text = hwopt("optimize", "--help").stdout
    promised = """--target --output --calib --labels --preprocess --input-shape --max-drop --max-divergence
        --max-latency --max-memory --max-size --max-footprint --minimize --passes --disable --plan --seed
        --allow-unpriced --quantize --allow-interface-change --allow-retrain --metric --tune --augment
        --ranking --search --evaluations --store --in-the-loop --time-limit --hints --dry-run --force --json
        --quiet"""
    assert [option for option in promised.split() if option not in text] == []


def test_help_loads_nothing_heavy() -> None:
    """What makes `hwopt --help` quick, without a clock."""
    script = (
        "import sys\nfrom hwopt.cli.entry import main\ncode = main(['--help'])\n"
        "heavy = {'onnx', 'onnx_ir', 'onnxruntime', 'numpy', 'scipy', 'xgboost', 'networkx', 'highspy'}\n"
        "print(code, sorted(heavy & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_lists_show_what_there_is(hwopt: Hwopt) -> None:
    passes = hwopt("passes", "list")
    assert passes.returncode == 0
    assert "densify_depthwise" in passes.stdout
    targets = hwopt("targets", "list")
    assert targets.returncode == 0
    assert "edge-npu" in targets.stdout
    assert "ethos-u55-256" in targets.stdout


def test_a_target_is_shown_with_its_hardware(hwopt: Hwopt) -> None:
    shown = hwopt("targets", "show", "ethos-u55-256").stdout
    assert "500 MHz" in shown
    assert "256" in shown


# What is typed, and what the one line must name.
MISTAKES = [
    (["optimise"], "did you mean 'optimize'?"),
    (["optimize"], "MODEL"),
    (["optimize", "m.onnx"], "--target"),
    (["optimize", "m.onnx", "-t", "edge-npu", "--no-such-option"], "--no-such-option"),
    (["optimize", "m.onnx", "-t", "edge-npu"], "-o OUT.onnx"),
    (["optimize", "m.onnx", "-t", "edge-npu", "-o", "o.onnx", "--seed", "often"], "--seed"),
    (["optimize", "m.onnx", "-t", "edge-npu", "-o", "o.onnx", "--minimize", "speed"], "latency"),
    (["optimize", "m.onnx", "-t", "edge-npu", "-o", "o.onnx", "--quantize", "int4"], "int8"),
    (["optimize", "m.onnx", "-t", "edge-npu", "-o", "o.onnx", "--ranking", "alphabet"], "obs"),
    (["optimize", "m.onnx", "-t", "edge-npu", "-o", "o.onnx", "--tune", "-1"], "--tune"),
    (["optimize", "m.onnx", "-t", "edge-npu", "-o", "o.onnx", "--max-drop", "little"], "--max-drop"),
    (["optimize", "m.onnx", "-t", "edge-npu", "-o", "o.onnx", "--input-shape", "x:1,?"], "--input-shape"),
    (["optimize", "m.onnx", "-t", "edge-npu", "-o", "o.onnx", "--search", "mlpi"], "did you mean 'milp'?"),
    (["optimize", "m.onnx", "-t", "edge-npu", "-o", "o.onnx", "--evaluations", "0"], "--evaluations"),
    (["optimize", "m.onnx", "-t", "edge-npu", "-o", "o.onnx", "--evaluations", "9"], "another --search"),
    (["optimize", "m.onnx", "-t", "edge-npu", "-o", "o.onnx", "--store", "s"], "--search evolve"),
    (["optimize", "m.onnx", "-t", "edge-npu", "-o", "o.onnx", "--in-the-loop"], "--search evolve"),
    (["optimize", "m.onnx", "-t", "edge-npu", "-o", "o.onnx", "--time-limit", "soon"], "90s, 10m or 1h"),
    (["targets", "show", "edge-nqu"], "did you mean 'edge-npu'?"),
    (["passes"], "hwopt passes --help"),
]


@pytest.mark.parametrize(("arguments", "named"), MISTAKES)
def test_a_mistake_is_answered_with_one_line(
    arguments: list[str], named: str, hwopt: Hwopt, tmp_path: Path
) -> None:
    done = hwopt(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("hwopt: ")
    assert done.stderr.count("\n") == 1
    assert named in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_debug_level_is_checked(hwopt: Hwopt, tmp_path: Path) -> None:
    done = hwopt("optimize", "m.onnx", "-t", "edge-npu", "-o", "o.onnx", cwd=tmp_path, HWOPT_DEBUG="loud")
    assert done.returncode == 2
    assert "HWOPT_DEBUG=loud" in done.stderr
