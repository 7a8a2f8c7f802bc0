"""Lowered files compute what the ONNX model computes: ONNX Runtime against LiteRT.

LiteRT is TensorFlow Lite's interpreter (`pip install ai-edge-litert`); where it is missing
these tests are skipped. int8 with one scale of 0.05 for all feature maps is coarse, so the
results are compared by correlation and by a few steps of that scale.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from hwopt.nodes import FloatArray

pytest.importorskip("ethosu", reason="the extra 'ethos' is not installed")
litert = pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")

from hwopt.oracles.tflite import lower  # noqa: E402

# Bodies: input x, output y, weights are drawn for every initializer `name<dims>` in the list.
CASES: dict[str, tuple[str, str, dict[str, tuple[int, ...]]]] = {
    "conv, symmetric pads": ("1,6,9,9", "y = Conv<pads=[1,1,1,1]>(x, w, b)", {"w": (8, 6, 3, 3), "b": (8,)}),
    "conv, stride 2, SAME": ("1,6,8,8", "y = Conv<pads=[0,0,1,1],strides=[2,2]>(x, w)", {"w": (8, 6, 3, 3)}),
    "conv, stride 2, PAD": ("1,6,8,8", "y = Conv<pads=[1,1,1,1],strides=[2,2]>(x, w)", {"w": (8, 6, 3, 3)}),
    "conv, SAME_LOWER": (
        "1,6,8,8",
        'y = Conv<auto_pad="SAME_LOWER",strides=[2,2]>(x, w)',
        {"w": (8, 6, 3, 3)},
    ),
    "conv, SAME_UPPER": (
        "1,6,8,8",
        'y = Conv<auto_pad="SAME_UPPER",strides=[2,2]>(x, w)',
        {"w": (8, 6, 3, 3)},
    ),
    "conv, dilated": ("1,6,9,9", "y = Conv<pads=[2,2,2,2],dilations=[2,2]>(x, w)", {"w": (8, 6, 3, 3)}),
    "conv, 5x3": ("1,6,9,9", "y = Conv<pads=[2,1,2,1]>(x, w)", {"w": (8, 6, 5, 3)}),
    "conv, grouped": ("1,8,9,9", "y = Conv<pads=[1,1,1,1],group=2>(x, w)", {"w": (12, 4, 3, 3)}),
    "depthwise": ("1,8,9,9", "y = Conv<pads=[1,1,1,1],group=8>(x, w, b)", {"w": (8, 1, 3, 3), "b": (8,)}),
    "depthwise, multiplier 2": ("1,8,9,9", "y = Conv<pads=[1,1,1,1],group=8>(x, w)", {"w": (16, 1, 3, 3)}),
    "conv, relu": ("1,6,9,9", "z = Conv(x, w)\n y = Relu(z)", {"w": (8, 6, 1, 1)}),
    "conv, relu6": ("1,6,9,9", "z = Conv(x, w)\n y = Clip<min=0.0,max=6.0>(z)", {"w": (8, 6, 1, 1)}),
    "conv, clip": ("1,6,9,9", "z = Conv(x, w)\n y = Clip<min=-1.0,max=2.5>(z)", {"w": (8, 6, 1, 1)}),
    "conv, batch norm": (
        "1,6,9,9",
        "z = Conv(x, w)\n y = BatchNormalization(z, g, h, m, v)",
        {"w": (8, 6, 1, 1), "g": (8,), "h": (8,), "m": (8,), "v": (8,)},
    ),
    "batch norm": (
        "1,6,9,9",
        "y = BatchNormalization(x, g, h, m, v)",
        {"g": (6,), "h": (6,), "m": (6,), "v": (6,)},
    ),
    "transposed conv, stride 2": (
        "1,6,5,5",
        "y = ConvTranspose<strides=[2,2]>(x, w, b)",
        {"w": (6, 4, 2, 2), "b": (4,)},
    ),
    "transposed conv, pads": (
        "1,6,5,5",
        "y = ConvTranspose<strides=[2,2],pads=[1,1,1,1]>(x, w)",
        {"w": (6, 4, 4, 4)},
    ),
    "flatten, gemm": ("1,6,3,4", "z = Flatten(x)\n y = Gemm<transB=1>(z, w, b)", {"w": (5, 72), "b": (5,)}),
    "flatten, relu, matmul": ("1,6,3,4", "z = Flatten(x)\n a = Relu(z)\n y = MatMul(a, w)", {"w": (72, 5)}),
    "flatten, add, matmul": (
        "1,6,3,4",
        "z = Flatten(x)\n a = Add(z, w)\n y = MatMul(a, u)",
        {"w": (1, 72), "u": (72, 5)},
    ),
    "flatten, concat": ("1,6,3,4", "z = Flatten(x)\n a = Relu(z)\n y = Concat<axis=1>(z, a)", {}),
    "matmul, bias": ("1,7,12", "z = MatMul(x, w)\n y = Add(z, b)", {"w": (12, 5), "b": (5,)}),
    "matmul of two maps": (
        "1,4,6",
        "a = Mul(x, k)\n t = Transpose<perm=[0,2,1]>(a)\n y = MatMul(a, t)",
        {"k": (1,)},
    ),
    "add channel constant": ("1,6,5,7", "y = Add(x, k)", {"k": (6, 1, 1)}),
    "mul row constant": ("1,6,5,7", "y = Mul(x, k)", {"k": (7,)}),
    "sub, scalar first": ("1,6,5,7", "y = Sub(k, x)", {"k": (1,)}),
    "div by a constant": ("1,6,5,7", "y = Div(x, k)", {"k": (1, 6, 1, 1)}),
    "gated by its mean": ("1,6,5,7", "g = GlobalAveragePool(x)\n h = HardSigmoid(g)\n y = Mul(x, h)", {}),
    "square": ("1,6,5,7", "z = Mul(x, k)\n y = Pow(z, two)", {"k": (6, 1, 1), "two": ()}),
    "clip alone": ("1,6,5,7", "y = Clip<min=-0.5,max=1.5>(x)", {}),
    "prelu": ("1,6,5,7", "y = PRelu(x, k)", {"k": (6, 1, 1)}),
    "leaky relu": ("1,6,5,7", "y = LeakyRelu<alpha=0.1>(x)", {}),
    "sigmoid": ("1,6,5,7", "y = Sigmoid(x)", {}),
    "silu": ("1,6,5,7", "s = Sigmoid(x)\n y = Mul(s, x)", {}),
    "tanh": ("1,6,5,7", "y = Tanh(x)", {}),
    "max pool": ("1,6,8,8", "y = MaxPool<kernel_shape=[3,3],strides=[2,2],pads=[1,1,1,1]>(x)", {}),
    "max pool, ceil": ("1,6,7,7", "y = MaxPool<kernel_shape=[2,2],strides=[2,2],ceil_mode=1>(x)", {}),
    "average pool": ("1,6,8,8", "y = AveragePool<kernel_shape=[2,2],strides=[2,2]>(x)", {}),
    "average pool, SAME": ("1,6,8,8", "y = AveragePool<kernel_shape=[3,3],pads=[1,1,1,1]>(x)", {}),
    "mean over height and width": ("1,6,5,7", "y = ReduceMean<axes=[2,3],keepdims=0>(x)", {}),
    "mean over channels": ("1,6,5,7", "y = ReduceMean<axes=[1]>(x)", {}),
    "mean over the last axis": ("1,7,12", "y = ReduceMean<axes=[-1]>(x)", {}),
    "concat": ("1,6,5,7", "a = Relu(x)\n y = Concat<axis=1>(x, a)", {}),
    "concat, with a sigmoid": ("1,6,5,7", "a = Sigmoid(x)\n y = Concat<axis=1>(x, a)", {}),
    "split": ("1,6,5,7", "a, b = Split<axis=1,split=[2,4]>(x)\n y = Concat<axis=1>(b, a)", {}),
    "reshape of space, transpose": (
        "1,6,5,7",
        "p = MaxPool<kernel_shape=[1,1]>(x)\n z = Reshape(p, shape_1_6_35)\n y = Transpose<perm=[0,2,1]>(z)",
        {},
    ),
    "reshape of channels": (
        "1,6,5,7",
        "p = MaxPool<kernel_shape=[1,1]>(x)\n y = Reshape(p, shape_1_2_3_35)",
        {},
    ),
    "transpose, softmax, back": (
        "1,6,5,7",
        "p = MaxPool<kernel_shape=[1,1]>(x)\n z = Transpose<perm=[0,2,3,1]>(p)\n"
        " s = Softmax<axis=3>(z)\n y = Transpose<perm=[0,3,1,2]>(s)",
        {},
    ),
    "shuffle of channels": (
        "1,6,5,7",
        "a = Reshape(x, shape_1_2_3_5_7)\n b = Transpose<perm=[0,2,1,3,4]>(a)\n"
        " c = Reshape(b, shape_1_6_5_7)\n y = MaxPool<kernel_shape=[1,1]>(c)",
        {},
    ),
    "slice": ("1,6,5,7", "y = Slice(x, ints_1_0, ints_5_6, ints_1_3)", {}),
    "pad": ("1,6,5,7", 'y = Pad<mode="constant",pads=[0,1,0,2,0,0,1,0]>(x)', {}),
    "nearest, doubled": ("1,6,5,7", 'y = Upsample<mode="nearest">(x, scales)', {"scales": (4,)}),
    "linear, doubled": ("1,6,5,7", 'y = Upsample<mode="linear">(x, scales)', {"scales": (4,)}),
    "hard swish, written out": (
        "1,6,5,7",
        "a = Add(x, three)\n b = Clip<min=0.0,max=6.0>(a)\n c = Mul(x, b)\n y = Div(c, six)",
        {"three": (), "six": ()},
    ),
    "layer norm": (
        "1,7,12",
        "m = ReduceMean<axes=[-1]>(x)\n d = Sub(x, m)\n q = Pow(d, two)\n v = ReduceMean<axes=[-1]>(q)\n"
        " s = Sqrt(v)\n y = Div(d, s)",
        {"two": ()},
    ),
}
_NAMED = {"two": 2.0, "three": 3.0, "six": 6.0}


def _model(body: str, shape: str, weights: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
    text = f'<ir_version: 7, opset_import: ["" : 9]> net (float[{shape}] x) => (float y) {{ {body} }}'
    model = onnx.parser.parse_model(text)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    model.opset_import[0].version = 10 if "Slice" in body or "ceil_mode" in body else 9
    model.graph.initializer.extend(_initializers(model, weights))
    return model


def _initializers(model: onnx.ModelProto, weights: dict[str, tuple[int, ...]]) -> list[onnx.TensorProto]:
    rng = np.random.default_rng(0)
    found = [numpy_helper.from_array(_weight(rng, name, dims), name) for name, dims in weights.items()]
    for name in sorted({name for node in model.graph.node for name in node.input}):
        if name.startswith(("shape_", "ints_")):
            found.append(numpy_helper.from_array(np.asarray(name.split("_")[1:], np.int64), name))
    return found


def _weight(rng: np.random.Generator, name: str, dims: tuple[int, ...]) -> FloatArray:
    if name in _NAMED:
        return np.full(dims, _NAMED[name], np.float32)
    if name == "scales":
        return np.asarray([1, 1, 2, 2], np.float32)
    if name == "v":
        return rng.uniform(0.5, 1.5, dims).astype(np.float32)
    fan = max(1, int(np.prod(dims[1:])))
    spread = 0.5 if name in ("k", "b", "g", "h", "m") else 1 / np.sqrt(fan)
    return (rng.uniform(0.4, 1.0, dims) * np.where(rng.random(dims) < 0.5, -1, 1) * spread * 1.5).astype(
        np.float32
    )


def _run_litert(file: bytes, x: FloatArray) -> FloatArray:
    interpreter = litert.Interpreter(model_content=file)
    interpreter.allocate_tensors()
    source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero = source["quantization"]
    stored = np.clip(np.rint(_as_stored(x, tuple(source["shape"])) / scale) + zero, -128, 127).astype(np.int8)
    interpreter.set_tensor(source["index"], stored)
    interpreter.invoke()
    scale, zero = sink["quantization"]
    result = (interpreter.get_tensor(sink["index"]).astype(np.float32) - zero) * scale
    return np.asarray(result, np.float32)


def _as_stored(x: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    return x if x.shape == shape else np.moveaxis(x, 1, -1)


def _closest(expected: FloatArray, got: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Both in the same order: as it is, or channels-last, or a flattened channels-last map."""
    orders = [expected]
    if expected.ndim > 2:
        orders.append(np.moveaxis(expected, 1, -1))
    fitting = [order for order in orders if order.shape == got.shape]
    assert fitting, (expected.shape, got.shape)
    return min(((order, got) for order in fitting), key=lambda pair: float(np.abs(pair[0] - pair[1]).max()))


@pytest.mark.parametrize("case", list(CASES))
def test_lowered_file_computes_the_same(case: str, tmp_path: Path) -> None:
    shape, body, weights = CASES[case]
    model = _model(body, shape, weights)
    dims = tuple(int(size) for size in shape.split(","))
    x = np.random.default_rng(1).uniform(-2, 2, dims).astype(np.float32)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"x": np.rint(x / 0.05).astype(np.float32) * np.float32(0.05)})[0]
    lowered = lower(ir.from_proto(model))
    assert lowered.missing == ()
    got = _run_litert(lowered.file, x)
    wanted, result = _closest(expected, got)
    assert np.std(wanted) > 0.02
    assert np.corrcoef(wanted.ravel(), result.ravel())[0, 1] > 0.995
    assert np.abs(wanted - result).max() < 0.3
