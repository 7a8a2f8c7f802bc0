"""fuse_separable: one convolution for two, where that is exact, and where it must not fire."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hwopt.choice import Risk, Skip, Value
from hwopt.nodes import FloatArray
from hwopt.passes.fuse_separable import FuseSeparable
from hwopt.passes.prune_channels import PruneChannels
from hwopt.registry import load_target
from hwopt.repair.marks import Origin, fit_of, origin_of
from hwopt.rewrite import rewrite
from hwopt.target import Target
from tests.graphs import model_of, output_of
from tests.passes.blocks import HIDDEN, Block

PLAIN = Block(expanded=False)
VARIANTS = {
    "relu6": PLAIN,
    "relu k5 stride 2": replace(PLAIN, second="relu", kernel=(5, 5), strides=(2, 2), pads=(1, 1, 2, 2)),
    "hardswish k7": replace(PLAIN, second="hardswish", kernel=(7, 7)),
    "silu 5x3": replace(PLAIN, second="silu", kernel=(5, 3)),
    "hardswish spelled out": replace(PLAIN, second="hardswish spelled out"),
    "linear": replace(PLAIN, second=""),
    "linear k5 stride 2 by 1": replace(PLAIN, second="", kernel=(5, 5), strides=(2, 1)),
    "linear, asymmetric pads": replace(PLAIN, second="", kernel=(5, 5), pads=(1, 2, 3, 2)),
    "linear behind an expansion": Block(second=""),
}
every = pytest.mark.parametrize("block", VARIANTS.values(), ids=VARIANTS.keys())


@pytest.fixture(scope="module")
def target() -> Target:
    return load_target("edge-npu")


def offers(model: ir.Model, target: Target) -> dict[str, Value]:
    return {v.name: v for v in FuseSeparable().values(model, target) if isinstance(v, Value)}


def skips(model: ir.Model, target: Target) -> list[str]:
    return [v.reason for v in FuseSeparable().values(model, target) if isinstance(v, Skip)]


def noise(block: Block) -> FloatArray:
    return np.random.default_rng(5).standard_normal((2, block.channels, *block.size)).astype(np.float32)


def kinds(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph if node.op_type != "Constant"]


@every
def test_one_convolution_takes_the_place_of_two(block: Block, target: Target) -> None:
    """It starts as the composition without the activation between, borders included."""
    model, linear = block.model(), replace(block, second="").model()
    value = offers(model, target)["merged"]
    changed = rewrite(model, [value])
    onnx.checker.check_model(ir.to_proto(changed), full_check=True)
    assert kinds(changed) == [
        *(["Conv", "Clip"] if block.expanded else []),
        "Conv",
        *(["Add"] * block.residual),
    ]
    expected = output_of(linear, noise(block))
    np.testing.assert_allclose(output_of(changed, noise(block)), expected, atol=1e-5 * np.abs(expected).max())
    last = next(node for node in changed.graph if node.outputs[0].name in ("p", "y"))
    assert value.risk == (Risk.LOSSY if block.second else Risk.EXACT)
    assert (fit_of(last) is not None) == bool(block.second)
    assert origin_of(last) == (Origin(str(last.outputs[0].name)) if block.second else None)


@pytest.mark.parametrize("second", ["relu6", ""])
def test_smaller_kernels_keep_the_output_size(second: str, target: Target) -> None:
    block = replace(PLAIN, second=second, kernel=(7, 5), strides=(2, 2))
    model = block.model()
    found = offers(model, target)
    assert set(found) == {"merged", "merged_k3", "dense_k3"}
    for name in ("merged_k3", "dense_k3"):
        assert found[name].risk == Risk.LOSSY
        changed = rewrite(model, [found[name]])
        onnx.checker.check_model(ir.to_proto(changed), full_check=True)
        assert changed.graph[0].attributes["kernel_shape"].as_ints() == (3, 3)
        assert output_of(changed, noise(block)).shape == output_of(model, noise(block)).shape
        fitted = [node.outputs[0].name for node in changed.graph if fit_of(node)]
        assert fitted == (["y"] if name == "merged_k3" else ["d", "y"])


def test_a_gate_stays_and_only_the_filter_becomes_dense(target: Target) -> None:
    block = replace(PLAIN, kernel=(5, 5), gated=True)
    model = block.model()
    assert set(offers(model, target)) == {"dense_k3"}
    changed = rewrite(model, [offers(model, target)["dense_k3"]])
    assert kinds(changed) == kinds(model)


def test_forms_and_widths_compose(target: Target) -> None:
    """The stream that the merged convolution reads is pruned with it."""
    block = replace(PLAIN, kernel=(5, 5), strides=(2, 2))
    stem = "c = Conv<pads=[1, 1, 1, 1]>(x, wc)\n  d = Conv"
    text = block.text.replace("(x, wd, bd)", "(c, wd, bd)").replace("d = Conv", stem)
    model = model_of(text, {**block.weights, "wc": (HIDDEN, HIDDEN, 3, 3)})
    widths = [v for v in PruneChannels().values(model, target) if isinstance(v, Value)]
    assert widths
    for form in offers(model, target).values():
        for width in widths:
            changed = rewrite(model, [form, width])
            onnx.checker.check_model(ir.to_proto(changed), full_check=True)
            assert output_of(changed, noise(block)).shape[1] == HIDDEN


# --- where it must not fire ----------------------------------------------------------------


def test_an_inverted_bottleneck_is_not_merged(target: Target) -> None:
    assert offers(Block().model(), target) == {}


def test_a_shared_expansion_is_not_taken_for_a_missing_one(target: Target) -> None:
    block = Block(kernel=(5, 5))
    text = block.text.replace("y = Add(p, x)", "q = Conv(ea, wp, bp)\n  y = Add(p, q)")
    assert offers(model_of(text, block.weights), target) == {}


def test_a_dilated_filter_is_passed_over_with_a_reason(target: Target) -> None:
    text = PLAIN.text.replace("pads=[1, 1, 1, 1]", "dilations=[2, 2], pads=[2, 2, 2, 2]")
    model = model_of(text, PLAIN.weights)
    assert offers(model, target) == {}
    assert "dilated by [2, 2]" in skips(model, target)[0]


@pytest.mark.parametrize("extra", ["d", "da"])
def test_a_graph_output_in_the_middle(extra: str, target: Target) -> None:
    text = PLAIN.text.replace("y) {", f"y, float[N,{HIDDEN},12,10] {extra}) {{")
    assert offers(model_of(text, PLAIN.weights), target) == {}


def test_two_readers_of_the_filtered_tensor(target: Target) -> None:
    text = PLAIN.text.replace("y = Add(p, x)", "q = Conv(da, wp, bp)\n  y = Add(p, q)")
    assert offers(model_of(text, PLAIN.weights), target) == {}


def test_weights_that_are_inputs(target: Target) -> None:
    text = PLAIN.text.replace("] x)", f"] x, float[{HIDDEN},1,3,3] wd)")
    weights = {name: shape for name, shape in PLAIN.weights.items() if name != "wd"}
    assert offers(model_of(text, weights), target) == {}
