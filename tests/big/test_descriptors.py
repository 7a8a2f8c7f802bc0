"""Large weights are described by a sample: the same wherever they lie, and close to what all of them say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from hwopt import weight_sample
from hwopt.descriptor import WeightDescriptor, _described, describe_array
from hwopt.files.data_file import DataFile
from hwopt.ir.stored import FileTensor, Reading, fingerprint
from hwopt.nodes import Array

SHAPES = [((600, 40, 3, 3), 0), ((700, 900), 0), ((700, 900), 1), ((90, 500, 3, 3), 1), ((3, 500, 600), 2)]


def in_file(array: Array, folder: Path) -> FileTensor:
    """The array in a file, behind some other bytes."""
    path = folder / "data"
    path.write_bytes(b"\1" * 64 + array.tobytes())
    dtype = ir.DataType.from_numpy(array.dtype)
    return FileTensor(DataFile.at(path), 64, dtype, ir.Shape(array.shape), "w")


def weight_of(shape: tuple[int, ...], kind: str) -> Array:
    """Seeded numbers, of a spread of their own in every channel."""
    random = np.random.default_rng(len(shape))
    array = random.standard_normal(shape) * random.uniform(0.5, 2.0, (shape[0], *[1] * (len(shape) - 1)))
    if kind == "sparse":
        array[random.random(shape) < 0.6] = 0
    return array.astype(np.float32)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_the_place_does_not_matter(
    shape: tuple[int, ...], axis: int, large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = weight_of(shape, "sparse")
    if large:
        monkeypatch.setattr(weight_sample, "LARGE_BYTES", 1000)
    else:
        assert _described(ir.tensor(array), axis, "int8") == describe_array(array, axis, "int8")
    monkeypatch.setattr(weight_sample, "SAMPLED", 1 << 14)
    stored = in_file(array, tmp_path)
    assert _described(stored, axis, "int8") == _described(ir.tensor(array), axis, "int8")


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_a_sample_says_what_the_whole_says(
    shape: tuple[int, ...], axis: int, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = weight_of(shape, kind)
    whole = describe_array(array, axis, "int8")
    monkeypatch.setattr(weight_sample, "LARGE_BYTES", 1000)
    monkeypatch.setattr(weight_sample, "SAMPLED", 1 << 14)
    some = _described(in_file(array, tmp_path), axis, "int8")
    assert (some.elements, some.pattern) == (whole.elements, whole.pattern)
    assert abs(some.zeros - whole.zeros) <= 0.02
    assert abs(some.encoded_bytes / whole.encoded_bytes - 1) < 0.02


@pytest.mark.parametrize(("shape", "axis"), [*SHAPES, ((2, 40_000, 9), 0)])
def test_no_more_is_read_than_the_sample(
    shape: tuple[int, ...], axis: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_sample, "LARGE_BYTES", 1000)
    monkeypatch.setattr(weight_sample, "SAMPLED", 1 << 14)
    stored = in_file(weight_of(shape, "dense"), tmp_path)
    reads, into = list[int](), Reading.into

    def noted(reading: Reading, view: memoryview, offset: int) -> None:
        reads.append(len(view))
        into(reading, view, offset)

    monkeypatch.setattr(Reading, "into", noted)
    found = _described(stored, axis, "int8")
    assert isinstance(found, WeightDescriptor)
    assert sum(reads) <= 4 * 1.1 * weight_sample.SAMPLED + 4 * 4 * 1200


def test_fingerprints_do_not_depend_on_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = weight_of((700, 900), "dense")
    stored = in_file(array, tmp_path)
    assert fingerprint(stored) == fingerprint(ir.tensor(array))
    monkeypatch.setattr("hwopt.ir.stored.LARGE_BYTES", 1000)
    assert fingerprint(stored) == fingerprint(ir.tensor(array)) != fingerprint(ir.tensor(array[::-1].copy()))
