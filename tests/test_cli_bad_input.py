"""Bad input through a real process: exit 2, one line that names it, no traceback, no file written."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

Hwopt = Callable[..., "subprocess.CompletedProcess[str]"]

NETWORK = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[{shape}] x) => (float[N, 8, H, W] y)
<float[8, 3, 3, 3] w = {{{weights}}}>
{{ y = Conv <pads = [1, 1, 1, 1]> (x, w) }}
"""


def network(shape: str) -> bytes:
    """One convolution with an input of this shape."""
    weights = ", ".join(f"{value:.4f}" for value in np.linspace(-1, 1, 8 * 3 * 3 * 3))
    model: onnx.ModelProto = onnx.parser.parse_model(NETWORK.format(shape=shape, weights=weights))
    data: bytes = model.SerializeToString()
    return data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Everything that can go wrong, each in a file of its own."""
    good = network("N, 3, 16, 16")
    (tmp_path / "good.onnx").write_bytes(good)
    (tmp_path / "truncated.onnx").write_bytes(good[: len(good) // 2])
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "text.onnx").write_text("this is not a model")
    (tmp_path / "dynamic.onnx").write_bytes(network("1, 3, H, W"))
    (tmp_path / "plan.json").write_text("{}")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "metrics.py").write_text(METRICS)
    (tmp_path / "broken.py").write_text("1 / 0")
    (tmp_path / "images").mkdir()
    for index in range(12):
        pixels = np.random.default_rng(index).integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{index}.png")
    np.savez(tmp_path / "wrong_shape.npz", allow_pickle=False, x=np.zeros((12, 3, 8, 8), np.float32))
    noise = np.random.default_rng(0).standard_normal((12, 3, 16, 16)).astype(np.float32)
    np.savez(tmp_path / "good.npz", allow_pickle=False, x=noise)
    return tmp_path


METRICS = """
NUMBER = 3
def fails(outputs, labels): return outputs["none"]
def nothing(outputs, labels): return float("nan")
"""
GOOD = ["good.onnx", "-t", "edge-npu", "-o", "out.onnx"]

METRIC = [*GOOD, "--calib", "good.npz", "--metric"]

# What is typed, and what the one line must name.
CASES = {
    "missing model": (["none.onnx", *GOOD[1:]], "none.onnx"),
    "a folder": (["images", *GOOD[1:]], "images"),
    "truncated": (["truncated.onnx", *GOOD[1:]], "truncated"),
    "empty": (["empty.onnx", *GOOD[1:]], "empty"),
    "not ONNX": (["text.onnx", *GOOD[1:]], "text.onnx"),
    "unknown target": (["good.onnx", "-t", "edge-nqu", "-o", "out.onnx"], "did you mean 'edge-npu'"),
    "target folder": (["good.onnx", "-t", "./nothing", "-o", "out.onnx"], "target.toml"),
    "unknown pass": ([*GOOD, "--passes", "densify"], "did you mean 'densify_depthwise'"),
    "unknown disabled pass": ([*GOOD, "--disable", "nonsense"], "unknown pass 'nonsense'"),
    "latency value": ([*GOOD, "--max-latency", "fast"], "--max-latency"),
    "latency without unit": ([*GOOD, "--max-latency", "5"], "5ms"),
    "size value": ([*GOOD, "--max-size", "5ms"], "--max-size"),
    "drop out of range": ([*GOOD, "--max-drop", "3"], "--max-drop"),
    "divergence out of range": ([*GOOD, "--max-divergence", "-1"], "--max-divergence"),
    "missing calibration": ([*GOOD, "--calib", "no_such_folder"], "no_such_folder"),
    "empty calibration": ([*GOOD, "--calib", "nothing"], "nothing"),
    "wrongly shaped": ([*GOOD, "--calib", "wrong_shape.npz"], "wrong_shape.npz"),
    "drop without labels": ([*GOOD, "--calib", "good.npz", "--max-drop", "0.01"], "labels"),
    "drop without data": ([*GOOD, "--max-drop", "0.01"], "labels"),
    "labels without data": ([*GOOD, "--labels", "labels.csv"], "--calib"),
    "metric without data": ([*GOOD, "--metric", "metrics:fails"], "--metric needs calibration data"),
    "metric's form": ([*GOOD, "--calib", "good.npz", "--metric", "metrics"], "MODULE:FUNCTION"),
    "metric's module": (
        [*GOOD, "--calib", "good.npz", "--metric", "no_such:f"],
        "'no_such' cannot be imported",
    ),
    "metric's name": ([*GOOD, "--calib", "good.npz", "--metric", "metrics:f"], "has no 'f'"),
    "metric is no function": ([*GOOD, "--calib", "good.npz", "--metric", "metrics:NUMBER"], "not a function"),
    "metric's module fails": ([*GOOD, "--calib", "good.npz", "--metric", "broken:f"], "cannot be imported"),
    "metric fails": ([*METRIC, "metrics:fails"], "raised KeyError"),
    "metric gives no number": ([*METRIC, "metrics:nothing"], "finite"),
    "int8 without data": ([*GOOD, "--quantize", "int8"], "--quantize int8 needs calibration data"),
    "steps without data": ([*GOOD, "--augment", "2"], "--augment needs calibration data"),
    "missing labels": ([*GOOD, "--calib", "good.npz", "--labels", "none.csv"], "none.csv"),
    "dynamic axis": (["dynamic.onnx", *GOOD[1:]], "--input-shape"),
    "unknown input": ([*GOOD, "--input-shape", "z:1,3,16,16"], "z"),
    "wrong rank": ([*GOOD, "--input-shape", "x:1,3,16"], "x"),
    "missing plan": ([*GOOD, "--plan", "none.json"], "none.json"),
    "plan of nothing": ([*GOOD, "--plan", "plan.json"], "plan.json"),
    "output folder": (["good.onnx", "-t", "edge-npu", "-o", "nowhere/out.onnx"], "nowhere"),
    "output name": (["good.onnx", "-t", "edge-npu", "-o", "out.bin"], ".onnx"),
    "output exists": (["good.onnx", "-t", "edge-npu", "-o", "truncated.onnx"], "--force"),
    "output is the input": (["good.onnx", "-t", "edge-npu", "-o", "good.onnx", "--force"], "is the input"),
}


@pytest.mark.parametrize("case", sorted(CASES))
def test_bad_input_is_one_line_and_exit_2(case: str, hwopt: Hwopt, folder: Path) -> None:
    arguments, named = CASES[case]
    before = sorted(path.name for path in folder.iterdir())
    done = hwopt("optimize", *arguments, cwd=folder)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("hwopt: ")
    assert named in done.stderr
    assert sorted(path.name for path in folder.iterdir()) == before
