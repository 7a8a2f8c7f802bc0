"""Loop nests of single operators: sizes by formula, and what has none."""

from __future__ import annotations

import pytest

from hwopt.oracles.zigzag_layers import Layer, layer_of
from hwopt.shapes import infer_shapes
from tests.graphs import Weights, model_of


def lowered(
    line: str, x: str, y: str, weights: Weights | None = None, element_bytes: int = 1
) -> Layer | None:
    """The loop nest of the operator that computes `y`."""
    text = f'<ir_version: 8, opset_import: ["" : 13]> g (float[{x}] x) => (float[{y}] y) {{ {line} }}'
    model = model_of(text, weights or {})
    node = next(node for node in model.graph if node.outputs[0].name == "y")
    return layer_of(node, infer_shapes(model, {}), element_bytes)


def test_each_axis_of_a_convolution_keeps_its_own_kernel_stride_and_dilation() -> None:
    line = "y = Conv<kernel_shape=[3,5], strides=[2,1], dilations=[1,2], pads=[1,4,1,4], group=2>(x, w)"
    layer = lowered(line, "1,4,12,20", "1,6,6,20", {"w": (6, 2, 3, 5)})
    assert layer is not None
    sizes = dict(layer.loops)
    assert (sizes["FY"], sizes["FX"], sizes["OY"], sizes["OX"]) == (3, 5, 6, 20)
    assert (sizes["G"], sizes["K"], sizes["C"]) == (2, 3, 2)
    assert layer.relations == ("ix=1*ox+2*fx", "iy=2*oy+1*fy")
    assert layer.inputs == (("IX", 20), ("IY", 12))
    assert layer.macs == 6 * (6 * 20) * 2 * (3 * 5)  # outputs x pixels x inputs per group x taps
    assert layer.weight_bytes == 6 * 2 * 3 * 5


def test_a_one_dimensional_convolution_is_one_row() -> None:
    layer = lowered("y = Conv<kernel_shape=[3], strides=[2]>(x, w)", "1,4,21", "1,8,10", {"w": (8, 4, 3)})
    assert layer is not None
    sizes = dict(layer.loops)
    assert (sizes["OY"], sizes["FY"], sizes["OX"], sizes["FX"]) == (1, 1, 10, 3)
    assert layer.relations[0] == "ix=2*ox+1*fx"


def test_only_one_input_channel_per_group_is_depthwise() -> None:
    depthwise = lowered("y = Conv<group=8>(x, w)", "1,8,4,4", "1,8,4,4", {"w": (8, 1, 1, 1)})
    grouped = lowered("y = Conv<group=4>(x, w)", "1,8,4,4", "1,8,4,4", {"w": (8, 2, 1, 1)})
    assert depthwise is not None
    assert grouped is not None
    assert (depthwise.operator, grouped.operator) == ("DepthwiseConv", "Conv")


def test_names_and_weights_are_no_part_of_a_layer() -> None:
    first = lowered("y = Conv(x, w)", "1,8,4,4", "1,8,4,4", {"w": (8, 8, 1, 1)})
    second = lowered("y = Conv(x, w, b)", "1,8,4,4", "1,8,4,4", {"w": (8, 8, 1, 1), "b": (8,)})
    assert first is not None
    assert second is not None
    assert first.to_json() == second.to_json()


def test_a_gemm_reads_its_sizes_through_transposition() -> None:
    layer = lowered("y = Gemm<transA=1, transB=1>(x, w)", "20,3", "3,10", {"w": (10, 20)})
    assert layer is not None
    assert dict(layer.loops) == {"C": 20, "D": 3, "K": 10}
    assert (layer.macs, layer.weight_bytes) == (20 * 3 * 10, 20 * 10)


def test_a_product_of_two_activations_has_no_weights() -> None:
    layer = lowered("t = Transpose<perm=[0,2,1]>(x)\ny = MatMul(x, t)", "4,6,8", "4,6,6")
    assert layer is not None
    assert layer.equation == "O[b][d][k]+=I[b][d][c]*W[b][c][k]"
    assert (layer.macs, layer.weight_bytes) == (4 * 6 * 8 * 6, 0)


def test_constant_weights_of_a_product_repeat_over_the_batch() -> None:
    layer = lowered("y = MatMul(x, w)", "4,6,8", "4,6,5", {"w": (8, 5)})
    assert layer is not None
    assert layer.equation == "O[b][d][k]+=I[b][d][c]*W[c][k]"
    assert (layer.macs, layer.weight_bytes) == (4 * 6 * 8 * 5, 8 * 5)


def test_a_global_pool_is_a_kernel_of_the_whole_map() -> None:
    layer = lowered("y = GlobalAveragePool(x)", "1,16,5,7", "1,16,1,1")
    assert layer is not None
    sizes = dict(layer.loops)
    assert (sizes["FY"], sizes["FX"], sizes["G"], layer.macs, layer.weight_bytes) == (5, 7, 16, 0, 0)


@pytest.mark.parametrize(
    ("line", "x", "y", "weights"),
    [
        ("y = Add(x, w)", "1,8,4,4", "1,8,4,4", {"w": (1, 8, 1, 1)}),  # broadcast
        ("y = Div(x, x)", "1,8,4,4", "1,8,4,4", {}),
        ("y = ConvTranspose(x, w)", "1,8,4,4,4", "1,8,4,4,4", {"w": (8, 8, 1, 1, 1)}),
        ("y = Conv(x, w)", "1,8,4,4,4", "1,8,4,4,4", {"w": (8, 8, 1, 1, 1)}),  # 3-D
        ("y = Sigmoid(x)", "1,8,4,4", "1,8,4,4", {}),
    ],
)
def test_what_zigzag_does_not_cost_has_no_layer(line: str, x: str, y: str, weights: Weights) -> None:
    assert lowered(line, x, y, weights) is None


def test_sixteen_bit_targets_move_twice_as_much() -> None:
    layer = lowered("y = Conv(x, w)", "1,8,4,4", "1,8,4,4", {"w": (8, 8, 1, 1)}, element_bytes=2)
    assert layer is not None
    assert dict(layer.bits) == {"W": 16, "I": 16, "O_final": 16, "O": 32}
    assert layer.weight_bytes == 8 * 8 * 2
