"""Families, operators and weights of the sampler: valid models, within limits, all kinds met."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hwopt.cost import sampling
from hwopt.cost.sampling_around import around
from hwopt.cost.sampling_cut import macs, peak_elements, without_unused_inputs
from hwopt.cost.sampling_families import FAMILIES, FAMILY_WEIGHTS
from hwopt.cost.sampling_net import Net
from hwopt.cost.sampling_ops import OPERATOR_WEIGHTS, OPERATORS, operator_net
from hwopt.cost.sampling_own import style_of
from hwopt.cost.sampling_weights import WeightStyle, draw_weight, layer_style, random_style
from hwopt.descriptor import describe_array
from hwopt.nodes import convs


def _whole(family: str, seed: int, size: int = 96) -> ir.Model:
    rng = np.random.default_rng(seed)
    return sampling._network(family, sampling._draw(rng, 0.35), (1, 3, size, size), (seed, 1))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_member_of_every_family_is_a_valid_model(family: str) -> None:
    for seed in (1, 2):
        onnx.checker.check_model(ir.to_proto(_whole(family, seed)), full_check=True)


@pytest.mark.parametrize("kind", OPERATORS)
def test_every_operator_is_a_valid_model(kind: str) -> None:
    for seed in range(4):
        model = operator_net((seed, 5), {kind: OPERATORS[kind]}, {})
        assert model.graph.name == kind
        onnx.checker.check_model(ir.to_proto(without_unused_inputs(model)), full_check=True)


def test_weights_name_families_and_operators_that_exist() -> None:
    assert set(FAMILY_WEIGHTS) == set(FAMILIES)
    assert set(OPERATOR_WEIGHTS) <= set(OPERATORS)


def test_kinds_of_operators_are_met_as_often_as_their_weights_say() -> None:
    """The draw that makes a sample an operator must not decide which: seeds padded with 0 did so."""
    seeds = [(21, i) for i in range(1000) if np.random.default_rng((21, i)).random() >= sampling.FAMILY_SHARE]
    met = Counter(operator_net(seed, OPERATORS, OPERATOR_WEIGHTS).graph.name for seed in seeds)
    total = sum(OPERATOR_WEIGHTS.get(kind, 1) for kind in OPERATORS)
    for kind in ("add", "pointwise", "depthwise", "full_conv", "gemm"):
        share = OPERATOR_WEIGHTS[kind] / total
        # Four standard deviations of a binomial count.
        assert abs(met[kind] - len(seeds) * share) < 4 * (len(seeds) * share * (1 - share)) ** 0.5, kind


@pytest.mark.parametrize("family", ["unet", "yolo", "densenet", "vit", "mobilevit", "resnet_basic"])
def test_whole_networks_fit(family: str) -> None:
    network = sampling._whole(4, 30, family, 160).model
    assert sum(map(macs, network.graph)) <= sampling.WHOLE_NETWORK_LIMIT
    assert peak_elements(network) <= sampling.WHOLE_NETWORK_PEAK


def test_the_peak_is_that_of_the_values_needed_at_one_time() -> None:
    net = Net("n", WeightStyle(), (1,))
    x = net.input(1, 4, 6, 6)  # 144 elements
    a = net.conv(x, 8)  # 288, x is still needed
    b = net.conv(a, 8)  # 288
    y = net.conv(net.concat([x, b]), 4)  # concat: 144 + 288 + 432
    assert peak_elements(net.model(y)) == 144 + 288 + 432


def test_two_of_four_weights_are_read_as_such() -> None:
    weight = draw_weight((16, 32, 3, 3), WeightStyle(two_of_four=True), (1,))
    assert describe_array(weight, 0, "int8").pattern == "2:4"
    assert np.mean(weight == 0) == pytest.approx(0.5)


def test_outliers_and_heavy_tails_leave_fewer_bits() -> None:
    def bits(style: WeightStyle) -> float:
        found = describe_array(draw_weight((64, 64, 1, 1), style, (3,)), 0, "int8")
        return 8 * found.encoded_bytes / found.elements

    plain = bits(WeightStyle(channel_spread=0.0))
    # A step four times as large takes two bits off each value.
    assert bits(WeightStyle(channel_spread=0.0, outliers=4.0)) == pytest.approx(plain - 2, abs=0.3)
    assert bits(WeightStyle("heavy", 0.0)) < bits(WeightStyle("student", 0.0)) < plain


def test_layers_of_one_network_differ() -> None:
    rng = np.random.default_rng(5)
    style = random_style(rng)
    layers = [layer_style(style, rng) for _ in range(200)]
    assert 0.5 < sum(layer == style for layer in layers) / len(layers) < 0.9


def test_the_style_of_weights_tells_their_zeros_and_outliers() -> None:
    spread = style_of(draw_weight((96, 256, 1, 1), WeightStyle(channel_spread=0.5, outliers=3.0), (7,)))
    assert spread.channel_spread == pytest.approx(0.5, abs=0.1)
    assert spread.outliers == pytest.approx(3.0, abs=0.5)
    assert style_of(draw_weight((96, 256, 1, 1), WeightStyle(zeros=0.3), (7,))).zeros == pytest.approx(
        0.3, abs=0.01
    )
    assert style_of(draw_weight((96, 256, 1, 1), WeightStyle(), (8,))).outliers < 1.3


def test_samples_around_a_model_hold_its_own_operators_and_weights() -> None:
    net = Net("own", WeightStyle(), (1,))
    x = net.input(1, 16, 12, 12)
    h = net.conv(x, 24, 3, 1, "relu6")
    up = net.resize(net.pool(h, "MaxPool", 2, 2), 2)
    model = net.model(net.conv(net.concat([h, up]), 8))
    own_weight = next(iter(convs(model))).weight
    before = ir.to_proto(model).SerializeToString()
    near = [s.model for s in around(model, count=80, seed=2)]
    assert ir.to_proto(model).SerializeToString() == before
    met = {node.op_type for part in near for node in part.graph}
    assert {"Conv", "MaxPool", "Resize", "Concat"} <= met
    assert any(np.array_equal(conv.weight, own_weight) for part in near for conv in convs(part))
    for part in near[:20]:
        onnx.checker.check_model(ir.to_proto(part), full_check=True)


def test_samples_around_a_model_without_convolutions_are_its_own_operators() -> None:
    net = Net("plain", WeightStyle(), (1,))
    model = net.model(net.softmax(net.gemm(net.input(1, 32), 10)))
    parts = [{node.op_type for node in s.model.graph} for s in around(model, count=12, seed=2)]
    assert len(parts) == 12
    assert {"Gemm", "Softmax"} == set().union(*parts)
