"""Mistakes that people make, in this process: each is told in one line that says how to mend it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from hwopt.cli.entry import main
from hwopt.wording import near

FIGURES = Path(__file__).parent.parent / "models" / "figures" / "figures.onnx"
OUT = ("-t", "edge-npu", "--refine", "0", "-o", "out.onnx")
MODEL = ("optimize", "model.onnx", *OUT)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with what people mistake for something else."""
    shutil.copy(FIGURES, tmp_path / "model.onnx")
    (tmp_path / "weights.pt").write_bytes(b"PK junk")
    (tmp_path / "lite.tflite").write_bytes(b"\x1c\0\0\0TFL3 junk")
    (tmp_path / "frozen.pb").write_bytes(b"junk")
    (tmp_path / "exported").mkdir()
    shutil.copy(FIGURES, tmp_path / "exported" / "net.onnx")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"junk")
    (tmp_path / "numbers.json").write_text("{}")
    np.savez(tmp_path / "calib.npz", allow_pickle=False, image=np.zeros((12, 3, 8, 8), np.float32))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


# What is typed, and what the line must hold.
MISTAKES = [
    (("optimize", "", *OUT), "an argument is empty: is a variable of the shell not set?"),
    (("optimize", "model.onnx", *OUT[:-1], ""), "-o is given an empty text"),
    ((*MODEL, "--hints", " "), "--hints is given an empty text"),
    (("optimize", "modle.onnx", *OUT), "did you mean 'model.onnx'?"),
    (("optimize", "none/model.onnx", *OUT), "there is no folder none"),
    (("optimize", "exported", *OUT), "did you mean 'exported/net.onnx'?"),
    (("optimize", "saved", *OUT), "tf2onnx"),
    (("optimize", "frozen.pb", *OUT), "tf2onnx"),
    (("optimize", "weights.pt", *OUT), "torch.onnx.export"),
    (("optimize", "lite.tflite", *OUT), "--tflite"),
    (("compare", "model.onnx", "weights.pt"), "torch.onnx.export"),
    ((*MODEL, "--max-drop", "1%"), "--max-drop takes a number, such as 0.01"),
    ((*MODEL, "--seed", "1.5"), "--seed takes a whole number"),
    ((*MODEL, "--refine", "-1"), "--refine must be greater than or equal to 0"),
    ((*MODEL, "--minimize", "speed"), "--minimize: 'speed' is not one of 'latency'"),
    ((*MODEL, "--dry-run=yes"), "--dry-run takes no value"),
    ((*MODEL, "--labels"), "--labels needs a value behind it"),
    ((*MODEL, "--max-latencey", "5ms"), "did you mean '--max-latency'?"),
    ((*MODEL, "extra.onnx"), "'extra.onnx' is too much"),
    ((*MODEL, "--calib", "clib.npz"), "did you mean 'calib.npz'?"),
    ((*MODEL, "--calib", "calib.npz"), "a sample is 3x8x8, but input 'image' takes 3x64x64"),
    ((*MODEL, "--plan", "number.json"), "did you mean 'numbers.json'?"),
    ((*MODEL, "--plan", "numbers.json"), "is no plan: name the OUT.plan.json"),
    ((*MODEL, "--hints", "number.json"), "did you mean 'numbers.json'?"),
    ((*MODEL, "--cost-model", "number.json"), "did you mean 'numbers.json'?"),
    ((*MODEL, "--config", "number.json"), "did you mean 'numbers.json'?"),
    ((*MODEL, "--write-plan", "none/p.json"), "there is no folder none"),
    ((*MODEL, "--input-shape", "img:1,3,64,64"), "the model's inputs are image"),
    (("optimize", "model.onnx", "-t", "edge-npu", "-o", "model.onnx", "--force"), "is the input"),
    (("report", "number.json"), "did you mean 'numbers.json'?"),
    (("compare", "model.onnx", "model.onnx", "--inputs", "clib.npz"), "did you mean 'calib.npz'?"),
    (("analyze", "model.onnx"), "name an accelerator with --target"),
    (("analyze",), "no MODEL was named"),
    (("bisect", "model.onnx", "-t", "edge-npu"), "no --plan was given"),
    (("targets",), "there is list, show, new, measure, fit, check"),
    (("targets", "sho", "edge-npu"), "did you mean 'show'?"),
    (("targets", "show", "edge-np"), "did you mean 'edge-npu'?"),
    (("targets", "new", "edge-npu"), "which yours would hide"),
    (("--verson",), "did you mean '--version'?"),
]


@pytest.mark.parametrize(
    ("typed", "said"), MISTAKES, ids=lambda item: item if isinstance(item, str) else " ".join(item)
)
def test_a_mistake_is_one_line_that_helps(
    typed: tuple[str, ...], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    assert main(typed) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert said in told.err
    assert "Value error" not in told.err
    assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == before


def test_only_a_close_name_is_guessed(tmp_path: Path) -> None:
    (tmp_path / "mobilenet.onnx").write_bytes(b"")
    assert near(tmp_path / "mobilnet.onnx") == f": did you mean '{tmp_path / 'mobilenet.onnx'}'?"
    assert near(tmp_path / "resnet50.onnx") == ""
    assert near(tmp_path / "a" / "b.onnx") == f": there is no folder {tmp_path / 'a'}"
    assert near("\0") == ""
