"""The shipped network and its data: same images everywhere, and the accuracy we claim."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from models.figures import network
from models.figures.data import CLASSES, Images, Labels, make
from models.figures.evaluate import SHIPPED, accuracy
from models.figures.prepare import SAMPLES, prepare
from models.figures.shapes import FIGURES

README = SHIPPED.with_name("README.md")
PIXELS = {
    "calib": "ef92a85fd1721ff2b208f6c64a2311fa20559ee3348231249013000c1fdedd5e",
    "eval": "f13c0c17c6ebb32cb68168279f040083a69f79fe1ff154830720eadec683f29a",
}


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return onnx.load(str(SHIPPED))


@pytest.fixture(scope="module")
def samples() -> dict[str, tuple[Images, Labels]]:
    """Both sets that `prepare` writes."""
    return {split: make(split, count) for split, count in SAMPLES.items()}


def claimed(pattern: str) -> float:
    """The one number in the README that `pattern` captures."""
    found = re.findall(pattern, README.read_text(encoding="utf-8"))
    assert len(found) == 1
    return float(found[0])


@pytest.mark.parametrize("split", PIXELS)
def test_pixels_are_the_pinned_ones(split: str) -> None:
    images, _ = make(split, 32)
    assert hashlib.sha256(images.tobytes()).hexdigest() == PIXELS[split]


def test_a_sample_does_not_depend_on_how_many_are_made() -> None:
    few, _ = make("eval", 3)
    more, _ = make("eval", 5)
    np.testing.assert_array_equal(more[:3], few)


def test_splits_and_seeds_give_different_images() -> None:
    sets = [make("train", 1), make("calib", 1), make("eval", 1), make("eval", 1, seed=1)]
    assert len({images.tobytes() for images, _ in sets}) == 4


@pytest.mark.parametrize("split", SAMPLES)
def test_classes_are_balanced(split: str, samples: dict[str, tuple[Images, Labels]]) -> None:
    counts = np.bincount(samples[split][1])
    assert counts.tolist() == [SAMPLES[split] // len(CLASSES)] * len(CLASSES)


def test_there_are_enough_samples_and_classes() -> None:
    assert len(CLASSES) >= 10
    assert SAMPLES["calib"] >= 200
    assert SAMPLES["eval"] >= 1000


@pytest.mark.parametrize("name", FIGURES)
def test_figure_lies_in_the_unit_disc_and_fills_part_of_it(name: str) -> None:
    """A sign error would turn a figure inside out, or let it spill over."""
    axis = np.linspace(-1.5, 1.5, 151)
    x, y = np.meshgrid(axis, axis)
    inside = FIGURES[name](x, y) < 0
    reach = np.sqrt(x * x + y * y)
    assert not inside[reach > 1.35].any()
    assert 0.2 < inside.sum() / (reach < 1).sum() < 1.0


def test_prepare_writes_the_same_bytes_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.figures.prepare.SAMPLES", {"calib": 4, "eval": 8})
    first, second = prepare(tmp_path / "a"), prepare(tmp_path / "b")
    assert [path.name for path in first] == ["calib.npz", "eval.npz"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_prepared_arrays_are_the_models_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.figures.prepare.SAMPLES", {"eval": 8})
    images, labels = make("eval", 8)
    with np.load(prepare(tmp_path)[0], allow_pickle=False) as arrays:
        assert set(arrays) == {"image", "labels"}
        assert arrays["image"].dtype == np.float32
        np.testing.assert_array_equal(arrays["image"], images)
        np.testing.assert_array_equal(arrays["labels"], labels)


def test_accuracy_is_in_the_band_and_as_the_readme_says(
    samples: dict[str, tuple[Images, Labels]],
) -> None:
    percent = 100 * accuracy(SHIPPED, *samples["eval"])
    assert 80 <= percent <= 97
    assert percent == pytest.approx(claimed(r"accuracy is \*\*([\d.]+)%\*\*"), abs=0.2)


def test_size_is_as_the_readme_says(model: onnx.ModelProto) -> None:
    assert SHIPPED.stat().st_size <= 2_000_000
    weights = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
    assert weights == claimed(r"holds \*\*([\d]+)\*\* numbers")


def test_the_checker_accepts_the_model(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)


def test_the_shipped_file_is_what_the_code_writes(model: onnx.ModelProto) -> None:
    weights = {t.name: numpy_helper.to_array(t).astype(np.float32) for t in model.graph.initializer}
    assert network.build(weights) == model


def test_batch_is_dynamic(model: onnx.ModelProto) -> None:
    session = ort.InferenceSession(SHIPPED, providers=["CPUExecutionProvider"])
    images = make("eval", 3)[0].astype(np.float32)
    together = session.run(None, {"image": images})[0]
    alone = [session.run(None, {"image": images[i : i + 1]})[0] for i in range(3)]
    assert together.shape == (3, 16)
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-4)


class Graph:
    """Who makes and who reads each tensor; convolution weights by node."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self._weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}

    def readers(self, value: str) -> list[onnx.NodeProto]:
        return [node for node in self.nodes if value in node.input]

    def kernel(self, node: onnx.NodeProto) -> tuple[int, ...]:
        """Outputs, inputs per group, height, width."""
        return self._weights[node.input[1]]

    def next_conv(self, conv: onnx.NodeProto) -> onnx.NodeProto | None:
        """The Conv that follows through BatchNormalization and Clip, each read once."""
        node = conv
        for op_type in ("BatchNormalization", "Clip", "Conv"):
            readers = self.readers(node.output[0])
            if [reader.op_type for reader in readers] != [op_type]:
                return None
            node = readers[0]
        return node

    def inverted_bottlenecks(self) -> list[npt.NDArray[np.int64]]:
        """Weight shapes of expand, depthwise and project for every such chain."""
        found = []
        for expand in (node for node in self.nodes if node.op_type == "Conv"):
            depthwise = self.next_conv(expand)
            project = depthwise and self.next_conv(depthwise)
            if depthwise is None or project is None:
                continue
            shapes = np.array([self.kernel(node) for node in (expand, depthwise, project)])
            if shapes[0, 2] == 1 and shapes[1, 1] == 1 and shapes[1, 2] > 1 and shapes[2, 2] == 1:
                found.append(shapes)
        return found


def test_inverted_bottlenecks(model: onnx.ModelProto) -> None:
    """Eight or more, some with 5x5 kernels, each wider inside than outside."""
    blocks = Graph(model).inverted_bottlenecks()
    assert len(blocks) == claimed(r"\*\*(\d+) inverted bottlenecks\*\*")
    assert len(blocks) >= 8
    assert {int(block[1, 2]) for block in blocks} == {3, 5}
    assert all(block[0, 0] >= 3 * block[0, 1] for block in blocks)


def test_the_fused_block_alone_reads_its_24_channels(model: onnx.ModelProto) -> None:
    """Zero-padding these channels then concerns one producer and one consumer."""
    graph = Graph(model)
    fused = [node for node in graph.nodes if node.name == "block2.conv.conv2d"]
    assert [graph.kernel(node) for node in fused] == [(96, 24, 3, 3)]
    assert [node.name for node in graph.readers(fused[0].input[0])] == ["block2.conv.conv2d"]


def test_nothing_is_folded(model: onnx.ModelProto) -> None:
    """One BatchNormalization per Conv, and the image's mean and scale in front."""
    ops = [node.op_type for node in model.graph.node]
    assert ops[:3] == ["Sub", "Div", "Conv"]
    assert ops.count("BatchNormalization") == ops.count("Conv") == len(list(network.all_convs()))
