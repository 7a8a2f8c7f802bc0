"""Hostile hints: data alone, refused in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hwopt.errors import BadInput
from hwopt.hints.file import read_hints
from tests.hostile.mutations import mutations, refused_by_command, refused_or_read

MODEL = Path(__file__).parents[2] / "models" / "figures" / "figures.onnx"
GOOD = b"""\
schema_version = 1
[pin]
"form:abc" = "fused_k3"
[forbid]
passes = ["fuse_ibn", "sparsify"]
choices = ["form:def"]
nodes = ["conv1"]
[forbid.values]
"form:x" = ["fused_k5", "fused_k3"]
[channels]
"*" = 16
[prefer]
within = 0.02
passes = ["densify_depthwise"]
[prefer.values]
"width:b" = "w32"
[limits]
"form:abc" = { max_damage = 0.01, min_channels = 0.5, max_latency = "40us", max_strength = 0.3 }
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[channels]\n"*" = 1' + "0" * 18, "whole number"),
        ('[channels]\n"*" = 0x' + "f" * 3900, "beyond all bounds"),
        ('[limits]\n"*" = { max_damage = 1e999 }', "not negative"),
        ('[limits]\n"*" = { max_latency = "1e999s" }', "must be a time"),
        ('[limits]\n"*" = { max_latency = 1' + "0" * 400 + " }", "must be a time"),
        ("[prefer]\nwithin = -nan", "between 0 and 1"),
        ('[pin]\n"a" = "' + "x" * 3000 + '"', "names no choice"),
        ('[pin]\n"\\u001b[2J" = "x"', "\\u001b[2J"),
        ('[pin]\n"a" = "x"\n"a" = "y"', "not valid TOML"),
        ("pin = " + "{a = " * 40 + "1" + "}" * 40, "nesting beyond all bounds"),
        ('import = "os"', "is not known"),
        ('metric = "os:system"', "is not known"),
        ('[forbid]\npasses = ["../../evil", "os:system"]', "names no pass"),
        ("\x00", "not valid TOML"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    text: str, words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "hints.toml").write_text(f"schema_version = 1\n{text}\n", "utf-8")
    hints, out = str(tmp_path / "hints.toml"), str(tmp_path / "out.onnx")
    arguments = ["optimize", str(MODEL), "-t", "edge-npu", "--refine", "0", "--hints", hints, "-o", out]
    refused_by_command(arguments, tmp_path, capfd, "hints.toml", words)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path / "pipe", Path("/dev/zero"), Path("/dev/tty"), tmp_path):
        with pytest.raises(BadInput, match=r"not a file|cannot be read"):
            read_hints(file)


def test_mutated_hints_are_refused_or_read(tmp_path: Path) -> None:
    _mutated(tmp_path, 400, seed=0)


@pytest.mark.slow
def test_many_mutated_hints_are_refused_or_read(tmp_path: Path) -> None:
    _mutated(tmp_path, 8000, seed=1)


def _mutated(folder: Path, count: int, seed: int) -> None:
    file, refused = folder / "hints.toml", 0
    for data in mutations(GOOD, count, seed):
        file.write_bytes(data)
        refused += refused_or_read(lambda: read_hints(file), file)
    assert 0.5 * count < refused < count
