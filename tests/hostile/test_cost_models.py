"""Hostile cost models: what a file or a folder of anybody's holds ends a worker at most."""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hwopt.cost import bundle as bundles
from hwopt.cost.bundle import Bundle, pack, unpack
from hwopt.cost.dataset import FILE_NAME, read_samples
from hwopt.cost.fit import MODEL_FILE, pin_model
from hwopt.cost.loading import UnpinnedModel, load_cost_model
from hwopt.cost.loading_worker import MEMORY_BYTES
from hwopt.cost.training import Settings, train
from hwopt.errors import BadInput
from hwopt.files.untrusted import Data, parse_json
from hwopt.target import read_target
from tests.hostile.mutations import mutations, refused_by_command, refused_or_read

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models" / "figures" / "figures.onnx"
SHIPPED = ROOT / "targets" / "edge-npu"
DATA_SHA256 = "d" * 64
MAGIC = b"hwopt-cost-model\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A target's folder with a very small cost model, pinned."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copy(SHIPPED / "target.toml", folder / "target.toml")
    rows = read_samples(SHIPPED / FILE_NAME)[:120]
    small = train(rows, read_target(folder), Settings(depth=2, rounds=3, members=2), DATA_SHA256)
    write(folder, pack(small.header, small.boosters))
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "target"))


def write(folder: Path, data: bytes) -> None:
    """The file of a cost model, with the right pin."""
    (folder / MODEL_FILE).write_bytes(data)
    pin_model(folder / "target.toml", hashlib.sha256(data).hexdigest(), DATA_SHA256)


def plain(folder: Path) -> bytes:
    return lzma.decompress((folder / MODEL_FILE).read_bytes())


def with_header(folder: Path, change: Callable[[dict[str, Data]], object]) -> bytes:
    """The file with its header changed and all sizes right."""
    data = plain(folder)
    start = len(MAGIC) + 4
    end = start + int.from_bytes(data[len(MAGIC) : start], "big")
    table = parse_json(data[start:end].decode())
    assert isinstance(table, dict)
    change(table)
    text = json.dumps(table).encode()
    return lzma.compress(MAGIC + len(text).to_bytes(4, "big") + text + data[end:], preset=0)


def test_a_flipped_bit_under_the_old_pin_is_not_even_unpacked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytearray((folder / MODEL_FILE).read_bytes())
    rng = random.Random(0)
    monkeypatch.setattr(bundles, "unpacked", lambda *_: pytest.fail("it was unpacked"))
    for _ in range(100):
        flipped = data.copy()
        flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        (folder / MODEL_FILE).write_bytes(flipped)
        with pytest.raises(BadInput, match="SHA-256 differs"):
            load_cost_model(read_target(folder))


def test_a_folder_with_its_own_pin_is_loaded_apart(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends a target sends its pin, too: nothing native may see such a file in this process."""
    monkeypatch.setattr("hwopt.cost.loading.load_booster", lambda _: pytest.fail("loaded in this process"))
    assert isinstance(load_cost_model(read_target(folder)), UnpinnedModel)
    assert isinstance(load_cost_model(read_target(SHIPPED), folder / MODEL_FILE), UnpinnedModel)


def test_boosters_of_nonsense_under_a_right_pin_end_a_worker_at_most(folder: Path) -> None:
    bundle = unpack(folder / MODEL_FILE)
    first = bundle.boosters[0]
    rng = random.Random(0)
    for kind in ("flip", "cut"):
        booster = bytearray(first)
        if kind == "flip":
            for _ in range(40):
                booster[rng.randrange(8, len(booster))] ^= 1 << rng.randrange(8)
        else:
            del booster[rng.randrange(8, len(booster)) :]
        data = pack(replace(bundle.header, sizes=()), [bytes(booster), *bundle.boosters[1:]])
        write(folder, data)
        refused_or_read(lambda: load_cost_model(read_target(folder)), folder)


def _claimed_trees(booster: bytes, count: int) -> bytes:
    """The booster with another number of elements claimed for its first array of integers."""
    at = booster.index(b"left_children") + len(b"left_children")
    head = booster.index(b"#L", at) + 2
    return booster[:head] + count.to_bytes(8, "big") + booster[head + 8 :]


@pytest.mark.parametrize("count", [1 << 31, 1 << 40, (1 << 63) - 1])
def test_a_tree_of_billions_of_nodes_costs_a_worker_its_memory(count: int, folder: Path) -> None:
    bundle = unpack(folder / MODEL_FILE)
    booster = _claimed_trees(bundle.boosters[0], count)
    write(folder, pack(replace(bundle.header, sizes=()), [booster, *bundle.boosters[1:]]))
    with pytest.raises(BadInput, match="cannot be used"):
        load_cost_model(read_target(folder))
    assert MEMORY_BYTES <= 4 << 30


HEADERS: dict[str, Callable[[dict[str, Data]], object]] = {
    "a size below zero": lambda table: table.update(sizes=[-1, 1]),
    "a size beyond the file": lambda table: table.update(sizes=[1 << 60]),
    "sizes of text": lambda table: table.update(sizes="12"),
    "rates of text": lambda table: table.update(rates={"conv": "fast"}),
    "rows below zero": lambda table: table.update(rows={"conv": -1}),
    "a version of text": lambda table: table.update(feature_version="1"),
    "a calibration of a list": lambda table: table.update(calibration=[1]),
    "a calibration of nothing": lambda table: table.update(calibration={"a": 1}),
    "a reach of nothing": lambda table: table.update(reach={"words": 1}),
    "points that are none": lambda table: table.update(
        reach={"words": [], "ranges": {}, "points": {"conv": "!"}, "context": True}
    ),
    "a key that is unknown": lambda table: table.update(module="os"),
    "extras without boosters": lambda table: table.update(extras=["stream"] * 50),
    "a tiling of code": lambda table: table.update(tiling="__import__('os')"),
    "a number without end": lambda table: table.update(member_weight=float("inf")),
    "deep": lambda table: table.update(calibration=_nested(100)),
}


def _nested(levels: int) -> Data:
    value: Data = 1
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize("case", HEADERS)
def test_a_header_of_nonsense_is_refused(case: str, folder: Path) -> None:
    write(folder, with_header(folder, HEADERS[case]))
    with pytest.raises(BadInput) as caught:
        load_cost_model(read_target(folder))
    assert "\n" not in str(caught.value)


def test_a_bomb_is_not_unpacked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "_LARGEST", 1 << 20)
    bomb = lzma.compress(bytes(8 << 20), preset=0)
    assert len(bomb) < 10_000
    write(folder, bomb)
    with pytest.raises(BadInput, match="unpacks to more than"):
        load_cost_model(read_target(folder))


def test_a_dictionary_of_gigabytes_is_refused(folder: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30, "preset": 0}]
    data = lzma.compress(b"x", filters=filters)
    write(folder, data)
    with pytest.raises(BadInput, match="not a cost model"):
        load_cost_model(read_target(folder))


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "huge"])
def test_what_is_no_file_is_refused_by_the_command_line(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "m.ubj.xz"
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    elif kind == "folder":
        file.mkdir()
    else:
        with file.open("wb") as stream:
            stream.truncate(100_000_000)
    arguments = ["optimize", str(MODEL), "-t", "edge-npu", "-o", str(tmp_path / "o.onnx")]
    words = "more than" if kind == "huge" else "not a file"
    refused_by_command([*arguments, "--cost-model", str(file)], tmp_path, capfd, words)


def test_mutated_files_are_refused_or_read(folder: Path) -> None:
    """What `unpack` says of mutations of the packed file, and of what it holds."""
    _mutated(folder, 150, seed=0)


@pytest.mark.slow
def test_many_mutated_files_are_refused_or_read(folder: Path) -> None:
    _mutated(folder, 4000, seed=1)


def _mutated(folder: Path, count: int, seed: int) -> None:
    file = folder / "mutated.ubj.xz"
    packed, unpacked_bytes = (folder / MODEL_FILE).read_bytes(), plain(folder)
    head = unpacked_bytes[: unpacked_bytes.index(b"{L")]

    def read() -> Bundle:
        return unpack(file)

    for data in mutations(packed, count, seed):
        file.write_bytes(data)
        assert refused_or_read(read, file) or data == packed
    for data in mutations(head, count, seed):
        file.write_bytes(lzma.compress(data + unpacked_bytes[len(head) :], preset=0))
        refused_or_read(read, file)


@pytest.mark.slow
def test_mutated_boosters_under_a_right_pin_end_workers_at_most(folder: Path) -> None:
    bundle = unpack(folder / MODEL_FILE)
    for data in mutations(bundle.boosters[0], 150, seed=2):
        if data.startswith(b"{L"):
            write(folder, pack(replace(bundle.header, sizes=()), [data, *bundle.boosters[1:]]))
            refused_or_read(lambda: load_cost_model(read_target(folder)), folder)
