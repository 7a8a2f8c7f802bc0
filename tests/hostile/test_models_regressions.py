"""What guided fuzzing found: refused where the model is read, or left alone by the pass that met it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from bench.fuzz_run import REFUSED as TURNED_DOWN
from bench.fuzz_run import VALID, Tools, looked_at
from bench.fuzz_seeds import net
from hwopt.errors import BadInput
from hwopt.ir import load_model
from tests.hostile.attacks import REFUSED, write
from tests.hostile.attacks_files import FILES, Build


@pytest.mark.parametrize("build", REFUSED.values(), ids=REFUSED)
def test_a_refusal_is_one_line_for_a_program_too(build: Build, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(BadInput) as caught:
        load_model(write(build, tmp_path / "in"))
    assert str(caught.value).isprintable()


def test_no_letter_of_a_name_breaks_an_error_line(tmp_path: Path) -> None:
    path = write(FILES["data that is missing, under a name of two red lines"], tmp_path)
    with pytest.raises(BadInput, match=r"\\u001b\[31m\\nb is missing"):
        load_model(path)
    assert str(BadInput("caf\xe9 \u202e\t\0")) == "caf\xe9 \\u202e\\t\\u0000"


def _behind_a_stranger(*nodes: onnx.NodeProto, **weights: tuple[int, ...]) -> onnx.ModelProto:
    """An operator that nobody knows, behind which nobody infers shapes, and a value said to be flat."""
    proto = net([helper.make_node("Unheard", ["x"], ["u"], domain="own"), *nodes], (1, 4, 5, 5))
    proto.opset_import.add(domain="own", version=1)
    proto.graph.value_info.append(helper.make_tensor_value_info("u", onnx.TensorProto.FLOAT, [1, 4, 5]))
    for name, shape in weights.items():
        values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        proto.graph.initializer.append(numpy_helper.from_array(values, name))
    return proto


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_an_input_of_another_rank_than_the_kernel_is_left_alone(auto_pad: str, tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["u", "w"], ["y"], auto_pad=auto_pad)
    path = write(lambda _: _behind_a_stranger(node, w=(4, 4, 3, 3)), tmp_path)
    assert looked_at(path, Tools.loaded()).result in (VALID, TURNED_DOWN)


@pytest.mark.parametrize("name", ["strides", "dilations", "pads"])
def test_an_empty_list_is_one_that_is_left_out(name: str, tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[5, 5], pads=[2, 2, 2, 2])
    proto = net([node], (1, 4, 5, 5), [numpy_helper.from_array(np.ones((4, 4, 5, 5), np.float32), "w")])
    kept = [item for item in node.attribute if item.name != name]
    del proto.graph.node[0].attribute[:]
    empty = onnx.AttributeProto(name=name, type=onnx.AttributeProto.INTS)
    proto.graph.node[0].attribute.extend([*kept, empty])
    if name == "pads":
        del proto.graph.output[0].type.tensor_type.shape.dim[2:]
        proto.graph.output[0].type.tensor_type.shape.dim.add(dim_value=1)
        proto.graph.output[0].type.tensor_type.shape.dim.add(dim_value=1)
    assert looked_at(write(lambda _: proto, tmp_path), Tools.loaded()).result == VALID


@pytest.mark.parametrize("shape", [(8,), (1, 8)])
def test_pads_in_one_row_are_read(shape: tuple[int, ...], tmp_path: Path) -> None:
    pad = helper.make_node("Pad", ["x", "p"], ["q"])
    conv = helper.make_node("Conv", ["q", "w"], ["y"])
    proto = net([pad, conv], (1, 4, 5, 5), [
        numpy_helper.from_array(np.ones((4, 4, 1, 1), np.float32), "w"),
        numpy_helper.from_array(np.zeros(shape, np.int64), "p"),
    ])  # fmt: skip
    assert looked_at(write(lambda _: proto, tmp_path), Tools.loaded()).result in (VALID, TURNED_DOWN)


@pytest.mark.parametrize(
    ("kind", "result"), [("FLOAT", VALID), ("UNDEFINED", TURNED_DOWN), ("SPARSE_TENSOR", TURNED_DOWN)]
)
def test_a_reference_to_an_attribute_has_its_type(kind: str, result: str, tmp_path: Path) -> None:
    """A constant of a function that is said to be sparse, and holds a number of whoever calls."""
    proto = net([helper.make_node("Scaled", ["x"], ["y"], domain="own", by=2.0)], (1, 4, 5, 5))
    constant = helper.make_node("Constant", [], ["k"])
    type_of = getattr(onnx.AttributeProto, kind)
    constant.attribute.add(name="value_float", type=type_of, ref_attr_name="by")
    proto.functions.append(
        helper.make_function(
            "own", "Scaled", ["v"], ["w"], [constant, helper.make_node("Mul", ["v", "k"], ["w"])],
            [helper.make_opsetid("", 13)], ["by"],
        )
    )  # fmt: skip
    proto.opset_import.add(domain="own", version=1)
    assert looked_at(write(lambda _: proto, tmp_path), Tools.loaded()).result == result
