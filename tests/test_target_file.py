"""target.toml: every mistake is one line that names the file, the line and the key."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from hwopt.cost.model import roofline_hash
from hwopt.cost.raw import table
from hwopt.cost.roofline import padded_macs
from hwopt.errors import BadInput
from hwopt.oracles.onnxruntime_options import OrtOptions
from hwopt.oracles.options import ORACLE_FACTS
from hwopt.signature import Signature, macs
from hwopt.target import Target, read_target
from hwopt.target.check import check_target_toml
from hwopt.target.new import new_target, write_fusions
from hwopt.target.templates import TEMPLATES
from hwopt.target.toml_lines import error_line, line_of, lines_of

TARGETS = Path(__file__).parent.parent / "targets"
SHIPPED = sorted(path.parent for path in TARGETS.glob("*/target.toml"))

GOOD = """\
schema_version = 1
name = "x"
title = "An accelerator"
precision = "int8"

[hardware]
clock_mhz = 500.0
macs_per_cycle = 256
array = { out_channels = 16, in_channels = 16 }
channel_multiples = [8, 16]
weights_compressed = false

[[memory]]
name = "sram"
bytes = 1024
bytes_per_cycle = 16.0

[[memory]]
name = "dram"
bytes = 4096
bytes_per_cycle = 8.0

[[engine]]
name = "npu"
ops = [
  "Conv",
  "DepthwiseConv",
]

[[fusion]]
anchors = ["Conv"]
followers = [["Relu", "Clip"]]

[oracle]
name = "zigzag"
[oracle.options]
depthwise_mapping = "default"

[cost_model]
file = "m.xz"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
feature_version = 1
data_sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
"""

# What stands in GOOD, what is written instead, the line that must be named, words of the sentence.
MISTAKES = {
    "negative": ("clock_mhz = 500.0", "clock_mhz = -3", 7, "'hardware.clock_mhz' is -3: must be positive"),
    "text for a number": ("clock_mhz = 500.0", 'clock_mhz = "fast"', 7, "is 'fast': must be a number"),
    "flag for a number": ("clock_mhz = 500.0", "clock_mhz = true", 7, "must be a number"),
    "infinite": ("clock_mhz = 500.0", "clock_mhz = inf", 7, "must be positive"),
    "fraction of a MAC": ("macs_per_cycle = 256", "macs_per_cycle = 25.6", 8, "must be a whole number"),
    "missing": ("macs_per_cycle = 256\n", "", 6, "key 'hardware.macs_per_cycle' is missing"),
    "typing error": ("channel_multiples", "chanel_multiples", 10, "did you mean 'channel_multiples'?"),
    "unknown table": ("[oracle.options]\n", "[oracel]\n", 36, "unknown key 'oracel': did you mean 'oracle'?"),
    "unknown precision": ('"int8"', '"int9"', 4, "unknown precision 'int9': did you mean 'int8'?"),
    "array does not divide": ("out_channels = 16", "out_channels = 24", 9, "24 x 16 = 384 MACs"),
    "unknown dimension": ("out_channels = 16", "out_chanels = 16", 9, "did you mean 'out_channels'?"),
    "multiple of nothing": ("[8, 16]", "[0, 8]", 10, "names 0: must be positive"),
    "multiple twice": ("[8, 16]", "[8, 8]", 10, "names 8 twice"),
    "no multiples": ("[8, 16]", "[]", 10, "must not be empty"),
    "memory outside in": ("bytes = 4096", "bytes = 512", 20, "smaller than 'sram' inside it"),
    "faster outside": ("bytes_per_cycle = 8.0", "bytes_per_cycle = 80.0", 21, "faster than 'sram' inside it"),
    "memories alike": ('name = "dram"', 'name = "sram"', 19, "two memory tables are named 'sram'"),
    "unknown operator": ('"DepthwiseConv"', '"DepthWiseConv"', 27, "did you mean 'DepthwiseConv'?"),
    "operator twice": ('"DepthwiseConv"', '"Conv"', 25, "names 'Conv' twice"),
    "anchor without engine": ('["Conv"]', '["Conv", "Gemm"]', 31, "names 'Gemm', which no engine runs"),
    "unknown oracle": ('name = "zigzag"', 'name = "zagzig"', 35, "unknown oracle 'zagzig'"),
    "unknown option": ("[oracle.options]\n", "[oracle.options]\nlpf = 4\n", 37, "did you mean 'lpf_limit'?"),
    "option of a wrong type": (
        "[oracle.options]\n", "[oracle.options]\nlpf_limit = 1.5\n", 37, "must be a whole number"
    ),
    "option that is missing": ('depthwise_mapping = "default"\n', "", 36, "is missing: the oracle"),
    "file elsewhere": ('"m.xz"', '"../m.xz"', 40, "inside the target's folder"),
    "no hash": ('data_sha256 = "0', 'data_sha256 = "g', 43, "must be a SHA-256"),
    "newer schema": ("schema_version = 1", "schema_version = 2", 1, "this hwopt reads 1"),
    "no TOML": ("[hardware]", "[hardware", 6, "not valid TOML"),
    "arena of no memory": ("[hardware]\n", '[hardware]\narena_memory = "ram"\n', 7, "did you mean"),
    "unknown pattern": (
        "[oracle]\n", '[sparsity]\nskipped = ["3:4"]\n\n[oracle]\n', 35, "unknown sparsity pattern '3:4'"
    ),
    "host first": ('name = "npu"', 'name = "npu"\nhost = true', 25, "the host stands after it"),
    "more than all": (
        "[hardware]\n", "[hardware]\ndepthwise_macs_per_cycle = 512\n", 7, "more than macs_per_cycle = 256"
    ),
}  # fmt: skip


def test_the_options_of_onnx_runtime_are_those_that_it_reads() -> None:
    read = {field.name for field in fields(OrtOptions)} - {"precision"}  # the target's own
    assert set(ORACLE_FACTS["onnxruntime"].options or ()) == read


def write(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "target.toml").write_text(text, "utf-8")
    return folder / "target.toml"


def test_the_example_has_no_problem(tmp_path: Path) -> None:
    assert check_target_toml(write(tmp_path / "x", GOOD)) == []


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_no_shipped_target_has_a_problem(folder: Path) -> None:
    assert check_target_toml(folder / "target.toml") == []
    assert read_target(folder).name == folder.name


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_its_line(name: str, tmp_path: Path) -> None:
    right, wrong, line, words = MISTAKES[name]
    assert GOOD.count(right) == 1, "the example must hold it once"
    path = write(tmp_path / "x", GOOD.replace(right, wrong))
    problems = check_target_toml(path)
    assert any(problem.startswith(f"{path}:{line}: ") and words in problem for problem in problems), problems
    assert all("\n" not in problem for problem in problems)
    with pytest.raises(BadInput) as error:
        read_target(path.parent)
    assert str(error.value) in problems


def test_all_problems_are_told_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = GOOD.replace("clock_mhz = 500.0", "clock_mhz = -3").replace('["Conv"]', '["Gemm"]')
    text = text.replace("bytes = 4096", "bytes = 512").replace('"m.xz"', '"../m.xz"')
    problems = check_target_toml(write(tmp_path / "x", text))
    assert [int(problem.rsplit("target.toml:")[1].split(":")[0]) for problem in problems] == [7, 20, 31, 40]


def test_lines_of_keys_are_those_that_an_editor_shows() -> None:
    text = '# comment\n\na = 1\nb = [\n  1,\n  # c = 2\n  2,\n]\nc = """\nd = 3\n"""\n'
    text += "[t]\nx.y = 1\n[[u]]\n[[u]]\nz = 2\n"
    lines = lines_of(text)
    expected = {("a",): 3, ("b",): 4, ("b", 0): 5, ("b", 1): 7, ("c",): 9, ("t",): 12, ("t", "x", "y"): 13}
    assert {path: lines[path] for path in expected} == expected
    assert lines[("u", 0)] == 14
    assert lines[("u", 1)] == 15
    assert lines[("u", 1, "z")] == 16
    assert ("d",) not in lines
    assert line_of(lines, ("u", 1, "missing")) == 15


def test_windows_line_ends_and_broken_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "x", "")
    path.write_bytes(GOOD.replace("= 500.0", "= -1").replace("\n", "\r\n").encode())
    assert [p.split(": ")[0] for p in check_target_toml(path)] == [f"{path}:7"]
    path.write_bytes(b"a = 1\nb = '\xff'\n")
    with pytest.raises(BadInput, match=r"target.toml:2: not valid TOML: not UTF-8 text"):
        check_target_toml(path)


def test_the_end_of_a_file_is_its_last_line() -> None:
    import tomllib

    text = "a = 1\nb = [1,\n"
    with pytest.raises(tomllib.TOMLDecodeError) as error:
        tomllib.loads(text)
    assert error_line(error.value, text) == 2


@pytest.mark.parametrize("oracle", sorted(TEMPLATES))
def test_every_template_is_a_target(oracle: str, tmp_path: Path) -> None:
    files = new_target(tmp_path / "mine", oracle)
    assert check_target_toml(tmp_path / "mine" / "target.toml") == []
    target = read_target(tmp_path / "mine")
    assert (target.name, target.oracle.name, target.cost_model) == ("mine", oracle, None)
    assert all("$name" not in path.read_text("utf-8") for path in files)


@pytest.fixture
def u55() -> Target:
    return read_target(TARGETS / "ethos-u55-256")


def test_the_arena_lies_where_the_target_says(u55: Target) -> None:
    inner, outer = u55.memories
    assert u55.arena_memory == inner
    assert replace(u55, arena=outer.name).arena_memory == outer


def test_what_zeros_are_worth(u55: Target) -> None:
    plain = replace(u55, weights_compressed=False)
    assert not plain.weights_matter
    assert not plain.gains_from("2:4")
    structured = replace(plain, skipped_sparsity=("2:4",))
    assert structured.weights_matter
    assert structured.gains_from("2:4")
    assert not structured.gains_from("unstructured")
    assert replace(plain, skipped_sparsity=("unstructured",)).gains_from("2:4")
    assert u55.gains_from("unstructured")


def test_a_stated_depthwise_rate_bounds_depthwise_convolutions_alone(u55: Target) -> None:
    shape = {"inputs": ((1, 32, 8, 8),), "outputs": ((1, 32, 8, 8),), "dtype": "int8", "kernel": (3, 3)}
    depthwise = Signature("depthwise", ("DepthwiseConv",), group=32, **shape)  # type: ignore[arg-type]
    dense = Signature("conv", ("Conv",), **shape)  # type: ignore[arg-type]
    stated = replace(u55, depthwise_macs_per_cycle=8)
    rows = table([depthwise, dense])
    expected = [macs(depthwise) / 8, padded_macs(rows, u55)[1] / 256]
    np.testing.assert_allclose(padded_macs(rows, stated) / 256, expected)
    assert roofline_hash(stated) != roofline_hash(u55)


def test_found_rules_replace_the_old_ones_and_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path / "x", GOOD.replace("[oracle]\n", "# the oracle\n[oracle]\n"))
    before = read_target(path.parent)
    write_fusions(path.parent, '# found\n\n[[fusion]]\nanchors = ["DepthwiseConv"]\nfollowers = [["Relu"]]\n')
    after = read_target(path.parent)
    assert [sorted(rule.anchors) for rule in after.fusions] == [["DepthwiseConv"]]
    assert replace(after, fusions=before.fusions, config_hash=before.config_hash) == before
    assert "# the oracle\n[oracle]" in path.read_text("utf-8")


def test_rules_that_do_not_fit_leave_the_file_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "x", GOOD)
    with pytest.raises(BadInput, match="which no engine runs"):
        write_fusions(path.parent, '[[fusion]]\nanchors = ["Softmax"]\nfollowers = [["Relu"]]\n')
    assert path.read_text("utf-8") == GOOD
    assert [item.name for item in path.parent.iterdir()] == ["target.toml"]
