"""Loading: what is accepted as it came, and what is refused with one line."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hwopt.errors import BadInput
from hwopt.ir import interface, load_model, model_bytes, model_sha256
from hwopt.nodes import constant_array

TEXT = """<ir_version: {ir}, opset_import: ["": {opset}]>
g (float[N,3] x{extra}) => (float[N,3] y) <float[3] w = {{1, 2, 3}}> {{
    c = Constant<value = float[1] {{2}}>()
    m = Mul(x, w)
    y = Mul(m, c)
}}"""


def write(path: Path, ir_version: int = 8, opset: int = 13, extra: str = "") -> Path:
    onnx.save_model(onnx.parser.parse_model(TEXT.format(ir=ir_version, opset=opset, extra=extra)), path)
    return path


def external(folder: Path, location: str, offset: str = "0", length: str = "12") -> Path:
    """The model with its weight in another file."""
    proto = onnx.parser.parse_model(TEXT.format(ir=8, opset=13, extra=""))
    tensor = proto.graph.initializer[0]
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=value)
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def test_untouched_models_are_written_as_they_came(tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx")
    written, original = onnx.load_model_from_string(model_bytes(load_model(path))), onnx.load_model(path)
    assert all(not node.name for node in original.graph.node), "unnamed nodes are part of the case"
    text = onnx.printer.to_text
    assert [text(node) for node in written.graph.node] == [text(node) for node in original.graph.node]
    assert list(written.graph.initializer) == list(original.graph.initializer)


@pytest.mark.parametrize("opset", [6, 7, 9, 13, onnx.defs.onnx_opset_version()])
def test_opsets(opset: int, tmp_path: Path) -> None:
    assert interface(load_model(write(tmp_path / "model.onnx", opset=opset))).opset == opset


@pytest.mark.parametrize("opset", [0, onnx.defs.onnx_opset_version() + 1])
def test_opsets_out_of_range(opset: int, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=f"in opset {opset}: opsets 1 to"):
        load_model(write(tmp_path / "model.onnx", opset=opset))


def test_weights_that_ir_version_3_lists_as_inputs_are_constant(tmp_path: Path) -> None:
    model = load_model(write(tmp_path / "model.onnx", ir_version=3, opset=7, extra=", float[3] w"))
    assert [value.name for value in model.graph.inputs] == ["x"]
    np.testing.assert_array_equal(constant_array(model.graph.initializers["w"]), [1, 2, 3])
    onnx.checker.check_model(ir.to_proto(model), full_check=True)


def test_weights_that_later_versions_list_as_inputs_stay_inputs(tmp_path: Path) -> None:
    model = load_model(write(tmp_path / "model.onnx", extra=", float[3] w"))
    assert [value.name for value in model.graph.inputs] == ["x", "w"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello, this is no model", "not an ONNX model"),
        (b"\x08\x08", "not an ONNX model"),
        (None, "does not exist"),
    ],
)
def test_bad_files(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput, match=message) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_truncated_at_any_length(tmp_path: Path) -> None:
    data = write(tmp_path / "model.onnx").read_bytes()
    path = tmp_path / "short.onnx"
    for length in range(0, len(data) - 1, 7):
        path.write_bytes(data[:length])
        with pytest.raises(BadInput):
            load_model(path)


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is a folder"):
        load_model(tmp_path)
    with pytest.raises(BadInput, match="is a folder"):
        model_sha256(tmp_path)


def test_invalid_graph(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model(TEXT.format(ir=8, opset=13, extra=""))
    proto.graph.node[2].input[0] = "nobody"
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(BadInput, match="nobody"):
        load_model(tmp_path / "model.onnx")


def test_external_data_is_brought_in(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "w.bin").write_bytes(b"\0" * 8 + np.array([4, 5, 6], np.float32).tobytes())
    model = load_model(external(tmp_path, "weights/w.bin", offset="8"))
    (tmp_path / "weights" / "w.bin").unlink()
    np.testing.assert_array_equal(constant_array(model.graph.initializers["w"]), [4, 5, 6])


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("../w.bin", "inside the model's folder"),
        ("weights/../../w.bin", "inside the model's folder"),
        ("..\\w.bin", "inside the model's folder"),
        ("/etc/hostname", "inside the model's folder"),
        ("C:\\w.bin", "inside the model's folder"),
        ("", "inside the model's folder"),
        ("absent.bin", "is missing"),
        ("link.bin", "link out of the model's folder"),
        ("short.bin", "too short"),
    ],
)
def test_external_data_elsewhere(location: str, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(b"\0" * 12)
    (folder / "short.bin").write_bytes(b"\0" * 11)
    os.symlink(tmp_path / "w.bin", folder / "link.bin")
    with pytest.raises(BadInput, match=message):
        load_model(external(folder, location))


def test_unknown_operators_are_accepted_and_noted(tmp_path: Path) -> None:
    text = TEXT.replace("y = Mul(m, c)", "y = NoSuchOperator(m, c)")
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx.parser.parse_model(text.format(ir=8, opset=13, extra="")).SerializeToString())
    model = load_model(path)
    assert "NoSuchOperator" in model.clone().graph.meta["hwopt.check_failed"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.onnx", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "git lfs pull"),
        ("m.onnx", b"\n <!DOCTYPE html><html>Sign in</html>", "is a web page"),
        ("m.onnx", b"\x93NUMPY\x01\x00v\x00{}", "holds arrays, not a model"),
        ("m.npz", b"PK\x03\x04" + b"\0" * 60, "given with --calib"),
    ],
)
def test_what_was_fetched_in_the_place_of_a_model(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=message):
        load_model(tmp_path / name)
