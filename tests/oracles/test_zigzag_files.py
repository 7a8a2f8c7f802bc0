"""A target's ZigZag files: what describes an accelerator, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from hwopt.errors import BadInput
from hwopt.oracles.zigzag_files import read_description
from hwopt.target import OracleSpec, Target, read_target

pytest.importorskip("zigzag", reason="needs the extra 'zigzag'")

EDGE = Path(__file__).parents[2] / "targets" / "edge-npu"
Options = Mapping[str, str | int]

ARRAY = "operational_array:\n  dimensions: [D1, D2]\n  sizes: [8, 4]\n"
MAPPING = '- name: default\n  spatial_mapping:\n    D1: ["K, 8"]\n    D2: ["C, 4"]\n'


def target(options: Options | None = None, folder: Path = EDGE) -> Target:
    """The edge NPU with other options, in another folder."""
    edge = read_target(EDGE)
    merged = {**edge.oracle.options, **(options or {})}
    return replace(edge, folder=folder, oracle=OracleSpec("zigzag", merged))


def own(folder: Path, array: str = ARRAY, mapping: str = MAPPING) -> Target:
    """A target that describes its accelerator in its own folder."""
    (folder / "array.yaml").write_text(array, "utf-8")
    (folder / "mapping.yaml").write_text(mapping, "utf-8")
    return target({"accelerator": "array.yaml", "mapping": "mapping.yaml"}, folder)


def test_the_shipped_target_says_how_every_operator_is_mapped() -> None:
    description = read_description(target())
    assert description.depthwise == "default"
    assert all(description.has_mapping(operator) for operator in ("Conv", "Add", "Pooling"))


def test_the_shipped_targets_array_is_the_described_one() -> None:
    yaml = pytest.importorskip("yaml")
    edge = target()
    array = yaml.safe_load(read_description(edge).accelerator.read_text("utf-8"))["operational_array"]
    assert list(edge.array.values()) == array["sizes"]
    product = 1
    for size in array["sizes"]:
        product *= size
    assert edge.macs_per_cycle == product


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
    ("array", "mapping", "says"),
    [
        (ARRAY, MAPPING.replace("K, 8", "K, 16"), "unrolls 16 along D1, but the array has 8"),
        (ARRAY, MAPPING.replace("D2", "D3"), "maps to D3, but the array has D1, D2"),
        (ARRAY, MAPPING.replace("default", "Conv"), "no entry named 'default'"),
        (ARRAY, "- spatial_mapping", "not a ZigZag mapping"),
        (ARRAY, "a: [", "not valid yaml"),
        (ARRAY.replace("[8, 4]", "[8]"), MAPPING, "as many sizes as dimensions"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    tmp_path: Path, array: str, mapping: str, says: str
) -> None:
    with pytest.raises(BadInput, match=says):
        read_description(own(tmp_path, array, mapping))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"accelerator": "no_such"}, "no accelerator 'no_such'; there is .*edge_tpu_like"),
        ({"mapping": "missing.yaml"}, "'missing.yaml' is no file"),
        ({"mapping": "../ethos-u55-256/x.yaml"}, "is no file"),
        ({"depthwise_mapping": "Depthwise"}, "'Depthwise' is no entry of the mapping"),
        ({"lpf_limit": 0}, "positive whole number"),
    ],
)
def test_an_option_that_cannot_be_used_is_named(options: Options, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        read_description(target(options))


def test_a_target_must_say_how_depthwise_is_mapped() -> None:
    edge = target()
    options = {name: value for name, value in edge.oracle.options.items() if name != "depthwise_mapping"}
    with pytest.raises(BadInput, match="depthwise_mapping"):
        read_description(replace(edge, oracle=OracleSpec("zigzag", options)))
