"""Saving: deterministic, checked, whole or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from hwopt.errors import BadInput, RewriteFailed
from hwopt.ir import interface, load_model, model_bytes, model_sha256, save_model

TEXT = """<ir_version: 8, opset_import: ["": 13], metadata_props: ["b": "2", "a": "1"]>
g (float[N,3,-1] x) => (float[N,3,M] y) <float[3,1] w = {1, 2, 3}> { y = Mul(x, w) }"""


@pytest.fixture
def model() -> ir.Model:
    return ir.from_onnx_text(TEXT)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_saved_and_loaded_are_the_same(model: ir.Model, tmp_path: Path) -> None:
    path = tmp_path / "out.onnx"
    saved = save_model(model, path)
    assert saved.sha256 == model_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert saved.unchecked is None
    assert model_bytes(load_model(path)) == model_bytes(model) == path.read_bytes()
    assert names(tmp_path) == ["out.onnx"]


def test_nothing_is_overwritten_without_force(model: ir.Model, tmp_path: Path) -> None:
    path = tmp_path / "out.onnx"
    path.write_text("mine")
    with pytest.raises(BadInput, match="--force"):
        save_model(model, path)
    assert path.read_text() == "mine"
    save_model(model, path, force=True)
    assert path.read_bytes() == model_bytes(model)


def test_an_invalid_model_leaves_no_file(model: ir.Model, tmp_path: Path) -> None:
    model.graph.node(0).attributes["axis"] = ir.AttrInt64("axis", 1)  # Mul has no such attribute
    with pytest.raises(RewriteFailed, match=r"out\.onnx"):
        save_model(model, tmp_path / "out.onnx")
    assert names(tmp_path) == []


def test_contradicting_shapes_leave_no_file(model: ir.Model, tmp_path: Path) -> None:
    model.graph.outputs[0].shape = ir.Shape(["N", 4, "M"])
    with pytest.raises(RewriteFailed, match="checker objects"):
        save_model(model, tmp_path / "out.onnx")
    assert names(tmp_path) == []


def test_an_objection_to_the_input_is_no_objection_to_the_result(tmp_path: Path) -> None:
    text = TEXT.replace("y = Mul(x, w)", "y = NoSuchOperator(x, w)")
    source = tmp_path / "in.onnx"
    source.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    saved = save_model(load_model(source).clone(), tmp_path / "out.onnx")
    assert saved.unchecked is not None
    assert "NoSuchOperator" in saved.unchecked


@pytest.mark.parametrize("name", ["absent/out.onnx", "."])
def test_places_that_cannot_be_written(name: str, model: ir.Model, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cannot be written|is a folder"):
        save_model(model, tmp_path / name)


def test_large_models_keep_their_weights_beside_them(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((3, 512)).astype(np.float32)
    proto = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 13]>
        g (float[N,3] x, float[3,512] w) => (float[N,512] y) {
        c = Constant<value=float[1] {2}>()
        m = Mul(x, c)
        y = MatMul(m, w)
    }""")
    del proto.graph.input[1]
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    model = ir.from_proto(proto)
    saved = save_model(model, tmp_path / "out.onnx", max_file_bytes=4096)
    assert names(tmp_path) == ["out.onnx", "out.onnx.data"]
    assert saved.data_path == tmp_path / "out.onnx.data"
    assert saved.data_path.read_bytes() == weight.tobytes()
    session = ort.InferenceSession(str(tmp_path / "out.onnx"), providers=["CPUExecutionProvider"])
    x = np.ones((1, 3), np.float32)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], 2 * x @ weight, rtol=1e-5)
    assert interface(load_model(tmp_path / "out.onnx")) == interface(model)


def test_interface_tells_a_difference(model: ir.Model) -> None:
    seen = interface(model)
    assert seen == interface(model.clone())
    assert seen.inputs[0].dynamic_axes == (0, 2)
    assert seen.metadata == (("a", "1"), ("b", "2"))
    for change in ("x", "shape", "metadata", "opset"):
        other = model.clone()
        if change == "x":
            other.graph.inputs[0].name = "z"
        elif change == "shape":
            other.graph.inputs[0].shape = ir.Shape([1, 3, -1])
        elif change == "metadata":
            other.metadata_props["a"] = "3"
        else:
            other.opset_imports[""] = 14
        assert interface(other) != seen, change
