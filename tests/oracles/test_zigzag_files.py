"""A target's ZigZag files: what describes an accelerator, and what is refused, with its line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from hwopt.errors import BadInput
from hwopt.oracles.zigzag_files import read_description
from hwopt.target.file import Memory, OracleSpec, Target, read_target

pytest.importorskip("zigzag", reason="needs the extra 'zigzag'")

EDGE = Path(__file__).parents[2] / "targets" / "edge-npu"
Options = Mapping[str, str | int | bool]

ARRAY = """name: own
memories:
  sram:
    size: 8000000
    r_cost: 1.0
    w_cost: 1.0
    area: 0
    latency: 1
    operands: [I1, I2, O]
    ports:
      - name: rw_port_1
        type: read_write
        bandwidth_min: 64
        bandwidth_max: 256
        allocation:
          - I1, fh
          - I1, tl
          - I2, fh
          - I2, tl
          - O, fh
          - O, fl
          - O, tl
          - O, th
    served_dimensions: [D1, D2]
operational_array:
  unit_energy: 0.04
  unit_area: 1
  dimensions: [D1, D2]
  sizes: [8, 4]
"""
MAPPING = """- name: default
  spatial_mapping:
    D1: ["K, 8"]
    D2: ["C, 4"]
  memory_operand_links:
    O: O
    W: I2
    I: I1
"""
OWN_MEMORIES = (Memory("sram", 1_000_000, 32.0),)


def target(options: Options | None = None, folder: Path = EDGE) -> Target:
    """The edge NPU with other options, in another folder."""
    edge = read_target(EDGE)
    merged = {**edge.oracle.options, **(options or {})}
    return replace(edge, folder=folder, oracle=OracleSpec("zigzag", merged))


def own(folder: Path, array: str = ARRAY, mapping: str = MAPPING) -> Target:
    """A target that describes its accelerator in its own folder."""
    (folder / "array.yaml").write_text(array, "utf-8")
    (folder / "mapping.yaml").write_text(mapping, "utf-8")
    found = target({"accelerator": "array.yaml", "mapping": "mapping.yaml"}, folder)
    return replace(found, macs_per_cycle=32, memories=OWN_MEMORIES)


def test_the_shipped_target_says_how_every_operator_is_mapped() -> None:
    description = read_description(target())
    assert description.depthwise == "default"
    assert not description.locality
    assert all(description.has_mapping(operator) for operator in ("Conv", "Add", "Pooling"))


def test_the_shipped_targets_array_is_the_described_one() -> None:
    edge = target()
    assert list(edge.array.values()) == read_description(edge).accelerator["operational_array"]["sizes"]


def test_additions_need_an_entry_of_their_own(tmp_path: Path) -> None:
    description = read_description(own(tmp_path))
    assert description.has_mapping("Conv")
    assert not description.has_mapping("Add")


def test_the_fingerprint_follows_the_files_and_not_their_folder(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder in folders:
        folder.mkdir()
    first, same = (read_description(own(folder)).fingerprint for folder in folders[:2])
    other = read_description(own(folders[2], mapping=MAPPING.replace("K, 8", "K, 4"))).fingerprint
    assert first == same != other


@pytest.mark.parametrize(
    "name", ["edge_tpu_like", "tpu_like", "eyeriss_like", "meta_prototype", "tesla_npu_like"]
)
def test_stock_accelerators_are_described_soundly(name: str) -> None:
    from hwopt.oracles.zigzag_checks import check_accelerator
    from hwopt.oracles.zigzag_files import _package_folder
    from hwopt.oracles.zigzag_yaml import read_yaml

    sizes = check_accelerator(
        read_yaml(_package_folder() / "inputs" / "hardware" / f"{name}.yaml", twice=True)
    )
    assert list(sizes) == [f"D{index}" for index in range(1, len(sizes) + 1)]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("K, 8", "K, 16", "mapping.yaml:3: entry 'default' unrolls 16 along D1, but the array has 8"),
        ("D2:", "D3:", "mapping.yaml:4: entry 'default' maps to D3, but the array has D1, D2"),
        ("C, 4", "Q, 4", "mapping.yaml:4: unknown loop 'Q'"),
        ("C, 4", "C 4", "mapping.yaml:4: .*'C 4' must be a loop and a number"),
        ("W: I2", "W: I3", "mapping.yaml:7: unknown memory operand 'I3': did you mean 'I2'"),
        ("W: I2", "W: I1", "mapping.yaml:5: memory_operand_links: I and W go to I1 and I2"),
        ("    W: I2\n", "", "mapping.yaml:5: memory_operand_links must link I, W and O"),
        ("default", "Conv", "mapping.yaml: has no entry named 'default'"),
        ('    D2: ["C, 4"]\n', "", "mapping.yaml:2: entry 'default' .* must say what D2 does"),
        ('    D2: ["C, 4"]', '    D1: ["C, 4"]', "mapping.yaml:4: 'D1' is given twice, first on line 3"),
        (MAPPING, "- spatial_mapping", "mapping.yaml:1: not a ZigZag mapping"),
        (MAPPING, "a: [", "mapping.yaml:1: not valid yaml"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in MAPPING
    with pytest.raises(BadInput, match=says):
        read_description(own(tmp_path, mapping=MAPPING.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[8, 4]", "[8]", "array.yaml:29: .*as many sizes as dimensions"),
        ("[8, 4]", "[8, -4]", "array.yaml:29: size -4 of D2"),
        ("  dimensions: [D1, D2]", "  dimensions: [D1, X]", "array.yaml:28: dimension 'X'"),
        ("operands: [I1, I2, O]", "operands: [I1, W, O]", "array.yaml:9: unknown operand 'W'"),
        (
            "operands: [I1, I2, O]",
            "operands: [I1, O]",
            "array.yaml:18: 'I2, fh': the memory does not hold I2",
        ),
        ("served_dimensions: [D1, D2]", "served_dimensions: [D1]", "array.yaml:24: .*does not serve D2"),
        (
            "served_dimensions: [D1, D2]",
            "served_dimensions: [D1, D3]",
            "array.yaml:24: unknown dimension 'D3'",
        ),
        ("bandwidth_min: 64", "bandwidth_min: 512", "array.yaml:13: bandwidths 512 to 256"),
        ("bandwidth_max: 256", "bandwidth_max: 0", "array.yaml:13: bandwidths 64 to 0"),
        ("type: read_write", "type: read", "array.yaml:16: 'I1, fh' does not go through a port of type read"),
        ("          - I2, tl\n", "", "array.yaml:10: no port of 'sram' is allocated to 'I2, tl'"),
        ("          - O, fl\n", "", "array.yaml:10: no port of 'sram' is allocated to 'O, fl'"),
        ("I1, tl", "I1; tl", "array.yaml:17: allocation 'I1; tl' must be like 'I1, tl'"),
        ("size: 8000000", "size: 8 MB", "array.yaml:4: 'size' of 'sram' must be its bits"),
    ],
)
def test_an_accelerator_that_does_not_hold_together_is_refused(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    assert old in ARRAY
    with pytest.raises(BadInput, match=says):
        read_description(own(tmp_path, ARRAY.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"macs_per_cycle": 64}, "macs_per_cycle is 64, but the array of .*array.yaml has 8 x 4 = 32 units"),
        ({"memories": (Memory("sram", 2_000_000, 32.0),)}, "memory 'sram' of 2000000 bytes .* is not in"),
        ({"memories": (Memory("sram", 1_000_000, 8.0),)}, "at 8 a cycle is not in .*at 32 a cycle"),
        ({"memories": (Memory("sram", 8_000_000, 256.0),)}, "these are bits: target.toml counts bytes"),
    ],
)
def test_target_and_file_say_the_same(tmp_path: Path, change: dict[str, object], says: str) -> None:
    read_description(own(tmp_path))
    with pytest.raises(BadInput, match=says):
        read_description(replace(own(tmp_path), **change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"accelerator": "edge_tpu_lik"}, r"target.toml:\d+: .*did you mean 'edge_tpu_like'"),
        ({"mapping": "missing.yaml"}, r"target.toml:\d+: .*'missing.yaml' is no file"),
        ({"mapping": "../ethos-u55-256/x.yaml"}, "is no file"),
        ({"depthwise_mapping": "Depthwise"}, "'Depthwise' is no entry of the mapping"),
        ({"lpf_limit": 0}, r"target.toml:\d+: lpf_limit is 0: .*positive whole number"),
        ({"data_locality": "yes"}, "true or false"),
        (
            {"weight_buffer_bytes": 1000},
            "'weight_buffer_bytes' is for accelerators that target.toml describes",
        ),
    ],
)
def test_an_option_that_cannot_be_used_is_named(options: Options, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        read_description(target(options))


def test_a_target_must_say_how_depthwise_is_mapped() -> None:
    edge = target()
    options = {name: value for name, value in edge.oracle.options.items() if name != "depthwise_mapping"}
    with pytest.raises(BadInput, match=r"lacks 'depthwise_mapping': write .* one of Add, Pooling, default"):
        read_description(replace(edge, oracle=OracleSpec("zigzag", options)))
