"""Rows and weights of a node say the same as ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from hwopt.nodes import convs
from hwopt.repair.gather import draw
from hwopt.repair.linear import Bounds, Linear, as_linear, bounds_after, write
from hwopt.repair.reference import pick
from tests.graphs import output_of


def conv_model(attributes: str, weight: tuple[int, ...], bias: bool) -> ir.Model:
    extra = ", b" if bias else ""
    rng = np.random.default_rng(0)
    model = ir.from_onnx_text(f"""
        <ir_version: 8, opset_import: ["" : 13]>
        net (float[N,6,9,7] x) => (float[N,C,H,W] y) {{ y = Conv<{attributes}>(x, w{extra}) }}""")
    return filled(model, {"w": weight, "b": weight[:1]}, rng)


def filled(model: ir.Model, shapes: dict[str, tuple[int, ...]], rng: np.random.Generator) -> ir.Model:
    """The model with normal initializers for the names that its nodes read and nothing computes."""
    values = {v.name: v for node in model.graph for v in node.inputs if v is not None}
    for name, shape in shapes.items():
        if name in values:
            values[name].const_value = ir.tensor(rng.normal(size=shape).astype(np.float32), name=name)
            model.graph.register_initializer(values[name])
    return model


def linear_of(model: ir.Model) -> Linear:
    found = as_linear(next(iter(model.graph)))
    assert found is not None
    return found


CASES = [
    ("kernel_shape=[3,3], pads=[1,1,1,1]", (8, 6, 3, 3), True),
    ("kernel_shape=[3,3], pads=[0,0,1,1], strides=[2,2]", (8, 6, 3, 3), True),
    ("kernel_shape=[5,3], pads=[2,0,1,1], strides=[2,1], dilations=[1,2]", (4, 6, 5, 3), False),
    ("kernel_shape=[3,3], pads=[1,1,1,1], group=6", (12, 1, 3, 3), True),
    ("kernel_shape=[1,1], group=2", (4, 3, 1, 1), True),
]


@pytest.mark.parametrize(("attributes", "weight", "bias"), CASES)
def test_rows_times_weight_is_the_convolution(attributes: str, weight: tuple[int, ...], bias: bool) -> None:
    model = conv_model(attributes, weight, bias)
    x = np.random.default_rng(1).normal(size=(3, 6, 9, 7)).astype(np.float32)
    y = output_of(model, x)
    linear = linear_of(model)
    assert linear.grid(x) == y.shape[2] * y.shape[3]
    positions = draw(0, 3, linear.grid(x), 11)
    rows = linear.rows(x, positions)
    product = np.einsum("rgf,gfo->rgo", rows, linear.weight).reshape(len(rows), -1) + linear.bias
    np.testing.assert_allclose(product, pick(y, positions).reshape(len(rows), -1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("attributes", "weight", "bias"), CASES)
def test_writing_what_was_read_changes_nothing(attributes: str, weight: tuple[int, ...], bias: bool) -> None:
    model = conv_model(attributes, weight, bias)
    x = np.random.default_rng(1).normal(size=(2, 6, 9, 7)).astype(np.float32)
    before = output_of(model, x)
    linear = linear_of(model)
    write(linear, linear.weight, linear.bias + 1.0)
    np.testing.assert_allclose(output_of(model, x), before + 1.0, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("trans", [0, 1])
def test_gemm_with_factors(trans: int) -> None:
    model = ir.from_onnx_text(f"""
        <ir_version: 8, opset_import: ["" : 13]>
        net (float[N,5] x) => (float[N,4] y) {{ y = Gemm<alpha=0.5, beta=2.0, transB={trans}>(x, w, b) }}""")
    filled(model, {"w": (4, 5) if trans else (5, 4), "b": (4,)}, np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
    linear = linear_of(model)
    y = output_of(model, x)
    np.testing.assert_allclose(x @ linear.weight[0] + linear.bias, y, rtol=1e-5, atol=1e-5)
    write(linear, 3 * linear.weight, 3 * linear.bias)
    np.testing.assert_allclose(output_of(model, x), 3 * y, rtol=1e-5, atol=1e-5)


SHARED = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[N,6,9,7] x) => (float[N,6,9,7] y) {
  a = Conv<kernel_shape=[1,1]>(x, w, b)
  y = Conv<kernel_shape=[1,1]>(a, w, b)
}
"""


def test_constants_of_other_nodes_are_left_alone() -> None:
    model = filled(ir.from_onnx_text(SHARED), {"w": (6, 6, 1, 1), "b": (6,)}, np.random.default_rng(0))
    first, second = convs(model)
    linear = linear_of(model)
    write(linear, linear.weight * 2, linear.bias)
    again = list(convs(model))
    np.testing.assert_array_equal(again[1].weight, second.weight)
    np.testing.assert_array_equal(again[0].weight, first.weight * 2)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("y = Relu(c)", Bounds(0.0, float("inf"))),
        ("y = Clip(c, zero, six)", Bounds(0.0, 6.0)),
        ("y = Clip(c, , six)", Bounds(float("-inf"), 6.0)),
        ("y = Sigmoid(c)", None),
        ("s = Sigmoid(c) y = Mul(c, s)", None),
        ("y = HardSwish(c)", Bounds(-3.0, float("inf"))),
        ("y = Clip(c, x0, six)", None),
    ],
)
def test_bounds_of_the_activation(after: str, expected: Bounds | None) -> None:
    model = ir.from_onnx_text(f"""
        <ir_version: 8, opset_import: ["" : 14]>
        net (float[N,6,9,7] x, float x0) => (float[N,6,9,7] y)
        <float zero = {{0.0}}, float six = {{6.0}}> {{
          c = Conv<kernel_shape=[1,1]>(x, w)
          {after}
        }}""")
    assert bounds_after(next(iter(model.graph)).outputs[0]) == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("kernel_shape=[3,3], pads=[1,1,1,1]", ["11111", "10001", "10001", "11111"]),
        ("kernel_shape=[3,3], pads=[0,0,1,1], strides=[2,2]", ["00", "11"]),
        ("kernel_shape=[1,3], pads=[0,1,0,1]", ["10001"] * 4),
        ("kernel_shape=[3,3], dilations=[2,1], pads=[2,0,2,0]", ["111", "111", "111", "111"]),
        ("kernel_shape=[1,1]", ["00000"] * 4),
    ],
)
def test_the_border_is_where_padding_is_seen(attributes: str, expected: list[str]) -> None:
    """On an input of 4x5; the places are counted by hand."""
    model = ir.from_onnx_text(f"""
        <ir_version: 8, opset_import: ["" : 13]>
        net (float[N,6,4,5] x) => (float[N,6,H,W] y) {{ y = Conv<{attributes}>(x, w) }}""")
    kernel = [int(c) for c in attributes.split("[")[1][:3].split(",")]
    filled(model, {"w": (6, 6, *kernel)}, np.random.default_rng(0))
    border = linear_of(model).border(np.zeros((1, 6, 4, 5), np.float32))
    assert "".join(str(int(b)) for b in border) == "".join(expected)
