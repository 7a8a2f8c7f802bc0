"""No-ops, constant expressions, and activations written out."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from hwopt.nodes import constant_array

Make = Callable[..., ir.Model]
Becomes = Callable[[ir.Model, list[str], list[str]], ir.Model]
Stays = Callable[[ir.Model, str | None], None]

NOOPS = {
    "identity": "a = Identity(r)",
    "dropout": "a = Dropout(r)",
    "times one": "c = Constant<value_float=1.0>() a = Mul(c, r)",
    "minus zero": "c = Constant<value_floats=[0.0]>() a = Sub(r, c)",
    "divided by ones per channel": "c = Constant<value=float[1,4,1,1] {1,1,1,1}>() a = Div(r, c)",
    "reshape to itself": "c = Constant<value_ints=[0,4,-1,0]>() z = Reshape(r, c) a = Identity(z)",
    "cast to its own type": "a = Cast<to=1>(r)",
    "identical order": "a = Transpose<perm=[0,1,2,3]>(r)",
    "a single part": "a = Concat<axis=1>(r)",
    "no bounds": "a = Clip(r)",
    "pads nothing": "c = Constant<value_ints=[0,0,0,0,0,0,0,0]>() a = Pad(r, c)",
    "a 1x1 window": "a = MaxPool<kernel_shape=[1,1]>(r)",
}
GRAPH = "g (float[N,4,H,5] x) => (float[N,4,H,5] y) {{ r = Relu(x)  {}  y = Sigmoid(a) }}"


@pytest.mark.parametrize("name", NOOPS)
def test_noop_goes(name: str, make: Make, becomes: Becomes) -> None:
    becomes(make(GRAPH.format(NOOPS[name])), ["r = Relu(x)", "y = Sigmoid(r)"], ["remove_noop"])


OTHERS = {
    "zero minus x": "c = Constant<value_float=0.0>() a = Sub(c, r)",
    "one over x": "c = Constant<value_float=1.0>() a = Div(c, r)",
    "times one, another axis": "c = Constant<value=float[1,1,1,1,1] {1}>() z = Mul(c, r) "
    "s = Constant<value_ints=[0]>() a = Squeeze(z, s)",
    "times ones, broadcast": "c = Constant<value=float[2,1,1,1,1] {1,1}>() z = Mul(c, r) "
    "s = Constant<value_ints=[0]>() a = ReduceSum<keepdims=0>(z, s)",
    "reshape that moves": "c = Constant<value_ints=[0,4,5,-1]>() z = Reshape(r, c) "
    "d = Constant<value_ints=[0,4,-1,5]>() a = Reshape(z, d)",
    "cast": "z = Cast<to=11>(r) a = Cast<to=1>(z)",
    "swap": "z = Transpose<perm=[0,1,3,2]>(r) a = Transpose<perm=[0,1,3,2]>(z)",
}


@pytest.mark.parametrize("name", OTHERS)
def test_not_a_noop(name: str, make: Make, stays: Stays) -> None:
    stays(make(GRAPH.format(OTHERS[name])), None)


def test_output_keeps_its_name(make: Make, becomes: Becomes) -> None:
    model = make("g (float[N,4] x) => (float[N,4] y) { r = Relu(x)  y = Identity(r) }")
    becomes(model, ["y = Relu(x)"], ["remove_noop"])


@pytest.mark.parametrize(
    "body",
    [
        "(float[N,4] x) => (float[N,4] y) { y = Identity(x) }",
        "(float[N,4] x) => (float[N,4] r, float[N,4] y) { r = Relu(x)  y = Identity(r) }",
        "(float[N,4] x, float[4] w) => (float[N,4] r, float[4] y) { r = Relu(x)  y = Identity(w) }",
    ],
)
def test_output_of_an_input_output_or_constant_stays(body: str, make: Make, stays: Stays) -> None:
    stays(make("g " + body), "input, output or constant")


def test_constant_expression(make: Make, becomes: Becomes) -> None:
    model = make("""g (float[N,4] x, float[4] w) => (float[N,4] y) {
        shape = Constant<value_ints=[1,4]>()
        r = Reshape(w, shape)
        n = Neg(r)
        m = Max(x, n)
        y = Add(m, x)
    }""")
    after = becomes(model, ["m = Max(x)", "y = Add(m, x)"], ["fold_constants"])
    weight = constant_array(model.graph.initializers["w"])
    assert weight is not None
    np.testing.assert_array_equal(
        constant_array(after.graph.initializers["n"]), -weight.astype(np.float32)[None]
    )


def test_a_small_constant_is_not_blown_up(make: Make, stays: Stays) -> None:
    model = make("""g (float[N,4096] x) => (float[N,4096] y) {
        shape = Constant<value_ints=[4096]>()
        c = ConstantOfShape(shape)
        y = Max(x, c)
    }""")
    stays(model, "much larger")


HARDSWISH = """three = Constant<value_float=3.0>()
    zero = Constant<value_float=0.0>()
    six = Constant<value_float=6.0>()
"""


def test_hardswish_where_the_opset_has_it(make: Make, becomes: Becomes) -> None:
    body = HARDSWISH + "a = Add(x, three) c = Clip(a, zero, six) m = Mul(x, c) y = Div(m, six)"
    model = make(f"g (float[N,4] x) => (float[N,4] y) {{ {body} }}", opset=14)
    becomes(model, ["y = HardSwish(x)"], ["native_activation"])


def test_hardswish_stays_whole_where_the_opset_lacks_it(make: Make, stays: Stays) -> None:
    body = HARDSWISH + "b = Conv(x, w) a = Add(b, three) c = Clip(a, zero, six) m = Mul(b, c) y = Div(m, six)"
    model = make(f"g (float[N,4,H,H] x, float[4,4,1,1] w) => (float[N,4,H,H] y) {{ {body} }}", opset=13)
    stays(model, "HardSwish needs opset 14")


def test_hardsigmoid_is_not_torn_apart_by_the_conv_before_it(make: Make, becomes: Becomes) -> None:
    body = HARDSWISH + "b = Conv(x, w) a = Add(b, three) c = Clip(a, zero, six) y = Div(c, six)"
    model = make(f"g (float[N,4,H,H] x, float[4,4,1,1] w) => (float[N,4,H,H] y) {{ {body} }}")
    becomes(model, ["b = Conv(x)", "y = HardSigmoid(b)"], ["native_activation"])


def test_silu_stays_before_opset_24(make: Make, stays: Stays) -> None:
    stays(
        make("g (float[N,4] x) => (float[N,4] y) { s = Sigmoid(x)  y = Mul(x, s) }"), "Swish needs opset 24"
    )
