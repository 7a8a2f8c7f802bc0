"""The sampler: valid models, the promised mixture, the same models for the same seed."""

import hashlib
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from hwopt.cost import sampling
from hwopt.cost.sampling_around import around
from hwopt.cost.sampling_cut import ACTIVATIONS, cut, fused_groups, macs, shape_key
from hwopt.cost.sampling_net import Net
from hwopt.cost.sampling_shapes import dims
from hwopt.cost.sampling_weights import WeightStyle, draw_weight
from hwopt.errors import BadInput
from hwopt.ir import model_bytes
from hwopt.nodes import constant_array, convs

EDGE_OPS = frozenset({"Conv", "DepthwiseConv", "Gemm", "MatMul", "Add"})


@pytest.fixture(scope="module")
def drawn() -> list[sampling.Sample]:
    return list(sampling.samples(seed=11, start=0, stop=150))


def test_every_sample_is_a_valid_model_with_the_shapes_it_claims(drawn: list[sampling.Sample]) -> None:
    for sample in drawn[:60]:
        proto = ir.to_proto(sample.model)
        onnx.checker.check_model(proto, full_check=True)
        claimed = {v.name: dims(v) for node in sample.model.graph for v in node.outputs}
        inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
        infos = (*inferred.graph.value_info, *inferred.graph.output)
        found = {info.name: tuple(d.dim_value for d in info.type.tensor_type.shape.dim) for info in infos}
        assert {name: found[name] for name in claimed} == claimed


def test_a_sample_runs_in_onnx_runtime(drawn: list[sampling.Sample]) -> None:
    smallest = sorted(drawn, key=lambda s: sum(map(macs, s.model.graph)))[:40]
    for sample in smallest[::4]:
        session = ort.InferenceSession(ir.to_proto(sample.model).SerializeToString())
        feeds = {i.name: np.ones(i.shape, np.float32) for i in session.get_inputs()}
        assert all(np.isfinite(y).all() for y in session.run(None, feeds))


def test_about_seven_in_ten_come_from_network_families(drawn: list[sampling.Sample]) -> None:
    families = Counter(sample.family for sample in drawn)
    share = 1 - families[sampling.OPERATOR_FAMILY] / len(drawn)
    # Four standard deviations of a binomial share of 150 draws.
    assert abs(share - sampling.FAMILY_SHARE) < 4 * (0.7 * 0.3 / len(drawn)) ** 0.5
    assert len(families) > 12


def test_names_are_unique_and_networks_are_recorded(drawn: list[sampling.Sample]) -> None:
    assert len({sample.name for sample in drawn}) == len(drawn)
    assert all(bool(s.network) == (s.family != sampling.OPERATOR_FAMILY) for s in drawn)


def test_a_sample_depends_on_seed_and_index_only() -> None:
    code = (
        "from hwopt.cost import sampling; from hwopt.ir import model_bytes; import hashlib\n"
        "print([hashlib.sha256(model_bytes(sampling.sample(5, i).model)).hexdigest() for i in (3, 0, 9)])"
    )
    results = set()
    for hash_seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
        results.add(run.stdout)
    assert len(results) == 1
    first, second = (sampling.sample(seed, 0).model for seed in (5, 6))
    assert _digest(first) != _digest(second)


def test_whole_networks_cover_inverted_bottlenecks_at_five_sizes() -> None:
    networks = list(sampling.whole_networks(seed=2, count=25))
    sizes = {(n.family, dims(n.model.graph.inputs[0])[2]) for n in networks}
    assert sizes == {(f, s) for f in sampling.BOTTLENECK_FAMILIES for s in sampling.WHOLE_SIZES}
    assert all(len(n.model.graph.outputs) == 1 for n in networks)


def test_distinct_layers_are_single_supported_and_distinct(drawn: list[sampling.Sample]) -> None:
    layers = list(sampling.distinct_layers(drawn, EDGE_OPS))
    keys = [shape_key(layer.model.graph[0]) for layer in layers]
    assert len(keys) == len(set(keys)) > 100
    for layer in layers:
        kinds = [node.op_type for node in layer.model.graph]
        assert kinds[0] in EDGE_OPS
        assert set(kinds[1:]) <= {*ACTIVATIONS, "Mul"}


def test_every_activation_meets_every_kind_of_convolution() -> None:
    layers = sampling.distinct_layers(sampling.samples(seed=1, start=0, stop=200), EDGE_OPS)
    seen = {(conv.depthwise, conv.pointwise, _act(layer)) for layer in layers for conv in convs(layer.model)}
    kinds = {(True, False), (False, True), (False, False)}
    assert {(*kind, act) for kind in kinds for act in ("", "Relu", "Clip", "HardSwish", "LeakyRelu")} <= seen


def _act(sample: sampling.Sample) -> str:
    return sample.model.graph[1].op_type if len(sample.model.graph) > 1 else ""


def test_cut_keeps_names_and_makes_what_leaves_an_output() -> None:
    net = Net("n", WeightStyle(), (1,))
    x = net.input(1, 8, 6, 6)
    a = net.conv(x, 8, 3, 1, "relu")
    y = net.add(a, net.conv(a, 8))
    model = net.model(y)
    conv, relu, *_ = model.graph
    part = cut(model, [conv, relu])
    assert [v.name for v in part.graph.inputs] == [x.name]
    assert [v.name for v in part.graph.outputs] == [a.name]
    assert [n.op_type for n in part.graph] == ["Conv", "Relu"]
    assert len(model.graph) == 4
    assert [len(group) for group in fused_groups(model, EDGE_OPS)] == [2, 1, 1]


def test_macs_of_a_strided_convolution() -> None:
    net = Net("n", WeightStyle(), (1,))
    conv = net.model(net.conv(net.input(1, 16, 9, 9), 24, 3, 2)).graph[0]
    assert macs(conv) == 5 * 5 * 24 * 16 * 3 * 3


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(("size", "k", "s"), [(9, 3, 2), (8, 3, 2), (8, 5, 2), (7, 7, 1), (6, 1, 2)])
def test_padding_keeps_the_size_divided_by_the_stride(size: int, k: int, s: int, centred: bool) -> None:
    net = Net("n", WeightStyle(), (1,))
    net.centred = centred
    model = net.model(net.conv(net.input(1, 3, size, size), 4, k, s))
    inferred = onnx.shape_inference.infer_shapes(ir.to_proto(model), strict_mode=True)
    shape = [d.dim_value for d in inferred.graph.output[0].type.tensor_type.shape.dim]
    assert shape == [1, 4, -(-size // s), -(-size // s)]


def test_a_densified_depthwise_is_zero_off_the_diagonal() -> None:
    weight = draw_weight((6, 6, 3, 3), WeightStyle(diagonal=True), (4,))
    used = weight.any(axis=(2, 3))
    assert (used == np.eye(6, dtype=bool)).all()


def test_weights_have_the_zeros_and_levels_asked_for() -> None:
    sparse = draw_weight((64, 32, 1, 1), WeightStyle(zeros=0.5), (4,))
    assert np.mean(sparse == 0) == pytest.approx(0.5, abs=0.01)
    coded = draw_weight((64, 32, 1, 1), WeightStyle(channel_spread=0.0, levels=16), (4,))
    assert len(np.unique(coded)) == 16
    padded = draw_weight((8, 4, 1, 1), WeightStyle(zero_outputs=0.25), (4,))
    assert padded.any(axis=(1, 2, 3)).tolist() == [True] * 6 + [False] * 2


@pytest.mark.parametrize("style", [WeightStyle(zeros=0.99, zero_outputs=1.0, zero_inputs=1.0), WeightStyle()])
def test_weights_are_never_all_zero(style: WeightStyle) -> None:
    for seed in range(20):
        assert draw_weight((2, 1, 1, 1), style, (seed,)).any()


def test_around_keeps_to_the_model_it_is_given() -> None:
    net = Net("n", WeightStyle(), (1,))
    x = net.input(1, 16, 14, 14)
    h = net.depthwise(net.conv(x, 96, 1, 1, "relu6"), 5, 2, "relu6")
    model = net.model(net.gemm(net.flatten(net.global_pool(net.conv(h, 40))), 10))
    near = list(around(model, count=60, seed=1))
    sizes = {dims(conv.input)[2] for s in near for conv in convs(s.model)}
    assert sizes <= {14, 7}
    kinds = {conv.depthwise for s in near for conv in convs(s.model)}
    assert kinds == {True, False}
    hidden = {conv.out_channels for s in near for conv in convs(s.model) if conv.depthwise}
    assert len(hidden) > 2
    assert all(constant_array(conv.node.inputs[1]) is not None for s in near for conv in convs(s.model))


def _digest(model: ir.Model) -> str:
    return hashlib.sha256(ir.to_proto(model).SerializeToString()).hexdigest()


def test_chosen_kinds_of_operators_alone_are_drawn_and_others_named() -> None:
    drawn = list(sampling.operators(3, 0, 12, ("softmax", "grouped")))
    assert {item.family for item in drawn} == {sampling.OPERATOR_FAMILY}
    ops = [node.op_type for item in drawn for node in item.model.graph]
    assert set(ops) & {"Softmax", "Conv"} == {"Softmax", "Conv"}
    assert [model_bytes(a.model) for a in sampling.operators(3, 5, 7, ("softmax", "grouped"))] == [
        model_bytes(item.model) for item in drawn[5:7]
    ]
    with pytest.raises(BadInput, match="did you mean 'grouped'"):
        next(sampling.operators(3, 0, 1, ("gruoped",)))
