"""Shapes: bound on a copy, inferred where possible, run where not."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from hwopt.errors import BadInput
from hwopt.ir import model_bytes
from hwopt.shapes import StaticInfo, TensorInfo, infer_shapes, parse_input_shape, static_shapes

HEADER = '<ir_version: 8, opset_import: ["": 13]>\n'
CONV = (
    HEADER
    + """g (float[N,3,H,W] x) => (float[N,3,h,w] y) <float[3,1,3,3] k = {
    1,1,1,1,1,1,1,1,1, 1,1,1,1,1,1,1,1,1, 1,1,1,1,1,1,1,1,1}> {
    c = Conv<group=3, strides=[2,2]>(x, k)
    y = Relu(c)
}"""
)


def test_formula_of_a_convolution() -> None:
    model = ir.from_onnx_text(CONV)
    before = model_bytes(model)
    shapes = infer_shapes(model, {"x": (2, 3, 20, 31)})
    out = (2, 3, (20 - 3) // 2 + 1, (31 - 3) // 2 + 1)
    assert shapes["c"] == shapes["y"] == TensorInfo(out, ir.DataType.FLOAT)
    assert shapes["k"].shape == (3, 1, 3, 3)
    assert shapes["y"].elements == out[0] * out[1] * out[2] * out[3]
    assert model_bytes(model) == before


def test_a_dynamic_batch_counts_as_one() -> None:
    model = ir.from_onnx_text(HEADER + "g (float[N,5] x) => (float[N,5] y) { y = Relu(x) }")
    assert infer_shapes(model, {})["y"].shape == (1, 5)


@pytest.mark.parametrize("dim", ["H", -1, None])
def test_any_other_dynamic_axis_must_be_given(dim: int | str | None) -> None:
    model = ir.from_onnx_text(HEADER + "g (float[N,3,H] x) => (float[N,3,H] y) { y = Relu(x) }")
    model.graph.inputs[0].shape = ir.Shape([None, 3, dim])
    with pytest.raises(BadInput, match=r"'x' is dynamic in axis 2.*--input-shape x:1,3,224"):
        infer_shapes(model, {})


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"z": (1,)}, "names 'z', but the model's inputs are x"),
        ({"x": (1, 4, 8, 8)}, "does not fit"),
        ({"x": (1, 3, 8)}, "does not fit"),
        ({"x": (1, 3, 0, 8)}, "does not fit"),
    ],
)
def test_shapes_that_do_not_fit(shapes: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        infer_shapes(ir.from_onnx_text(CONV), shapes)


def test_what_inference_leaves_open_is_read_off_a_run() -> None:
    text = """g (float[N,4] x, int64 k) => (float[M] y) {
        low = Constant<value=int64 {0}>()
        step = Constant<value=int64 {2}>()
        seven = Constant<value=int64 {7}>()
        same = Equal(k, seven)
        r = Range(low, k, step)
        f = Cast<to=1>(r)
        y = Relu(f)
    }"""
    shapes = infer_shapes(ir.from_onnx_text(HEADER + text), {})
    assert shapes["y"].shape == (len(range(0, 7, 2)),), "k is filled with 7, which the model compares it with"
    assert shapes["r"].dtype == ir.DataType.INT64


def test_a_shape_that_the_model_does_not_run_with() -> None:
    text = """g (float[N,C,4] x) => (float[A,B,4] y) <float[1,3,1] w = {1,2,3}> {
        s = Shape(x) n = NonZero(s) t = Transpose(n) c = Cast<to=1>(t) d = ReduceSum<keepdims=0>(c)
        m = Add(x, w) y = Mul(m, d) }"""
    with pytest.raises(BadInput, match="does not run with input shapes x:1,5,4"):
        infer_shapes(ir.from_onnx_text(HEADER + text), {"x": (1, 5, 4)})


def test_static_shapes_hold_for_every_input() -> None:
    assert static_shapes(ir.from_onnx_text(CONV))["c"] == StaticInfo((None, 3, None, None), ir.DataType.FLOAT)


def test_parse_input_shape() -> None:
    assert parse_input_shape("x:1,3,224,224") == ("x", (1, 3, 224, 224))
    assert parse_input_shape("serving:0:1, 8") == ("serving:0", (1, 8))
    assert parse_input_shape("sr:") == ("sr", ())
    for text in ("1,3,224,224", "x:1,a", "x:1,0", ":1,2", "x:1,,2"):
        with pytest.raises(BadInput, match="NAME:1,3,224,224"):
            parse_input_shape(text)
