"""Operators as PyTorch functions, held against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import onnx_ir as ir
import pytest

from hwopt.nodes import Array, FloatArray
from hwopt.runtime import run
from tests.graphs import classifier, ibn, output_of

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the train extra)")

from hwopt.tuning.program import Program, Unsupported, as_tensors, compiled  # noqa: E402

RNG = np.random.default_rng(5)


def model_of(body: str, out: str, opset: int, inputs: str, constants: dict[str, Array]) -> ir.Model:
    text = f'<ir_version: 8, opset_import: ["" : {opset}]>\nnet ({inputs}) => ({out}) {{ {body} }}'
    proto = onnx.parser.parse_model(text)
    for name, array in constants.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return ir.from_proto(proto)


def floats(*shape: int) -> FloatArray:
    return RNG.normal(size=shape).astype(np.float32)


def scalar(value: float) -> Array:
    return np.array(value, np.float32)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


X = "float[N,6,9,11] x"
Y = "float[N,a,b,c] y"
CASES: dict[str, tuple[str, str, int, str, dict[str, Array]]] = {
    "conv, asymmetric, strided, grouped": (
        "y = Conv<group=2, pads=[0,1,2,0], strides=[2,1]>(x, w, b)",
        Y,
        13,
        X,
        {"w": floats(4, 3, 3, 2), "b": floats(4)},
    ),
    "conv, dilated, without bias": (
        "y = Conv<pads=[2,2,2,2], dilations=[2,2]>(x, w)",
        Y,
        13,
        X,
        {"w": floats(5, 6, 3, 3)},
    ),
    "depthwise": ("y = Conv<group=6, pads=[1,1,1,1]>(x, w)", Y, 13, X, {"w": floats(6, 1, 3, 3)}),
    "transposed conv": (
        "y = ConvTranspose<group=2, pads=[1,0,0,1], strides=[2,2], output_padding=[1,0]>(x, w, b)",
        Y,
        13,
        X,
        {"w": floats(6, 4, 3, 2), "b": floats(8)},
    ),
    "max pool": ("y = MaxPool<kernel_shape=[3,3], pads=[1,0,0,1], strides=[2,2]>(x)", Y, 13, X, {}),
    "max pool, ceil": ("y = MaxPool<kernel_shape=[2,2], strides=[2,2], ceil_mode=1>(x)", Y, 13, X, {}),
    "average, padding left out": (
        "y = AveragePool<kernel_shape=[3,3], pads=[1,0,1,1], strides=[2,2]>(x)",
        Y,
        13,
        X,
        {},
    ),
    "average, padding counts": (
        "y = AveragePool<kernel_shape=[3,2], pads=[1,1,1,0], count_include_pad=1>(x)",
        Y,
        13,
        X,
        {},
    ),
    "average, ceil": ("y = AveragePool<kernel_shape=[2,2], strides=[2,2], ceil_mode=1>(x)", Y, 13, X, {}),
    "activations": (
        "a = HardSwish(x) b = HardSigmoid<alpha=0.3, beta=0.4>(a) c = LeakyRelu<alpha=0.2>(x) d = PRelu(x, s)"
        " e = Sigmoid(x) f = Tanh(c) g = Add(b, d) h = Mul(g, e) i = Sub(h, f) j = Clip(i, lo) k = Elu(x)"
        " l = Relu(k) m = Div(j, q) y = Add(m, l)",
        Y,
        14,
        X,
        {"s": floats(6, 1, 1), "lo": scalar(-0.5), "q": scalar(3)},
    ),
    "clip of old": ("y = Clip<min=-0.3, max=0.4>(x)", Y, 9, X, {}),
    "pooling and a matrix": (
        "g = GlobalAveragePool(x) f = Flatten(g) h = Gemm<transB=1, alpha=0.5, beta=2.0>(f, w, b)"
        " y = Softmax(h)",
        "float[N,d] y",
        13,
        X,
        {"w": floats(7, 6), "b": floats(7)},
    ),
    "softmax of old": (
        "f = Softmax<axis=1>(x) y = MatMul(f, w)",
        "float[N,a,b,d] y",
        11,
        X,
        {"w": floats(11, 4)},
    ),
    "means": (
        "m = ReduceMean<axes=[2,3], keepdims=0>(x) u = Unsqueeze<axes=[2,3]>(m) s = Squeeze<axes=[3]>(u)"
        " y = Transpose<perm=[0,2,1]>(s)",
        "float[N,a,b] y",
        11,
        X,
        {},
    ),
    "new axes": (
        "m = ReduceMean<keepdims=0>(x, ax) u = Unsqueeze(m, ax) y = Squeeze(u, last)",
        "float[N,a,b] y",
        18,
        X,
        {"ax": ints(2, 3), "last": ints(-1)},
    ),
    "pieces": (
        "p, q = Split<axis=1>(x, sizes) r = Slice(q, starts, ends, axes, steps) s = Concat<axis=1>(r, r)"
        " y = Reshape(s, shape)",
        "float[N,a,b] y",
        13,
        X,
        {
            "sizes": ints(2, 4),
            "starts": ints(0, 1),
            "ends": ints(-1, 100),
            "axes": ints(2, 3),
            "steps": ints(1, 2),
            "shape": ints(0, 8, -1),
        },
    ),
    "shapes that are computed": (
        "s = Shape(x) n = Gather(s, first) f = Slice(s, two, four) g = Div(f, half)"
        " h = Concat<axis=0>(n, minus, g) i = Cast<to=7>(h) m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x)"
        " y = Reshape(m, i)",
        Y,
        13,
        X,
        {"first": ints(0), "two": ints(2), "four": ints(4), "half": ints(2), "minus": ints(-1)},
    ),
    "normalisation": (
        "y = BatchNormalization<epsilon=0.01>(x, s, b, m, v)",
        Y,
        13,
        X,
        {"s": floats(6), "b": floats(6), "m": floats(6), "v": np.abs(floats(6))},
    ),
    "padding": ("y = Pad(x, p, v)", Y, 13, X, {"p": ints(0, 0, 1, 2, 0, 0, 3, 0), "v": scalar(1.5)}),
    "reflection": ('y = Pad<mode="reflect">(x, p)', Y, 13, X, {"p": ints(0, 0, 1, 2, 0, 0, 3, 0)}),
    "depth to space": ("y = DepthToSpace<blocksize=2>(x)", Y, 13, "float[N,8,3,3] x", {}),
    "one axis": (
        "y = Conv<pads=[1,0], strides=[2]>(x, w)",
        "float[N,a,b] y",
        13,
        "float[N,6,9] x",
        {"w": floats(4, 6, 3)},
    ),
}
RESIZES = [
    'mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"',
    'mode="nearest", coordinate_transformation_mode="half_pixel"',
    'mode="linear", coordinate_transformation_mode="half_pixel"',
    'mode="linear", coordinate_transformation_mode="align_corners"',
    'mode="linear", coordinate_transformation_mode="pytorch_half_pixel"',
]
for _how in RESIZES:
    CASES[f"resize {_how}"] = (
        f"y = Resize<{_how}>(x, , s)", Y, 13, X, {"s": np.array([1, 1, 2, 1.5], np.float32)},
    )  # fmt: skip


def program_of(model: ir.Model) -> Program:
    names = [str(v.name) for v in model.graph.inputs]
    return compiled(model, names, [str(v.name) for v in model.graph.outputs])


@pytest.mark.parametrize("case", CASES)
def test_equals_onnx_runtime(case: str) -> None:
    model = model_of(*CASES[case])
    value = model.graph.inputs[0]
    assert value.shape is not None
    feeds = {"x": floats(2, *(int(str(d)) for d in list(value.shape)[1:]))}
    found = program_of(model).run(as_tensors(feeds), {})["y"]
    wanted = np.asarray(run(model, feeds)["y"], np.float32)
    assert tuple(found.shape) == wanted.shape
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("model", [ibn(), classifier()], ids=["block", "network"])
def test_networks_equal_onnx_runtime(model: ir.Model) -> None:
    shape = [int(str(d)) for d in list(model.graph.inputs[0].shape or [])[1:]]
    x = floats(3, *shape)
    found = program_of(model).run(as_tensors({"x": x}), {})["y"].numpy()
    np.testing.assert_allclose(found, output_of(model, x), atol=1e-4)


def test_a_piece_starts_from_given_values() -> None:
    model, x = classifier(), floats(2, 3, 16, 16)
    inner = run(model, {"x": x}, ["p", "sa"])
    program = compiled(model, ["p", "sa"], ["y"])
    assert len(program.steps) < len(list(model.graph))
    np.testing.assert_allclose(
        program.run(as_tensors(inner), {})["y"].numpy(), output_of(model, x), atol=1e-4
    )


def test_gradients_are_those_of_the_function() -> None:
    model, x = classifier(), floats(2, 3, 16, 16)
    program = program_of(model)
    weight = program.constants["wp"].clone().requires_grad_()
    program.run(as_tensors({"x": x}), {"wp": weight})["y"].square().sum().backward()
    length = float(weight.grad.norm())

    def loss(step: float) -> float:
        moved = program.constants["wp"] + step * weight.grad / length
        return float(program.run(as_tensors({"x": x}), {"wp": moved})["y"].double().square().sum())

    assert (loss(1e-3) - loss(-1e-3)) / 2e-3 == pytest.approx(length, rel=1e-2)


def test_an_unknown_operator_is_named() -> None:
    model = model_of("y = LRN<size=3>(x)", Y, 13, X, {})
    with pytest.raises(Unsupported, match="LRN"):
        program_of(model)
    model = model_of("y = Pad(x, s)", Y, 13, f"{X}, int64[8] s", {})
    with pytest.raises(Unsupported, match="depends on data"):
        program_of(model)
