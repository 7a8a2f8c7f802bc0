"""Which TFLite operators an ONNX graph becomes, who pays for them, and what is refused."""

from __future__ import annotations

import importlib.util

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ethosu") is None, reason="the extra 'ethos' is not installed"
)
if importlib.util.find_spec("ethosu") is not None:
    from ethosu.vela.tflite.BuiltinOperator import BuiltinOperator
    from ethosu.vela.tflite.Model import Model as TfModel

    from hwopt.oracles.tflite import Lowered, lower

W331 = "w_8_6_3_3"
W111 = "w_8_6_1_1"


def lowered(body: str, shape: str = "1,6,8,8", opset: int = 12, guarded: bool = False) -> Lowered:
    """The body lowered; weights `w_8_6_3_3` are drawn in that shape, `n_3.0` is that number."""
    text = f'<ir_version: 7, opset_import: ["" : {opset}]> g (float[{shape}] x) => (float y) {{ {body} }}'
    model = onnx.parser.parse_model(text)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    rng = np.random.default_rng(0)
    for name in sorted({name for node in model.graph.node for name in node.input}):
        kind, *rest = name.split("_")
        if kind == "w":
            array = rng.normal(0, 1, [int(size) for size in rest]).astype(np.float32)
        elif kind == "n":
            array = np.asarray(float(f"{rest[0]}.{rest[1]}"), np.float32)
        elif kind == "i":
            array = np.asarray([int(number) for number in rest], np.int64)
        else:
            continue
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return lower(ir.from_proto(model), guarded)


def operators(result: Lowered) -> list[str]:
    """Operator names of the file, in order."""
    names = {number: name for name, number in vars(BuiltinOperator).items() if isinstance(number, int)}
    model = TfModel.GetRootAs(result.file, 0)
    graph = model.Subgraphs(0)
    codes = [graph.Operators(i).OpcodeIndex() for i in range(graph.OperatorsLength())]
    return [names[model.OperatorCodes(code).BuiltinCode()] for code in codes]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (f"y = Conv<pads=[0,0,1,1],strides=[2,2]>(x, {W331})", ["CONV_2D"]),
        (f"y = Conv<pads=[1,1,1,1],strides=[2,2]>(x, {W331})", ["PAD", "CONV_2D"]),
        (f"z = Conv(x, {W111})\n y = Relu(z)", ["CONV_2D"]),
        (f"z = Conv(x, {W111})\n y = Clip(z, n_0_0, n_6_0)", ["CONV_2D"]),
        (f"z = Conv(x, {W111})\n a = Relu(z)\n y = Add(z, a)", ["CONV_2D", "RELU", "ADD"]),
        (f"z = Conv(x, {W111})\n y = HardSigmoid(z)", ["CONV_2D", "MUL", "ADD"]),
        ("y = Conv<group=6>(x, w_6_1_3_3)", ["DEPTHWISE_CONV_2D"]),
        ("y = Conv<group=2>(x, w_4_3_1_1)", ["CONV_2D"]),
        ("y = Clip(x, n_0_0, n_6_0)", ["RELU6"]),
        ("y = Clip(x, n_0_1, n_2_0)", ["MAXIMUM", "MINIMUM"]),
        ("y = GlobalAveragePool(x)", ["AVERAGE_POOL_2D"]),
        ("y = ReduceMean<axes=[2,3]>(x)", ["AVERAGE_POOL_2D"]),
        ("y = Sqrt(x)", ["RSQRT", "MUL"]),
        ("y = ReduceMean<axes=[1]>(x)", ["RESHAPE", "MEAN", "RESHAPE"]),
        ("y = ConvTranspose<strides=[2,2],pads=[1,1,1,1]>(x, w_6_4_4_4)", ["TRANSPOSE_CONV"]),
        (
            "y = ConvTranspose<strides=[2,2],pads=[1,1,1,1]>(x, w_6_4_3_3)",
            ["TRANSPOSE_CONV", "STRIDED_SLICE"],
        ),
        (
            "c = Conv(x, w_6_6_1_1)\n a = Reshape(c, i_1_2_3_8_8)\n b = Transpose<perm=[0,2,1,3,4]>(a)\n"
            " y = Reshape(b, i_1_6_8_8)",
            ["CONV_2D", "RESHAPE", "TRANSPOSE", "RESHAPE"],
        ),
        (
            "a = Div(x, n_1_41421356)\n b = Erf(a)\n c = Add(b, n_1_0)\n d = Mul(x, c)\n y = Mul(d, n_0_5)",
            ["GELU"],
        ),
        (
            "y = InstanceNormalization(x, w_6, w_6)",
            ["AVERAGE_POOL_2D", "SUB", "MUL", "AVERAGE_POOL_2D", "ADD", "RSQRT", "MUL", "MUL", "ADD"],
        ),
    ],
)
def test_operators(body: str, expected: list[str]) -> None:
    result = lowered(body)
    assert (operators(result) if result.file else []) == expected
    assert bool(result.missing) == (expected == [])


HARD_SWISHES = (
    "y = HardSwish(x)",
    "h = HardSigmoid<alpha=0.16666667,beta=0.5>(x)\n y = Mul(x, h)",
    "a = Add(x, n_3_0)\n c = Clip(a, n_0_0, n_6_0)\n m = Mul(x, c)\n y = Div(m, n_6_0)",
    "a = Add(n_3_0, x)\n c = Clip(a, n_0_0, n_6_0)\n d = Div(c, n_6_0)\n y = Mul(d, x)",
    "a = Add(x, n_3_0)\n c = Clip(a, n_0_0, n_6_0)\n m = Mul(c, x)\n y = Mul(m, n_0_16666667)",
)


@pytest.mark.parametrize("body", HARD_SWISHES)
def test_hard_swish_however_it_is_written(body: str) -> None:
    result = lowered(body, opset=14)
    assert operators(result) == ["HARD_SWISH"]
    assert result.owners == ("y",)


@pytest.mark.parametrize(
    "body",
    [
        "a = Add(x, n_2_0)\n c = Clip(a, n_0_0, n_6_0)\n m = Mul(x, c)\n y = Div(m, n_6_0)",
        "a = Add(x, n_3_0)\n c = Clip(a, n_0_0, n_5_0)\n m = Mul(x, c)\n y = Div(m, n_6_0)",
        "a = Add(x, n_3_0)\n c = Clip(a, n_0_0, n_6_0)\n m = Mul(a, c)\n y = Div(m, n_6_0)",
        "h = HardSigmoid(x)\n y = Mul(x, h)",
    ],
)
def test_what_is_no_hard_swish(body: str) -> None:
    assert "HARD_SWISH" not in operators(lowered(body))


def test_costs_are_charged_to_the_operator_before_the_activation() -> None:
    result = lowered(
        f"z = Conv<pads=[1,1,1,1],strides=[2,2]>(x, {W331})\n a = Relu(z)\n"
        " y = MaxPool<kernel_shape=[2,2]>(a)"
    )
    assert result.owners == ("z", "z", "y")


def test_guards_stand_around_and_belong_to_nobody() -> None:
    result = lowered(f"y = Conv(x, {W111})", guarded=True)
    assert operators(result) == ["MAX_POOL_2D", "CONV_2D", "MAX_POOL_2D"]
    assert result.owners == (None, "y", None)


def test_no_guard_before_an_image_or_around_vectors() -> None:
    assert operators(lowered("y = Relu(x)", "1,3,8,8", guarded=True)) == ["RELU", "MAX_POOL_2D"]
    assert operators(lowered("y = Gemm(x, w_6_4)", "1,6", guarded=True)) == ["FULLY_CONNECTED"]


def test_the_graph_is_cut_around_what_has_no_form() -> None:
    result = lowered(f"a = Conv(x, {W111})\n b = Cos(a)\n c = Relu(b)\n y = Sin(c)")
    assert operators(result) == ["CONV_2D", "RELU"]
    assert [(m.output, m.op_type) for m in result.missing] == [("b", "Cos"), ("y", "Sin")]


def test_a_refusal_takes_back_what_was_begun() -> None:
    """The dilated pool is found out only after its input was looked at."""
    result = lowered("a = Relu(x)\n y = MaxPool<kernel_shape=[2,2],dilations=[2,2]>(a)")
    assert operators(result) == ["RELU"]
    assert [m.output for m in result.missing] == ["y"]


def test_shape_arithmetic_is_folded() -> None:
    body = (
        "s = Shape(x)\n b = Gather(s, i_0)\n t = Concat<axis=0>(b, i_384)\n z = Reshape(x, t)\n"
        " y = MatMul(z, w_384_10)"
    )
    result = lowered(body)
    assert operators(result) == ["RESHAPE", "FULLY_CONNECTED"]
    assert result.missing == ()


def test_equal_models_give_equal_files() -> None:
    body = f"z = Conv(x, {W331})\n y = Relu(z)"
    assert lowered(body).file == lowered(body).file


def test_a_channel_shuffle_is_charged_to_its_transposition() -> None:
    body = "a = Reshape(x, i_1_2_3_8_8)\n b = Transpose<perm=[0,2,1,3,4]>(a)\n y = Reshape(b, i_1_6_8_8)"
    assert set(lowered(body).owners) == {"b"}


def test_a_layer_norm_of_pixels_is_one_of_a_matrix() -> None:
    """Vela leaves the mean over the last of four axes to the host."""
    result = lowered("y = LayerNormalization<axis=-1>(x, w_8, w_8)", opset=17)
    names = operators(result)
    assert (names.count("MEAN"), names.count("RSQRT")) == (2, 1)
    assert names[0] == names[-1] == "RESHAPE"
    assert set(result.owners) == {"y"}
