"""Activations: recognised in every spelling, and compared with ONNX Runtime's own operators."""

from __future__ import annotations

from itertools import product

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from hwopt.activations import (
    FITTED,
    HARDSIGMOID,
    HARDSWISH,
    SILU,
    Activation,
    Kind,
    Match,
    clamp,
    following_activation,
)
from hwopt.ir import model_bytes

CONSTANTS = {"zero": 0.0, "half": 0.5, "one": 1.0, "two": 2.0, "three": 3.0, "six": 6.0, "sixth": 1 / 6}
NUMBERS = " ".join(f"{name} = Constant<value_float={number}>()" for name, number in CONSTANTS.items())


def build(body: str, opset: int = 18, more_outputs: str = "") -> ir.Model:
    """n is the value that is asked about; y is what comes out."""
    header = f'<ir_version: 8, opset_import: ["": {opset}]>\n'
    outputs = "float[N,4,5] y" + more_outputs
    return ir.from_onnx_text(f"{header}g (float[N,4,5] x) => ({outputs}) {{ {NUMBERS} n = Neg(x) {body} }}")


def match(body: str, opset: int = 18, more_outputs: str = "") -> Match | None:
    model = build(body, opset, more_outputs)
    return following_activation(next(v for node in model.graph for v in node.outputs if v.name == "n"))


GATES = (
    "p = Add({0}, {1}) c = Clip(p, zero, six) g = Div(c, six)",
    "p = Add({0}, {1}) c = Clip(p, zero, six) g = Mul(sixth, c)",
    "p = Add({0}, {1}) r = Relu(p) c = Min(six, r) g = Div(c, six)",
    "s = Mul(n, sixth) p = Add(s, half) g = Clip(p, zero, one)",
    "g = HardSigmoid<alpha=0.16666667, beta=0.5>(n)",
)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize(
    ("added", "product_of"), list(product([("n", "three"), ("three", "n")], ["n, g", "g, n"]))
)
def test_hardswish_with_a_scaled_gate(gate: str, added: tuple[str, str], product_of: str) -> None:
    found = match(gate.format(*added) + f" y = Mul({product_of})")
    assert found is not None
    assert found.activation == HARDSWISH
    assert found.output.name == "y"
    assert found.decomposed


@pytest.mark.parametrize("last", ["y = Div(m, six)", "y = Mul(m, sixth)", "y = Mul(sixth, m)"])
@pytest.mark.parametrize("inner", ["m = Mul(n, c)", "m = Mul(c, n)"])
def test_hardswish_scaled_at_the_end(inner: str, last: str) -> None:
    found = match(f"p = Add(n, three) c = Clip(p, zero, six) {inner} {last}")
    assert found is not None
    assert found.activation == HARDSWISH
    assert [node.op_type for node in found.nodes] == ["Add", "Clip", "Mul", last[4:7]]


def test_hardswish_with_clip_attributes() -> None:
    found = match("p = Add(n, three) c = Clip<min=0.0, max=6.0>(p) m = Mul(n, c) y = Div(m, six)", opset=10)
    assert found is not None
    assert found.activation == HARDSWISH


@pytest.mark.parametrize(
    "body", ["s = Sigmoid(n) y = Mul(n, s)", "o = Mul(n, one) s = Sigmoid(o) y = Mul(s, n)"]
)
def test_silu(body: str) -> None:
    found = match(body)
    assert found is not None
    assert found.activation == SILU


def test_hardsigmoid_written_out() -> None:
    found = match("p = Add(n, three) c = Clip(p, zero, six) y = Div(c, six)")
    assert found is not None
    assert found.activation == HARDSIGMOID


NATIVE = {
    "Relu(n)": clamp(0, np.inf),
    "Clip(n, zero, six)": Activation("relu6", 0.0, 6.0),
    "Clip(n, , two)": Activation("clip", -np.inf, 2.0),
    "LeakyRelu<alpha=0.3>(n)": Activation("leaky_relu", alpha=0.3),
    "HardSigmoid(n)": Activation("hardsigmoid", alpha=0.2, beta=0.5),
    "Sigmoid(n)": Activation("sigmoid"),
    "Tanh(n)": Activation("tanh"),
    "HardSwish(n)": HARDSWISH,
    "PRelu(n, k)": Activation("prelu", slopes=(0.5, -1.0, 0.0, 2.0)),
}
SLOPES = "k = Constant<value = float[4,1] {0.5, -1, 0, 2}>() "


@pytest.mark.parametrize("text", NATIVE)
def test_native_operators_and_what_they_compute(text: str) -> None:
    model = build(f"{SLOPES} y = {text}")
    found = following_activation(next(v for node in model.graph for v in node.outputs if v.name == "n"))
    assert found is not None
    assert found.activation.kind == NATIVE[text].kind
    assert found.activation.slopes == NATIVE[text].slopes
    for name in ("low", "high", "alpha", "beta"):
        assert getattr(found.activation, name) == pytest.approx(getattr(NATIVE[text], name))
    check_against_runtime(model, found.activation)


@pytest.mark.parametrize(
    "body", ["s = Sigmoid(n) y = Mul(n, s)", GATES[0].format("n", "three") + " y = Mul(n, g)"]
)
def test_decomposed_ones_compute_what_they_are_taken_for(body: str) -> None:
    model = build(body)
    found = match(body)
    assert found is not None
    check_against_runtime(model, found.activation)


def check_against_runtime(model: ir.Model, activation: Activation) -> None:
    x = (np.random.default_rng(0).standard_normal((3, 4, 5)) * 5).astype(np.float32)
    session = ort.InferenceSession(model_bytes(model), providers=["CPUExecutionProvider"])
    result = activation.apply(-x)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, session.run(None, {"x": x})[0], rtol=1e-5, atol=1e-5)


OTHERS = {
    "another offset": "p = Add(n, two) c = Clip(p, zero, six) m = Mul(n, c) y = Div(m, six)",
    "another bound": "p = Add(n, three) c = Clip(p, zero, three) m = Mul(n, c) y = Div(m, six)",
    "not scaled": "p = Add(n, three) c = Clip(p, zero, six) y = Mul(n, c)",
    "scaled sigmoid": "o = Mul(n, two) s = Sigmoid(o) y = Mul(n, s)",
    "gate of something else": "s = Sigmoid(n) y = Mul(x, s) z = Abs(n)",
    "a third reader": "s = Sigmoid(n) m = Mul(n, s) y = Add(m, n)",
    "squared": "y = Mul(n, n)",
    "divided": "y = Div(six, n)",
    "no activation": "m = Mul(n, two) y = Add(m, three)",
    "computed bounds": "r = ReduceMax<keepdims=0>(x) y = Clip(n, zero, r)",
    "slopes along the width": "k = Constant<value = float[5] {1,2,3,4,5}>() y = PRelu(n, k)",
    "read by two": "r = Relu(n) z = Abs(n) y = Add(r, z)",
}


@pytest.mark.parametrize("name", OTHERS)
def test_nothing_is_recognised(name: str) -> None:
    assert match(OTHERS[name]) is None


@pytest.mark.parametrize("inner", ["n", "c", "m"])
def test_inner_values_that_are_outputs_are_not_hidden(inner: str) -> None:
    body = "p = Add(n, three) c = Clip(p, zero, six) m = Mul(n, c) y = Div(m, six)"
    assert match(body, more_outputs=f", float[N,4,5] {inner}") is None


@pytest.mark.parametrize("kind", sorted(FITTED))
def test_slopes_are_those_of_finite_differences(kind: Kind) -> None:
    bounds = {"relu": (0.0, np.inf), "relu6": (0.0, 6.0), "clip": (-1.0, 2.0)}.get(kind, (-np.inf, np.inf))
    activation = Activation(kind, *bounds, alpha=0.1)
    x = np.linspace(-7.013, 7.013, 200)  # no kink of any of them on the grid
    step = 1e-6
    expected = (activation.apply(x + step) - activation.apply(x - step)) / (2 * step)
    np.testing.assert_allclose(activation.slope(x), expected, atol=1e-6)
    assert activation.slope(x.astype(np.float32)).dtype == np.float32
