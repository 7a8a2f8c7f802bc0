"""fuse_ibn on every variant: what it makes, the composition it starts from, where it must not fire."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hwopt.choice import Pass, Risk, Skip, Value
from hwopt.errors import RewriteFailed
from hwopt.nodes import FloatArray, constant_array
from hwopt.passes.fuse_ibn import FuseInvertedBottleneck
from hwopt.passes.prune_channels import PruneChannels
from hwopt.registry import load_target
from hwopt.repair.marks import Origin, fit_of, origin_of
from hwopt.rewrite import rewrite
from hwopt.target import Target
from tests.graphs import model_of, output_of, values_of
from tests.passes.blocks import HIDDEN, VARIANTS, Block

every = pytest.mark.parametrize("block", VARIANTS.values(), ids=VARIANTS.keys())


@pytest.fixture(scope="module")
def target() -> Target:
    return load_target("edge-npu")


def offers(item: Pass, model: ir.Model, target: Target) -> dict[str, Value]:
    return {v.name: v for v in item.values(model, target) if isinstance(v, Value)}


def skips(item: Pass, model: ir.Model, target: Target) -> list[str]:
    return [v.reason for v in item.values(model, target) if isinstance(v, Skip)]


def noise(block: Block, batch: int = 2) -> FloatArray:
    shape = (batch, block.channels, *block.size)
    return np.random.default_rng(5).standard_normal(shape).astype(np.float32)


def kinds(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph if node.op_type != "Constant"]


def node_of(model: ir.Model, output: str) -> ir.Node:
    return next(node for node in model.graph if node.outputs[0].name == output)


@every
def test_the_expansion_goes_and_all_behind_the_filter_stays(block: Block, target: Target) -> None:
    model = block.model()
    changed = rewrite(model, [offers(FuseInvertedBottleneck(), model, target)["fused"]])
    onnx.checker.check_model(ir.to_proto(changed), full_check=True)
    after = kinds(model)[kinds(model).index("Conv", 1) :]  # from the depthwise convolution on
    assert kinds(changed) == after
    fused = node_of(changed, "d")
    assert fused.inputs[0] is changed.graph.inputs[0]
    assert origin_of(fused) == Origin("d")
    assert fit_of(fused) is not None
    assert [n.outputs[0].name for n in changed.graph if fit_of(n)] == ["d", "p" if block.residual else "y"]


@every
def test_it_starts_as_the_composition_of_both_convolutions(block: Block, target: Target) -> None:
    """Without the first activation and its bias the start is the same function, borders included."""
    model = replace(block, biased=False).model()
    linear = replace(block, biased=False, first="").model()
    value = offers(FuseInvertedBottleneck(), model, target)["fused"]
    changed = rewrite(model, [value])
    assert value.risk == Risk.LOSSY
    expected = output_of(linear, noise(block))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(output_of(changed, noise(block)), expected, atol=1e-5 * scale)


@pytest.mark.parametrize(
    ("kernel", "pads", "expected"),
    [
        ((5, 5), (2, 2, 2, 2), ((3, 3), (1, 1, 1, 1))),
        ((7, 7), (3, 3, 3, 3), ((3, 3), (1, 1, 1, 1))),
        ((5, 5), (1, 1, 2, 2), ((3, 3), (0, 0, 1, 1))),
        ((5, 3), (2, 1, 2, 1), ((3, 3), (1, 1, 1, 1))),
        ((7, 5), (3, 2, 3, 2), ((3, 3), (1, 1, 1, 1))),
        ((1, 7), (0, 3, 0, 3), ((1, 3), (0, 1, 0, 1))),
        ((3, 3), (1, 1, 1, 1), None),
        ((4, 4), (2, 2, 1, 1), None),
        ((5, 5), (0, 0, 0, 0), None),
    ],
)
def test_long_axes_are_reduced_to_three(
    kernel: tuple[int, int],
    pads: tuple[int, int, int, int],
    expected: tuple[tuple[int, int], tuple[int, ...]] | None,
    target: Target,
) -> None:
    block = Block(kernel=kernel, pads=pads, biased=False)
    model = block.model()
    found = offers(FuseInvertedBottleneck(), model, target)
    assert ("fused_k3" in found) == (expected is not None)
    if expected is None:
        return
    changed = rewrite(model, [found["fused_k3"]])
    fused = node_of(changed, "d")
    assert fused.attributes["kernel_shape"].as_ints() == expected[0]
    assert fused.attributes["pads"].as_ints() == expected[1]
    np.testing.assert_allclose(
        output_of(changed, noise(block)), output_of(_middle_only(block), noise(block)), atol=1e-4
    )


def _middle_only(block: Block) -> ir.Model:
    """The block without its first activation and with zeros in its filter outside the middle."""
    model = replace(block, first="").model()
    weight = model.graph.initializers["wd"]
    kernel = np.array(constant_array(weight))
    inside = np.zeros(block.kernel, np.bool_)
    crop = [max(k - 3, 0) // 2 for k in block.kernel]
    inside[crop[0] : block.kernel[0] - crop[0], crop[1] : block.kernel[1] - crop[1]] = True
    weight.const_value = ir.tensor(kernel * inside, name="wd")
    return model


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("pads", [(2, 2, 2, 2), (1, 1, 2, 2), (0, 0, 0, 0)])
@pytest.mark.parametrize("gated", [True, False])
def test_a_linear_expansion_is_fused_exactly_borders_included(
    biased: bool, pads: tuple[int, int, int, int], gated: bool, target: Target
) -> None:
    strides = (1, 1) if pads[0] == 2 else (2, 2)
    block = Block(first="", kernel=(5, 5), strides=strides, pads=pads, gated=gated, biased=biased)
    model = block.model()
    found = offers(FuseInvertedBottleneck(), model, target)
    exact = [value for value in found.values() if value.risk == Risk.EXACT]
    assert [value.name for value in exact] == ["fused_exact" if biased and any(pads) else "fused"]
    changed = rewrite(model, exact)
    onnx.checker.check_model(ir.to_proto(changed), full_check=True)
    assert not any(fit_of(node) for node in changed.graph)
    expected = output_of(model, noise(block))
    np.testing.assert_allclose(output_of(changed, noise(block)), expected, atol=1e-5 * np.abs(expected).max())


def test_the_exact_form_adds_one_channel_of_ones(target: Target) -> None:
    model = Block(first="", kernel=(5, 5)).model()
    changed = rewrite(model, [offers(FuseInvertedBottleneck(), model, target)["fused_exact"]])
    ones = node_of(changed, "d").inputs[0]
    assert ones is not None
    values = values_of(changed, noise(Block()), str(ones.name))
    np.testing.assert_array_equal(values[:, :-1], noise(Block()))
    np.testing.assert_array_equal(values[:, -1], 1.0)


def test_an_exact_border_that_costs_a_whole_expansion_is_passed_over(target: Target) -> None:
    text = Block(first="").text
    model = model_of(text, {**Block(first="").weights, "we": (HIDDEN, 8, 1, 1)})
    wide = model_of(
        text.replace("float[N,8,", f"float[N,{HIDDEN},"),
        {
            **Block(first="").weights,
            "we": (HIDDEN, HIDDEN, 1, 1),
            "wp": (HIDDEN, HIDDEN, 1, 1),
            "bp": (HIDDEN,),
        },
    )
    assert "fused_exact" in offers(FuseInvertedBottleneck(), model, target)
    assert "fused_exact" not in offers(FuseInvertedBottleneck(), wide, target)
    assert "costs as much as this expansion" in skips(FuseInvertedBottleneck(), wide, target)[0]


@every
def test_a_fused_block_is_pruned_at_its_hidden_group(block: Block, target: Target) -> None:
    model = block.model()
    for fused in offers(FuseInvertedBottleneck(), model, target).values():
        widths = [
            v for v in offers(PruneChannels(), model, target).values() if v.parameters["from"] == HIDDEN
        ]
        assert widths
        for width in widths:
            changed = rewrite(model, [fused, width])
            onnx.checker.check_model(ir.to_proto(changed), full_check=True)
            weight = constant_array(node_of(changed, "d").inputs[1])
            assert weight is not None
            assert weight.shape[0] == width.parameters["to"]
            assert output_of(changed, noise(block)).shape == output_of(model, noise(block)).shape


# --- where it must not fire ----------------------------------------------------------------

PLAIN = Block(kernel=(5, 5))


def _refused(text: str, target: Target, reason: str, **weights: tuple[int, ...]) -> None:
    model = model_of(text, {**PLAIN.weights, **weights})
    assert offers(FuseInvertedBottleneck(), model, target) == {}
    assert reason in skips(FuseInvertedBottleneck(), model, target)[0]


def test_a_dilated_filter_is_left_alone(target: Target) -> None:
    text = PLAIN.text.replace("pads=[2, 2, 2, 2]", "dilations=[2, 2], pads=[4, 4, 4, 4]")
    _refused(text, target, "dilated by [2, 2]")


def test_a_hidden_tensor_that_is_read_twice_is_left_alone(target: Target) -> None:
    text = PLAIN.text.replace("y = Add(p, x)", "q = Conv(ea, wp, bp)\n  y = Add(p, q)")
    _refused(text, target, "also read elsewhere")


@pytest.mark.parametrize("name", ["e", "ea"])
def test_a_graph_output_inside_the_expansion_is_left_alone(name: str, target: Target) -> None:
    text = PLAIN.text.replace("y) {", f"y, float[N,{HIDDEN},12,10] {name}) {{")
    _refused(text, target, "also read elsewhere")


@pytest.mark.parametrize("name", ["d", "da"])
def test_a_graph_output_behind_the_filter_is_left_alone(name: str, target: Target) -> None:
    text = PLAIN.text.replace("y) {", f"y, float[N,{HIDDEN},12,10] {name}) {{")
    _refused(text, target, "no 1x1 convolution alone reads its result")


def test_two_readers_of_the_filtered_tensor(target: Target) -> None:
    text = PLAIN.text.replace("y = Add(p, x)", "q = Conv(da, wp, bp)\n  y = Add(p, q)")
    _refused(text, target, "no 1x1 convolution alone reads its result")


def test_a_gate_that_others_read_or_feed_is_not_a_gate(target: Target) -> None:
    block = Block(gated=True)
    read = block.text.replace("y = Add(p, x)", "z = Mul(p, h) y = Add(z, x)").replace(
        "dg =", "h = Conv(g, wp, bp)\n  dg ="
    )
    fed = block.text.replace(
        "t = Conv<kernel_shape=[1,1]>(sa, wt, bt)",
        "t0 = Conv(sa, wt, bt)\n  u = GlobalAveragePool(x)\n  v = Conv(u, we)\n  t = Add(t0, v)",
    )
    for text in (read, fed):
        assert text != block.text
        model = model_of(text, block.weights)
        assert offers(FuseInvertedBottleneck(), model, target) == {}
        assert "no 1x1 convolution" in skips(FuseInvertedBottleneck(), model, target)[0]


def test_weights_that_are_inputs_or_of_half_precision(target: Target) -> None:
    text = PLAIN.text.replace("] x)", f"] x, float[{HIDDEN},1,5,5] wd)")
    weights = {name: shape for name, shape in PLAIN.weights.items() if name != "wd"}
    model = model_of(text, weights)
    assert offers(FuseInvertedBottleneck(), model, target) == {}
    assert "not a float32 constant" in skips(FuseInvertedBottleneck(), model, target)[0]
    half = PLAIN.model()
    weight = half.graph.initializers["wd"]
    weight.const_value = ir.tensor(np.asarray(constant_array(weight), np.float16), name="wd")
    assert offers(FuseInvertedBottleneck(), half, target) == {}


def test_the_exact_form_and_a_width_compose_or_exclude_one_another(target: Target) -> None:
    """Its two convolutions are of different widths: whatever is written must be a valid model."""
    block = Block(first="", kernel=(5, 5))
    model = block.model()
    exact = offers(FuseInvertedBottleneck(), model, target)["fused_exact"]
    for width in offers(PruneChannels(), model, target).values():
        try:
            changed = rewrite(model, [exact, width])
        except RewriteFailed:
            continue
        onnx.checker.check_model(ir.to_proto(changed), full_check=True)
        assert output_of(changed, noise(block)).shape == output_of(model, noise(block)).shape
