"""A run on a model with external data: what it reads, holds and writes; the same path as over 2 GB."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import hwopt
from bench import big
from bench.big_nets import DATA, Network, write_network
from hwopt import canonical
from hwopt.errors import BadInput
from hwopt.ir import load_model, save_model
from hwopt.ir.stored import Reading


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Network]:
    """A network whose large layers have 0.2 to 3 MB."""
    return write_network(tmp_path_factory.mktemp("net"), 3_000_000, 16)


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results keep external data from 1 MB on."""
    monkeypatch.setattr("hwopt.ir.save.EMBED_UP_TO_BYTES", 1_000_000)


@pytest.mark.usefixtures("beside")
def test_a_run_reads_samples_of_what_it_leaves_alone(
    written: tuple[Path, Network], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, network = written
    reads = dict.fromkeys(network.large, 0)
    into = Reading.into

    def noted(reading: Reading, view: memoryview, offset: int) -> None:
        for name, (start, size) in network.large.items():
            if reading.start == start and view.nbytes + offset <= size:
                reads[name] += len(view)
        into(reading, view, offset)

    monkeypatch.setattr(Reading, "into", noted)
    result = hwopt.optimize(path, target="edge-npu", refine=0, output=tmp_path / "out.onnx")
    assert [file.name for file in result.files[:1]] == ["out.onnx"]
    data = tmp_path / "out.onnx.data"
    assert data.is_file()
    left = [n for n, (_, size) in network.large.items() if n not in network.folded and size > 1 << 20]
    assert left
    # Its samples for the identity, of the input and of the file that is read back; nothing else.
    assert all(reads[name] <= 2 * (256 << 10) < network.large[name][1] for name in left)
    onnx.checker.check_model(str(tmp_path / "out.onnx"), full_check=True)
    x = np.random.default_rng(1).standard_normal((1, 32, 4, 4)).astype(np.float32)
    one, two = (
        ort.InferenceSession(str(p), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for p in (path, tmp_path / "out.onnx")
    )
    np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5 * float(np.abs(one).max()))


@pytest.mark.usefixtures("beside")
def test_an_unchanged_model_comes_back_with_its_data(written: tuple[Path, Network], tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    result = hwopt.optimize(written[0], target="edge-npu", refine=0, output=out, passes=("shrink_kernel",))
    assert tmp_path / "out.onnx.data" in result.files
    one, two = onnx.load(written[0]), onnx.load(out)
    assert [node.op_type for node in two.graph.node] == [node.op_type for node in one.graph.node]
    weights = [
        {t.name: onnx.numpy_helper.to_array(t).tobytes() for t in m.graph.initializer} for m in (one, two)
    ]
    assert weights[0] == weights[1]


@pytest.mark.usefixtures("beside")
def test_a_run_never_writes_over_its_input(written: tuple[Path, Network], tmp_path: Path) -> None:
    proto = onnx.load(written[0], load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            entry.value = "out.onnx.data" if entry.key == "location" else entry.value
    (tmp_path / "in.onnx").write_bytes(proto.SerializeToString())
    data = (written[0].parent / DATA).read_bytes()
    (tmp_path / "out.onnx.data").write_bytes(data)
    with pytest.raises(BadInput, match="data of the input"):
        hwopt.optimize(
            tmp_path / "in.onnx", target="edge-npu", refine=0, output=tmp_path / "out.onnx", force=True
        )
    assert (tmp_path / "out.onnx.data").read_bytes() == data


def test_memory_is_that_of_one_layer(tmp_path: Path) -> None:
    path, network = write_network(tmp_path, 100_000_000, 4)
    limit = 1.3 * big.working_set(network) + 30e6  # blocks in float64
    assert network.end > 1.2 * limit, "the network is more than one layer"
    tracemalloc.start()
    try:
        model = load_model(path)
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        canonical.canonicalise(model)
        folding = tracemalloc.get_traced_memory()[1] - held
        tracemalloc.reset_peak()
        save_model(model, tmp_path / "out.onnx", max_file_bytes=0)
        saving = tracemalloc.get_traced_memory()[1] - held
    finally:
        tracemalloc.stop()
    assert folding < limit
    assert saving < 10e6


@pytest.mark.slow
def test_over_two_gigabytes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["big", "--gigabytes", "2.2"])
    assert big.main() == 0, capsys.readouterr().out
