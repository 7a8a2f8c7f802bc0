"""The main job through a real process, on a network of three convolutions."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

Hwopt = Callable[..., "subprocess.CompletedProcess[str]"]
SIBLINGS = ["out.onnx", "out.plan.json", "out.report.html", "out.report.json", "out.report.md"]

# The first block of a mobile network: edge-npu has next to no use for a depthwise convolution there.
STEM = """
<ir_version: 8, opset_import: ["" : 13]>
stem (float[N, 3, 64, 64] image) => (float[N, 16, 32, 32] features)
{
  a = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (image, w1)
  b = Relu (a)
  c = Conv <pads = [1, 1, 1, 1], group = 32> (b, w2)
  d = Relu (c)
  features = Conv (d, w3)
}
"""
WEIGHTS = {"w1": (32, 3, 3, 3), "w2": (32, 1, 3, 3), "w3": (16, 32, 1, 1)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that holds stem.onnx."""
    model: onnx.ModelProto = onnx.parser.parse_model(STEM)
    rng = np.random.default_rng(0)
    for name, shape in WEIGHTS.items():
        weight = rng.normal(0, 0.2, shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weight, name))
    onnx.save(model, tmp_path / "stem.onnx")
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_run_writes_five_files_that_belong_together(folder: Path, hwopt: Hwopt) -> None:
    done = hwopt("optimize", "stem.onnx", "-t", "edge-npu", "-o", "out.onnx", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert names(folder) == sorted(["stem.onnx", *SIBLINGS])
    for name in SIBLINGS:
        assert f"wrote {name}" in done.stdout
    for word in ("latency", "peak memory", "weight size", "accuracy", "before", "after", "source"):
        assert word in done.stdout
    sha256 = hashlib.sha256((folder / "out.onnx").read_bytes()).hexdigest()
    plan = json.loads((folder / "out.plan.json").read_text())
    report = json.loads((folder / "out.report.json").read_text())
    assert plan["output_sha256"] == report["output"]["sha256"] == sha256
    assert report["command"] == "hwopt optimize stem.onnx -t edge-npu -o out.onnx"
    onnx.checker.check_model(str(folder / "out.onnx"), full_check=True)


def test_the_depthwise_convolution_is_made_dense_because_it_pays(folder: Path, hwopt: Hwopt) -> None:
    done = hwopt("optimize", "stem.onnx", "-t", "edge-npu", "-o", "out.onnx", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["outcome"] == "changed"
    taken = {row["chosen"]: row for row in report["choices"] if row["chosen"] != "keep"}
    assert "dense" in taken
    oracle = report["verification"]["oracle"]
    assert oracle["after"]["latency_us"]["value"] < oracle["before"]["latency_us"]["value"]
    assert all(row["max_rel"] <= 1e-4 for row in report["verification"]["outputs"])


def test_a_dry_run_writes_nothing_and_a_plan_replays(folder: Path, hwopt: Hwopt) -> None:
    dry = hwopt("optimize", "stem.onnx", "-t", "edge-npu", "--dry-run", cwd=folder)
    assert dry.returncode == 0, dry.stderr
    assert names(folder) == ["stem.onnx"]
    hwopt("optimize", "stem.onnx", "-t", "edge-npu", "-o", "out.onnx", cwd=folder)
    again = ("optimize", "stem.onnx", "-t", "edge-npu", "--plan", "out.plan.json", "-o", "again.onnx")
    assert hwopt(*again, cwd=folder).returncode == 0
    assert (folder / "again.onnx").read_bytes() == (folder / "out.onnx").read_bytes()
    assert (folder / "again.plan.json").read_bytes() == (folder / "out.plan.json").read_bytes()
    assert hwopt(*again, cwd=folder).returncode == 2  # the files are there now
    assert hwopt(*again, "--force", cwd=folder).returncode == 0


def test_a_limit_that_cannot_be_met_is_exit_1_and_writes_nothing(folder: Path, hwopt: Hwopt) -> None:
    arguments = ("optimize", "stem.onnx", "-t", "edge-npu", "-o", "out.onnx", "--max-latency", "-99%")
    done = hwopt(*arguments, cwd=folder)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert names(folder) == ["stem.onnx"]


def test_a_refusal_as_json_names_the_closest_plan_and_its_figures(folder: Path, hwopt: Hwopt) -> None:
    arguments = ("optimize", "stem.onnx", "-t", "edge-npu", "-o", "out.onnx", "--max-latency", "-99%")
    done = hwopt(*arguments, "--json", cwd=folder)
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert said["exit_code"] == 1
    assert done.stderr == f"hwopt: {said['error']}\n"
    assert set(said["closest"]["steps"].values()) == {"dense"}
    (limit,) = said["closest"]["limits"]
    assert limit["name"] == "max_latency"
    assert limit["value"] > limit["limit"]
    assert not limit["met"]
    mistake = hwopt("optimize", "none.onnx", "-t", "edge-npu", "--dry-run", "--json", cwd=folder)
    assert json.loads(mistake.stdout)["exit_code"] == mistake.returncode == 2


def test_an_int8_file_is_written_and_its_limit_is_a_verdict(folder: Path, hwopt: Hwopt) -> None:
    x = np.random.default_rng(1).normal(size=(20, 3, 64, 64)).astype(np.float32)
    np.save(folder / "calib.npy", x)
    given = ("optimize", "stem.onnx", "-t", "edge-npu", "-o", "out.onnx", "--calib", "calib.npy")
    int8 = (*given, "--quantize", "int8", "--passes", "canonicalize,densify_depthwise", "--json")
    refused = hwopt(*int8, "--max-divergence", "1e-6", cwd=folder)
    assert refused.returncode == 1
    assert "cannot be met in int8" in refused.stderr
    assert names(folder) == ["calib.npy", "stem.onnx"]
    done = hwopt(*int8, "--max-divergence", "0.1", cwd=folder)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["accuracy"]
    assert {row["precision"] for row in rows} == {"int8"}
    assert all(0 < row["after"] < 0.1 for row in rows if row["metric"] == "relative_error")
    kinds = {node.op_type for node in onnx.load(folder / "out.onnx").graph.node}
    assert "DequantizeLinear" in kinds


def test_an_analysis_lists_every_subgraph(folder: Path, hwopt: Hwopt) -> None:
    done = hwopt("analyze", "stem.onnx", "-t", "edge-npu", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["outcome"] == "analysed"
    assert len(report["subgraphs"]["before"]) == 3  # each activation rides on its convolution
    shown = hwopt("analyze", "stem.onnx", "-t", "edge-npu", cwd=folder)
    assert "% of the time is spent in" in shown.stdout
    assert names(folder) == ["stem.onnx"]
