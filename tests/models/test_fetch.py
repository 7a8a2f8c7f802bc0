"""models.fetch: pinned wheels, checked files, one clear line when something is wrong."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest

from models import fetch as fetch_module
from models.fetch import MODELS, FetchedModel, FetchError, RegistryError, Wheel, fetch_many

ORT_DTYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64}


def wheel_holding(members: dict[str, bytes]) -> bytes:
    """The bytes of a zip archive with `members`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class FakeRegistry:
    """Stands in for pip: hands out one archive and counts how often it was asked."""

    def __init__(self, archive: bytes) -> None:
        self.archive = archive
        self.calls = 0

    def __call__(self, wheel: Wheel, folder: Path) -> Path:
        self.calls += 1
        path = folder / "fake-1.0-py3-none-any.whl"
        path.write_bytes(self.archive)
        return path


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> FakeRegistry:
    """Two models, `one` and `two`, in one fake wheel, in place of the real table."""
    members = {"fake/one.onnx": b"first", "fake/two.onnx": b"second"}
    archive = wheel_holding(members)
    wheel = Wheel("fake", "1.0", sha256(archive), "MIT")
    table = {
        name: FetchedModel(name, wheel, f"fake/{name}.onnx", sha256(content), "none", {})
        for name, content in (("one", b"first"), ("two", b"second"))
    }
    monkeypatch.setattr(fetch_module, "MODELS", table)
    return FakeRegistry(archive)


def test_one_wheel_is_downloaded_once_for_all_its_models(registry: FakeRegistry, tmp_path: Path) -> None:
    paths = fetch_many(["one", "two"], tmp_path / "new", registry)
    assert {name: path.read_bytes() for name, path in paths.items()} == {
        "one": b"first",
        "two": b"second",
    }
    assert registry.calls == 1


def test_an_intact_file_is_reused_and_a_damaged_one_replaced(registry: FakeRegistry, tmp_path: Path) -> None:
    path = fetch_many(["one"], tmp_path, registry)["one"]
    fetch_many(["one"], tmp_path, registry)
    assert registry.calls == 1
    path.write_bytes(b"damaged")
    fetch_many(["one"], tmp_path, registry)
    assert (path.read_bytes(), registry.calls) == (b"first", 2)


def test_wrong_content_is_refused_and_leaves_nothing_behind(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.archive = wheel_holding({"fake/one.onnx": b"something else"})
    with pytest.raises(FetchError, match=r"one\.onnx: SHA-256 is .* expected"):
        fetch_many(["one"], tmp_path, registry)
    assert list(tmp_path.iterdir()) == []


def test_a_wheel_without_the_member_is_refused(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.archive = wheel_holding({"fake/three.onnx": b"third"})
    with pytest.raises(FetchError, match=r"cannot read fake/one\.onnx"):
        fetch_many(["one"], tmp_path, registry)


def test_an_unknown_name_is_refused_before_any_download(registry: FakeRegistry, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="unknown model 'three'; there are: one, two"):
        fetch_many(["one", "three"], tmp_path, registry)
    assert registry.calls == 0


def test_no_registry_is_one_line_and_exit_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert fetch_module.main(["silero_vad", "-o", str(tmp_path / "out")]) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith("models.fetch: error: silero-vad==")
    assert complaint.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_wheel_that_is_not_the_pinned_one_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Real pip, offline: a local wheel of the right name and version, but other content."""
    name = "silero_vad-6.2.3"
    members = {
        f"{name}.dist-info/METADATA": b"Metadata-Version: 2.1\nName: silero-vad\nVersion: 6.2.3\n",
        f"{name}.dist-info/WHEEL": b"Wheel-Version: 1.0\nTag: py3-none-any\n",
        f"{name}.dist-info/RECORD": b"",
    }
    (tmp_path / f"{name}-py3-none-any.whl").write_bytes(wheel_holding(members))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(FetchError, match=r"silero_vad-6\.2\.3-py3-none-any\.whl: SHA-256 is"):
        fetch_module.fetch("silero_vad", tmp_path / "out")


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All real models; needs a package registry."""
    try:
        return fetch_many(list(MODELS), tmp_path_factory.mktemp("fetched"))
    except RegistryError as error:
        pytest.skip(f"pip cannot reach a package registry: {error}")


@pytest.mark.parametrize("name", MODELS)
def test_every_dynamic_input_has_a_shape(name: str, fetched: dict[str, Path]) -> None:
    """`input_shapes` names every input with an unbound axis and agrees with the bound ones."""
    graph = onnx.load(str(fetched[name])).graph
    constants = {tensor.name for tensor in graph.initializer}
    shapes = MODELS[name].input_shapes
    for value in graph.input:
        declared = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if value.name in constants or min(declared, default=1) > 0:
            continue
        assert len(shapes[value.name]) == len(declared)
        for size, bound in zip(declared, shapes[value.name], strict=True):
            assert bound == size or size <= 0


@pytest.mark.parametrize("name", MODELS)
def test_real_model_runs_with_its_default_shapes(name: str, fetched: dict[str, Path]) -> None:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(fetched[name], options, providers=["CPUExecutionProvider"])
    outputs = session.run(None, random_inputs(MODELS[name], session))
    for output in outputs:
        assert isinstance(output, np.ndarray)
        assert output.size > 0
        assert np.isfinite(output).all()


def random_inputs(model: FetchedModel, session: ort.InferenceSession) -> dict[str, npt.NDArray[np.generic]]:
    """Noise in [0, 1), or the model's own value, at the default shapes."""
    rng = np.random.default_rng(0)
    inputs: dict[str, npt.NDArray[np.generic]] = {}
    for value in session.get_inputs():
        shape = model.input_shapes.get(value.name, tuple(value.shape))
        fill = model.input_values.get(value.name)
        noise = rng.random(shape) if fill is None else np.full(shape, fill)
        inputs[value.name] = noise.astype(ORT_DTYPES[value.type])
    return inputs
