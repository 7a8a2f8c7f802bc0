"""Hostile files that a target's oracle reads: Vela's own sections, ZigZag's yaml."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from hwopt.errors import BadInput
from hwopt.oracles.zigzag_yaml import LARGEST_FILE, read_yaml
from hwopt.target.file import OracleSpec, Target, read_target
from tests.hostile.mutations import mutations, refused_or_read

TARGETS = Path(__file__).parents[2] / "targets"
YAML = b"""\
name: npu
memories:
  sram: &sram { size: 1024, latency: 1 }
  dram: { <<: *sram, size: 4096 }
operational_array: { dimensions: [D1, D2], sizes: [16, 16] }
"""
SECTIONS = b"""\
[System_Config.Own]
core_clock = 500e6
axi0_port = Sram
[Memory_Mode.Own]
const_mem_area = Axi1
arena_cache_size = 4096
inherit = Memory_Mode.Own
"""


def test_aliases_that_unfold_to_billions_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    (tmp_path / "npu.yaml").write_text("\n".join(lines))
    with pytest.raises(BadInput, match="its aliases unfold to more than"):
        read_yaml(tmp_path / "npu.yaml")


@pytest.mark.parametrize(
    "text",
    ["!!python/object/apply:os.system ['true']", "[" * 5000, "a: *nothing", "a: &a [*a]", "\x00", "9" * 5000],
)
def test_what_is_no_plain_yaml_is_refused_or_plain(text: str, tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    (tmp_path / "npu.yaml").write_text(text)
    refused_or_read(lambda: read_yaml(tmp_path / "npu.yaml"), tmp_path)


def test_mutated_yaml_is_refused_or_read(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    file, refused = tmp_path / "npu.yaml", 0
    for data in mutations(YAML, 200, seed=0):
        file.write_bytes(data)
        refused += refused_or_read(lambda: read_yaml(file), file)
    assert 50 < refused < 200


def test_yaml_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadInput, match="not a file"):
        read_yaml(tmp_path / "pipe")
    with (tmp_path / "huge").open("wb") as stream:
        stream.truncate(LARGEST_FILE + 1)
    with pytest.raises(BadInput, match="more than"):
        read_yaml(tmp_path / "huge")


def own(folder: Path) -> Target:
    """A target of Vela with sections of its own."""
    shipped = read_target(TARGETS / "ethos-u55-256")
    options = {"accelerator": "ethos-u55-256", "system_config": "Own", "memory_mode": "Own"}
    return replace(shipped, folder=folder, oracle=OracleSpec("vela", {**options, "config_file": "own.ini"}))


def test_mutated_sections_of_vela_are_refused_or_read(tmp_path: Path) -> None:
    pytest.importorskip("ethosu.vela")
    from hwopt.oracles.vela_config import config_of

    target, refused = own(tmp_path), 0
    (tmp_path / "own.ini").write_bytes(SECTIONS)
    assert config_of(target).arena_bytes == 4096
    cases = (
        b"[System_Config.Own]\ncore_clock = nan\n",
        b"%(a)s",
        b"[a]\n[a]\n",
        SECTIONS.replace(b"500e6", b"%(x)s"),
    )
    for data in (*cases, *mutations(SECTIONS, 120, seed=0)):
        (tmp_path / "own.ini").write_bytes(data)
        refused += refused_or_read(lambda: config_of(target), tmp_path)
    assert refused > 40
