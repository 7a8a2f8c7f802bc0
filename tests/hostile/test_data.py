"""Hostile files beside calibration data: how images are read, labels, arrays that would run code."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from hwopt.calibration.data import load_calibration
from hwopt.calibration.images import read_preprocess
from hwopt.errors import BadInput
from hwopt.files.untrusted import DEEPEST, parse_json, read_bytes, unpacked
from tests.graphs import model_of
from tests.hostile.mutations import mutations, refused_or_read

NETWORK = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[N,3,16,16] x) => (float[N,3,16,16] y) { y = Relu(x) }
"""
PREPROCESS = b"""\
resize = 16
crop = [16, 16]
channels = "RGB"
mean = [127.0, 127.0, 127.0]
scale = 128.0
layout = "NCHW"
input = "x"
"""


@pytest.fixture(scope="module")
def model() -> ir.Model:
    return model_of(NETWORK, {})


class Runs:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("name", ["d.npy", "d.npz"])
def test_arrays_of_objects_are_never_unpickled(name: str, tmp_path: Path, model: ir.Model) -> None:
    hostile = np.array([Runs(tmp_path / "ran")] * 12, dtype=object)
    if name == "d.npy":
        np.save(tmp_path / name, hostile, allow_pickle=True)
    else:
        np.savez(tmp_path / name, allow_pickle=True, x=hostile)
    with pytest.raises(BadInput, match="cannot be read as a NumPy file"):
        load_calibration(tmp_path / name, model)
    assert not (tmp_path / "ran").exists()


def test_labels_of_objects_are_never_unpickled(tmp_path: Path, model: ir.Model) -> None:
    hostile = np.array([Runs(tmp_path / "ran")] * 12, dtype=object)
    np.savez(tmp_path / "d.npz", allow_pickle=True, x=np.zeros((12, 3, 16, 16), np.float32), labels=hostile)
    with pytest.raises(BadInput, match="cannot be read as a NumPy file"):
        load_calibration(tmp_path / "d.npz", model)
    assert not (tmp_path / "ran").exists()


def test_an_archive_writes_nothing_outside_of_its_folder(
    tmp_path: Path, model: ir.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of members lead nowhere: large archives are unpacked under numbers."""
    monkeypatch.setattr("hwopt.calibration.arrays.MAPPED_BYTES", 0)
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((12, 3, 16, 16), dtype=np.float32))
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.write(tmp_path / "a.npy", "../../../outside.npy")
        archive.write(tmp_path / "a.npy", "x.npy")
    data = load_calibration(tmp_path / "d.npz", model)
    assert len(data) == 12
    assert not list(tmp_path.parent.glob("outside*"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("crop = 1" + "0" * 18, "at most 16384"),
        ("crop = [16, 0x" + "f" * 3900 + "]", "beyond all bounds"),
        ("resize = -1", "positive integer"),
        ("resize = 1e9", "positive integer"),
        ("scale = inf", "must be a number"),
        ("scale = nan", "must be a number"),
        ("scale = 1" + "0" * 400, "must be a number"),
        ("mean = [nan, 1, 2]", "must be a number"),
        ("mean = " + "[" * 60 + "]" * 60, "beyond all bounds"),
        ('layout = "' + "x" * 3000 + '"', "must be one of"),
        ('input = "../x"', "is no input of the model"),
        ('metric = "os:system"', "unknown key"),
        ("a." * 300 + "b = 1", "beyond all bounds"),
    ],
)
def test_what_no_image_needs_is_refused(text: str, words: str, tmp_path: Path, model: ir.Model) -> None:
    (tmp_path / "preprocess.toml").write_text(text)
    with pytest.raises(BadInput, match=words) as caught:
        read_preprocess(tmp_path / "preprocess.toml", model)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,label\n" + "".join(f"{n},1e30\n" for n in range(12)), "class indices"),
        ("file,label\n" + "".join(f"{n},{10**30}\n" for n in range(12)), "class indices"),
        ("file,label\n" + "".join(f"{n},{'9' * 5000}\n" for n in range(12)), "class indices"),
        ("file,label\n" + "x" * 200_000 + ",1\n", "cannot be read as CSV"),
        ("file\n1\n", "needs a header"),
        ("", "needs a header"),
    ],
)
def test_labels_that_are_none_are_refused(text: str, words: str, tmp_path: Path, model: ir.Model) -> None:
    np.save(tmp_path / "d.npy", np.random.default_rng(0).random((12, 3, 16, 16), dtype=np.float32))
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(BadInput, match=words) as caught:
        load_calibration(tmp_path / "d.npy", model, labels=tmp_path / "labels.csv")
    assert len(str(caught.value)) < 400


def test_what_is_no_file_is_not_waited_for(tmp_path: Path, model: ir.Model) -> None:
    np.save(tmp_path / "d.npy", np.random.default_rng(0).random((12, 3, 16, 16), dtype=np.float32))
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(BadInput, match="not a file"):
            load_calibration(tmp_path / "d.npy", model, labels=file)
        with pytest.raises(BadInput, match="not a file"):
            read_preprocess(file, model)


def test_mutated_preprocessing_is_refused_or_read(tmp_path: Path, model: ir.Model) -> None:
    file, refused = tmp_path / "preprocess.toml", 0
    for data in mutations(PREPROCESS, 400, seed=0):
        file.write_bytes(data)
        refused += refused_or_read(lambda: read_preprocess(file, model), file)
    assert 200 < refused < 400


# The door through which all of these files come.


def test_a_file_may_be_as_large_as_is_said_and_no_larger(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_bytes(tmp_path / "a", "plan", 5) == b"12345"
    with pytest.raises(BadInput, match="more than 4 bytes: no plan is that large"):
        read_bytes(tmp_path / "a", "plan", 4)
    for name in ("none", "a/b", "x\0y", "y" * 5000):
        with pytest.raises(BadInput, match="cannot be read"):
            read_bytes(tmp_path / name, "plan", 4)


def test_numbers_nesting_and_keys_of_json() -> None:
    assert parse_json('{"a": [1, 1e300, null, true, "b"]}') == {"a": [1, 1e300, None, True, "b"]}
    deepest = "[" * DEEPEST + "1" + "]" * DEEPEST
    assert parse_json(deepest)
    for text in ("NaN", "-Infinity", "1e309", "9" * 310, '{"a": 1, "a": 2}', f"[{deepest}]", "{", "01", ""):
        with pytest.raises(ValueError, match=r"."):
            parse_json(text)


def test_streams_are_unpacked_up_to_the_bound() -> None:
    import lzma

    one = lzma.compress(b"a" * 1000)
    assert unpacked(one + one, 2000) == b"a" * 2000
    assert unpacked(one + bytes(8) + one, 2000) == b"a" * 2000
    for data in (one + one, lzma.compress(b"a" * 2001)):
        with pytest.raises(ValueError, match="unpacks to more than"):
            unpacked(data, 1999)
    for cut in (0, 5, len(one) // 2, len(one) - 1):
        with pytest.raises(ValueError, match="too early"):
            unpacked(one[:cut], 2000)
    with pytest.raises(lzma.LZMAError):
        unpacked(b"no xz file at all", 2000)
