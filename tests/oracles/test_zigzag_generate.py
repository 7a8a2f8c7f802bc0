"""An accelerator that target.toml describes by itself: what ZigZag is told, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwopt.errors import BadInput
from hwopt.oracles.zigzag_files import Description, read_description
from hwopt.target import read_target

pytest.importorskip("zigzag", reason="needs the extra 'zigzag'")

TOML = """schema_version = 1
name = "paper"
title = "A 16 x 8 array on paper"
precision = "int8"
[hardware]
clock_mhz = 800.0
macs_per_cycle = 128
array = { out_channels = 16, out_width = 8 }
channel_multiples = [16]
weights_compressed = false
[[memory]]
name = "sram"
bytes = 524288
bytes_per_cycle = 64.0
[[memory]]
name = "dram"
bytes = 1073741824
bytes_per_cycle = 16.0
[[engine]]
name = "npu"
ops = ["Conv", "DepthwiseConv"]
[oracle]
name = "zigzag"
[oracle.options]
depthwise_mapping = "groups, out_width"
"""


def described(folder: Path, *changes: tuple[str, str]) -> Description:
    """The description of TOML with texts replaced."""
    text = TOML
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "target.toml").write_text(text, "utf-8")
    return read_description(read_target(folder))


def test_the_array_unrolls_what_the_file_says(tmp_path: Path) -> None:
    found = described(tmp_path)
    assert found.accelerator["operational_array"]["sizes"] == [16, 8]
    unrolled = {entry["name"]: entry["spatial_mapping"] for entry in found.mapping}
    assert unrolled["default"] == {"D1": ["K, 16"], "D2": ["OX, 8"]}
    assert unrolled[found.depthwise] == {"D1": ["G, 16"], "D2": ["OX, 8"]}
    assert unrolled["Gemm"] == {"D1": ["K, 16"], "D2": ["D, 8"]}  # rows of a matrix where pixels were


def test_memories_keep_their_bytes_and_bandwidths(tmp_path: Path) -> None:
    memories = described(tmp_path).accelerator["memories"]
    assert list(memories) == ["weight_register", "accumulator", "sram", "dram"]
    assert (memories["sram"]["size"], memories["dram"]["size"]) == (8 * 524288, 8 * 1073741824)
    assert [port["bandwidth_max"] for port in memories["sram"]["ports"]] == [512, 512]
    assert [(port["type"], port["bandwidth_max"]) for port in memories["dram"]["ports"]] == [
        ("read_write", 128)
    ]
    assert memories["weight_register"]["served_dimensions"] == ["D2"]  # pixels share a weight
    assert memories["sram"]["operands"] == ["I1", "I2", "O"]


def test_a_buffer_of_its_own_takes_the_weights(tmp_path: Path) -> None:
    buffer = (
        'depthwise_mapping = "groups, -"\nweight_buffer_bytes = 32768\nweight_buffer_bytes_per_cycle = 32'
    )
    memories = described(tmp_path, ('depthwise_mapping = "groups, out_width"', buffer)).accelerator[
        "memories"
    ]
    assert (memories["weight_buffer"]["size"], memories["weight_buffer"]["operands"]) == (8 * 32768, ["I2"])
    assert memories["sram"]["operands"] == ["I1", "O"]


def test_wider_elements_need_wider_registers(tmp_path: Path) -> None:
    narrow, wide = described(tmp_path), described(tmp_path, ('"int8"', '"fp16"'))
    sizes = [item.accelerator["memories"]["accumulator"]["size"] for item in (narrow, wide)]
    assert sizes[1] == 2 * sizes[0]
    assert narrow.fingerprint != wide.fingerprint


def test_idle_lanes_and_narrower_ones(tmp_path: Path) -> None:
    found = described(tmp_path, ("groups, out_width", "groups 4, -"))
    unrolled = {entry["name"]: entry["spatial_mapping"] for entry in found.mapping}
    assert unrolled[found.depthwise] == {"D1": ["G, 4"], "D2": ["C, 1"]}
    assert described(tmp_path, ("groups, out_width", "default")).depthwise == "default"


def test_the_fingerprint_follows_every_number(tmp_path: Path) -> None:
    changes = [
        ("bytes_per_cycle = 16.0", "bytes_per_cycle = 8.0"),
        ("524288", "262144"),
        ("groups, out_width", "groups, -"),
        ("[oracle.options]", "[oracle.options]\naccumulator_bytes = 256"),
        ("[oracle.options]", "[oracle.options]\nlpf_limit = 5"),
    ]
    seen = {described(tmp_path, change).fingerprint for change in changes}
    assert len(seen | {described(tmp_path).fingerprint}) == len(changes) + 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            ("macs_per_cycle = 128", "macs_per_cycle = 256"),
            r"target.toml:8: .*multiply to macs_per_cycle = 256",
        ),
        (("groups, out_width", "groups"), r"target.toml:25: .*each of out_channels, out_width"),
        (("groups, out_width", "rows, -"), r"target.toml:25: .*unknown loop 'rows'"),
        (
            ("groups, out_width", "groups 32, -"),
            r"target.toml:25: .*'groups 32' does not fit a dimension of 16",
        ),
        (("[oracle.options]", "[oracle.options]\nweight_buffer_bytes = 4096"), "bytes and bytes per cycle"),
        (("[oracle.options]", "[oracle.options]\naccumulator_bytes = 1"), "holds 2 bytes or more"),
        (("[oracle.options]", '[oracle.options]\nmapping = "tpu_like"'), "give 'accelerator' and 'mapping'"),
        (('depthwise_mapping = "groups, out_width"', ""), 'depthwise_mapping.*write what .*"groups, -"'),
    ],
)
def test_what_does_not_hold_together_is_refused_with_its_line(
    tmp_path: Path, change: tuple[str, str], says: str
) -> None:
    with pytest.raises(BadInput, match=says):
        described(tmp_path, change)


def test_one_memory_is_not_enough(tmp_path: Path) -> None:
    sram = TOML[TOML.index("[[memory]]") : TOML.index('[[memory]]\nname = "dram"')]
    with pytest.raises(BadInput, match="the on-chip memory and the outermost one"):
        described(tmp_path, (sram, ""))
