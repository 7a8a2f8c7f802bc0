"""Loop nests that stand for another operator: what they must equal, by formula or by another operator."""

from __future__ import annotations

import pytest

from tests.graphs import Weights
from tests.oracles.test_zigzag_layers import lowered


@pytest.mark.parametrize(("kernel", "stride", "pad", "size"), [(4, 2, 1, 16), (2, 2, 0, 16), (3, 1, 1, 8)])
def test_a_transposed_convolution_is_the_convolution_of_its_input_with_zeros_between(
    kernel: int, stride: int, pad: int, size: int
) -> None:
    line = (
        f"y = ConvTranspose<kernel_shape=[{kernel},{kernel}], strides=[{stride},{stride}], "
        f"pads=[{pad},{pad},{pad},{pad}]>(x, w)"
    )
    layer = lowered(line, "1,6,8,8", f"1,10,{size},{size}", {"w": (6, 10, kernel, kernel)})
    spread = 7 * stride + 1
    edge = kernel - 1 - pad  # zeros around: the same outputs as a plain convolution of the spread input
    plain = f"y = Conv<kernel_shape=[{kernel},{kernel}], pads=[{edge},{edge},{edge},{edge}]>(x, w)"
    same = lowered(plain, f"1,6,{spread},{spread}", f"1,10,{size},{size}", {"w": (10, 6, kernel, kernel)})
    assert layer is not None
    assert same is not None
    assert layer.to_json() == same.to_json()
    assert layer.weight_bytes == 6 * 10 * kernel * kernel


def test_a_transposed_convolution_of_single_channels_uses_the_depthwise_mapping() -> None:
    line = "y = ConvTranspose<kernel_shape=[2,2], strides=[2,2], group=8>(x, w)"
    layer = lowered(line, "1,8,4,4", "1,8,8,8", {"w": (8, 1, 2, 2)})
    assert layer is not None
    assert layer.operator == "DepthwiseConv"


def test_a_mean_over_the_image_is_a_global_pool() -> None:
    mean = lowered("y = ReduceMean<axes=[-1,2], keepdims=1>(x)", "1,16,5,7", "1,16,1,1")
    flat = lowered("y = ReduceMean<axes=[2,3], keepdims=0>(x)", "1,16,5,7", "1,16")
    pool = lowered("y = GlobalAveragePool(x)", "1,16,5,7", "1,16,1,1")
    assert mean is not None
    assert mean == flat == pool


@pytest.mark.parametrize("op", ["Sub", "Mul", "Min", "Max"])
def test_two_equal_shapes_cost_what_their_sum_costs(op: str) -> None:
    line = "t = Neg(x)\ny = {}(x, t)"
    other = lowered(line.format(op), "1,8,4,4", "1,8,4,4")
    assert other is not None
    assert other == lowered(line.format("Add"), "1,8,4,4", "1,8,4,4")


@pytest.mark.parametrize(
    ("x", "y", "weights", "loops"),
    [
        ("1,4,2,6,8", "1,4,2,6,5", {"w": (8, 5)}, {"B": 8, "C": 8, "D": 6, "K": 5}),
        ("2,3,6,8", "2,3,6,5", {"w": (8, 5)}, {"B": 2, "H": 3, "C": 8, "D": 6, "K": 5}),
        ("1,6,8", "1,6,5", {"w": (8, 5)}, {"B": 1, "C": 8, "D": 6, "K": 5}),
    ],
)
def test_products_of_many_axes_are_products_one_after_the_other(
    x: str, y: str, weights: Weights, loops: dict[str, int]
) -> None:
    layer = lowered("y = MatMul(x, w)", x, y, weights)
    assert layer is not None
    assert dict(layer.loops) == loops
    assert layer.weight_bytes == 40


def test_a_product_with_leading_sizes_of_its_own_has_no_layer() -> None:
    assert lowered("y = MatMul(x, w)", "4,2,6,8", "4,2,6,5", {"w": (4, 1, 8, 5)}) is None
    assert lowered("y = ReduceMean<axes=[1], keepdims=1>(x)", "1,16,5,7", "1,1,5,7") is None
