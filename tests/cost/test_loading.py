"""Files of cost models: what is pinned is loaded here, anything else in a process that may crash."""

from __future__ import annotations

import hashlib
import lzma
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hwopt.cost.bundle import Bundle, pack, unpack
from hwopt.cost.dataset import FILE_NAME, read_samples
from hwopt.cost.fit import MODEL_FILE, pin_model
from hwopt.cost.loading import UnpinnedModel, load_cost_model
from hwopt.cost.training import Settings, train
from hwopt.errors import BadInput
from hwopt.signature import Signature
from hwopt.target import read_target
from hwopt.target.folders import TARGETS_VARIABLE

DATA = "d" * 64  # SHA-256 of measurements that nobody looks at
SHIPPED = Path(__file__).parents[2] / "targets" / "edge-npu"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A target's folder with a small cost model, pinned."""
    folder = tmp_path_factory.mktemp("target")
    shutil.copy(SHIPPED / "target.toml", folder / "target.toml")
    rows = read_samples(SHIPPED / FILE_NAME)[:400]
    small = train(rows, read_target(folder), Settings(depth=3, rounds=10, members=2), DATA)
    _write(folder, pack(small.header, small.boosters))
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "target"))


def _write(folder: Path, data: bytes) -> None:
    (folder / MODEL_FILE).write_bytes(data)
    pin_model(folder / "target.toml", hashlib.sha256(data).hexdigest(), DATA)


def _signatures() -> list[Signature]:
    return [row.signature for row in read_samples(SHIPPED / FILE_NAME)[:50]]


def _bundle(folder: Path) -> Bundle:
    return unpack(folder / MODEL_FILE)


@pytest.fixture
def installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder as a target of the user's own, which its name finds."""
    monkeypatch.setenv(TARGETS_VARIABLE, str(folder))
    return folder


def test_a_worker_says_what_this_process_says(installed: Path) -> None:
    target = read_target(installed)
    apart, here = UnpinnedModel(target, _bundle(installed)), load_cost_model(target)
    assert not isinstance(here, UnpinnedModel)
    assert apart.predict(_signatures()) == here.predict(_signatures())
    assert apart.knows(_signatures()[0])


def test_what_a_folder_pins_that_came_from_anywhere_is_loaded_in_a_worker(folder: Path) -> None:
    target = read_target(folder)
    model = load_cost_model(target)
    assert isinstance(model, UnpinnedModel)
    assert model.target == target


def test_only_a_named_file_is_loaded_without_a_pin(installed: Path) -> None:
    folder = installed
    other = folder / "other.ubj.xz"
    bundle = _bundle(folder)
    other.write_bytes(pack(replace(bundle.header, member_weight=2.0), bundle.boosters))
    model = load_cost_model(read_target(folder), other)
    assert isinstance(model, UnpinnedModel)
    assert model.target.cost_model is not None
    assert model.target.cost_model.sha256 == hashlib.sha256(other.read_bytes()).hexdigest()
    assert not isinstance(load_cost_model(read_target(folder), folder / MODEL_FILE), UnpinnedModel)
    shutil.copy(other, folder / MODEL_FILE)
    with pytest.raises(BadInput, match=r"SHA-256 differs.*--cost-model"):
        load_cost_model(read_target(folder))


@pytest.mark.parametrize(
    ("damage", "message"),
    [("truncated", "XGBoostError"), ("tree", "cannot be used"), ("features", "ended by SIG")],
)
def test_a_damaged_booster_ends_a_worker_and_nothing_else(folder: Path, damage: str, message: str) -> None:
    bundle = _bundle(folder)
    booster = bytearray(bundle.boosters[0])
    if damage == "truncated":
        del booster[len(booster) // 2 :]
    elif damage == "tree":  # children far outside of the tree: reading them is reading foreign memory
        start = booster.index(b"left_children")
        booster[start + 30 : start + 90] = b"\x7f" * 60
    else:  # splits by features far beyond the row: this crashes the process that predicts
        start = booster.index(b"split_indices") + 26  # the name, a typed array, its length
        booster[start : start + 28] = b"\x7f" * 28
    boosters = [bytes(booster), *bundle.boosters[1:]]
    path = folder / "damaged.ubj.xz"
    path.write_bytes(pack(replace(bundle.header, sizes=()), boosters))
    with pytest.raises(BadInput, match=message) as caught:
        load_cost_model(read_target(folder), path).predict(_signatures())
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feature_version": 99}, "features of version 99"),
        ({"roofline": "x"}, "tables changed"),
        ({"data_sha256": "x"}, "data_sha256 differs"),
    ],
)
def test_what_the_header_says_is_checked(folder: Path, change: dict[str, object], message: str) -> None:
    bundle = _bundle(folder)
    _write(folder, pack(replace(bundle.header, **change), bundle.boosters))  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=message):
        load_cost_model(read_target(folder))


def test_what_is_no_cost_model_says_so(folder: Path) -> None:
    bundle = _bundle(folder)
    not_ubj = pack(bundle.header, [b"no", *bundle.boosters[1:]])
    for data, message in (
        (b"junk", "not a cost model"),
        (bundle.path.read_bytes()[:-40], "not a cost model"),
        (not_ubj, "UBJ format"),
    ):
        (folder / "x.ubj.xz").write_bytes(data)
        with pytest.raises(BadInput, match=message) as caught:
            load_cost_model(read_target(folder), folder / "x.ubj.xz")
        assert "\n" not in str(caught.value)


def test_a_header_of_another_hwopt_is_told(folder: Path) -> None:
    bundle = _bundle(folder)
    text = pack(bundle.header, bundle.boosters)
    plain = lzma.decompress(text).replace(b'"member_weight"', b'"member_wEight"')
    (folder / "x.ubj.xz").write_bytes(lzma.compress(plain))
    with pytest.raises(BadInput, match="not a cost model of this hwopt"):
        load_cost_model(read_target(folder), folder / "x.ubj.xz")
