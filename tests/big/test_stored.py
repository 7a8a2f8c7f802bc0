"""Weights in files: read when asked for and no further, written as they lie, refused once changed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from bench.big_nets import DATA, Network, write_network
from hwopt import canonical
from hwopt.errors import BadInput
from hwopt.ir import load_model, model_bytes, model_identity, save_model
from hwopt.ir import out as out_module
from hwopt.ir.stored import FileTensor, Reading, ScratchTensor

SCALE = 16


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Network]:
    """A network with five large layers, the fourth of which is folded."""
    return write_network(tmp_path_factory.mktemp("net"), 3_000_000, SCALE)


def copied(path: Path, folder: Path) -> Path:
    """The model and its data in another folder."""
    for name in (path.name, DATA):
        (folder / name).write_bytes((path.parent / name).read_bytes())
    return folder / path.name


def reads_of(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of every read from now on."""
    found, into = list[int](), Reading.into

    def noted(reading: Reading, view: memoryview, offset: int) -> None:
        found.append(len(view))
        into(reading, view, offset)

    monkeypatch.setattr(Reading, "into", noted)
    return found


def test_loading_reads_samples(written: tuple[Path, Network], monkeypatch: pytest.MonkeyPatch) -> None:
    path, network = written
    reads = reads_of(monkeypatch)
    model = load_model(path)
    sizes = [size for _, size in network.large.values()]
    assert sum(reads) == sum(min(size, 256 << 10) for size in sizes) < sum(sizes)
    for name in network.large:
        assert isinstance(model.clone().graph.initializers[name].const_value, FileTensor)


def test_folding_reads_what_it_folds(written: tuple[Path, Network], monkeypatch: pytest.MonkeyPatch) -> None:
    path, network = written
    model = load_model(path)
    reads = reads_of(monkeypatch)
    canonical.canonicalise(model)
    largest = {network.large[name][1] for name in network.folded}
    assert set(reads) == largest, "nothing but the weights in front of a BatchNormalization is read"
    left = {v.name for v in model.graph.initializers.values() if isinstance(v.const_value, FileTensor)}
    made = [v for v in model.graph.initializers.values() if isinstance(v.const_value, ScratchTensor)]
    assert left == network.large.keys() - network.folded
    assert {value.const_value.nbytes for value in made if value.const_value} >= largest


def test_what_is_folded_does_not_depend_on_where_it_lies(written: tuple[Path, Network]) -> None:
    path, _ = written
    found = []
    for model in (load_model(path), ir.from_proto(onnx.load(path))):
        canonical.canonicalise(model)
        weights = {n: v.const_value for n, v in model.graph.initializers.items() if v.const_value is not None}
        found.append({name: (tensor.dtype, tensor.numpy().tobytes()) for name, tensor in weights.items()})
    assert found[0] == found[1]


def test_the_identity_knows_the_weights(written: tuple[Path, Network], tmp_path: Path) -> None:
    path = copied(written[0], tmp_path)
    before = model_identity(path, load_model(path))
    assert before == model_identity(written[0], load_model(written[0]))
    data = bytearray((tmp_path / DATA).read_bytes())
    data[100] ^= 1
    (tmp_path / DATA).write_bytes(data)
    assert model_identity(path, load_model(path)) != before


@pytest.mark.parametrize("how", ["replaced", "written to", "removed", "a pipe"])
def test_a_file_that_was_changed_is_refused(written: tuple[Path, Network], tmp_path: Path, how: str) -> None:
    path = copied(written[0], tmp_path)
    data = tmp_path / DATA
    tensor = load_model(path).graph.initializers[next(iter(written[1].large))].const_value
    assert tensor is not None
    if how == "replaced":
        (tmp_path / "other").write_bytes(data.read_bytes())
        os.replace(tmp_path / "other", data)
    elif how == "written to":
        os.utime(data, ns=(1, 1))
    else:
        data.unlink()
        if how == "a pipe":
            os.mkfifo(data)
    with pytest.raises(BadInput, match=r"changed while it was in use|cannot be read any more"):
        tensor.numpy()


@pytest.mark.parametrize("kernel", [True, False])
def test_weights_are_written_as_they_lie(
    written: tuple[Path, Network], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: bool
) -> None:
    path, network = written
    model = load_model(path)
    if not kernel:
        monkeypatch.setattr(os, "copy_file_range", refuse)
    reads = reads_of(monkeypatch)
    saved = save_model(model, tmp_path / "out.onnx", max_file_bytes=0)
    assert bool(reads) != kernel
    assert saved.data_path is not None
    source, data = (path.parent / DATA).read_bytes(), saved.data_path.read_bytes()
    for tensor in onnx.load(saved.path, load_external_data=False).graph.initializer:
        if tensor.name in network.large:
            place = {entry.key: entry.value for entry in tensor.external_data}
            start, size = network.large[tensor.name]
            offset = int(place["offset"])
            assert offset % 4096 == 0
            assert data[offset : offset + size] == source[start : start + size]
    again = save_model(load_model(saved.path), tmp_path / "again.onnx", max_file_bytes=0)
    assert again.data_path is not None
    assert again.data_path.read_bytes() == data


def refuse(*_: int) -> int:
    """As between two file systems."""
    raise OSError(errno.EXDEV, "Invalid cross-device link")


def test_the_result_runs_and_is_the_same(written: tuple[Path, Network], tmp_path: Path) -> None:
    model = load_model(written[0])
    canonical.canonicalise(model)
    saved = save_model(model, tmp_path / "out.onnx", max_file_bytes=0)
    x = np.random.default_rng(1).standard_normal((1, 32, 4, 4)).astype(np.float32)
    one, two = (
        ort.InferenceSession(str(p), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for p in (written[0], saved.path)
    )
    np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5 * float(np.abs(one).max()))


def test_tied_weights_are_written_once(written: tuple[Path, Network], tmp_path: Path) -> None:
    model = load_model(written[0])
    name = max(written[1].large, key=lambda n: written[1].large[n][1])
    held = model.graph.initializers[name].const_value
    assert isinstance(held, FileTensor)
    twin = FileTensor(held.store, held.start, held.dtype, held.shape, "twin")
    model.graph.register_initializer(ir.val("twin", const_value=twin))
    saved = save_model(model, tmp_path / "out.onnx", max_file_bytes=0)
    places = {
        tensor.name: {entry.key: entry.value for entry in tensor.external_data}
        for tensor in onnx.load(saved.path, load_external_data=False).graph.initializer
    }
    assert places["twin"] == places[name]


def test_scratch_that_cannot_be_written_stays_in_memory(
    written: tuple[Path, Network], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = written
    expected = load_model(path)
    canonical.canonicalise(expected)
    model = load_model(path)
    monkeypatch.setattr("hwopt.ir.stored._segment", refuse)
    canonical.canonicalise(model)
    assert not any(isinstance(v.const_value, ScratchTensor) for v in model.graph.initializers.values())
    assert model_bytes(model) == model_bytes(expected)
    assert out_module.bytes_in_files(model) < out_module.bytes_in_files(expected)


def test_a_claim_that_the_file_cannot_hold(written: tuple[Path, Network], tmp_path: Path) -> None:
    path = copied(written[0], tmp_path)
    os.truncate(tmp_path / DATA, 1_000_000)
    with pytest.raises(BadInput, match="too short"):
        load_model(path)
