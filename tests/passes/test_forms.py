"""densify_depthwise and fuse_ibn: what they make, where they must not fire, what is exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hwopt.choice import Pass, Risk, Skip, Value
from hwopt.passes.densify_depthwise import DensifyDepthwise
from hwopt.passes.fuse_ibn import FuseInvertedBottleneck
from hwopt.repair.marks import Origin, fit_of, origin_of
from hwopt.rewrite import rewrite
from hwopt.target import Target, read_target
from tests.graphs import CLASSIFIER_WEIGHTS, IBN, IBN_WEIGHTS, classifier, ibn, model_of, output_of

TARGETS = Path(__file__).parents[2] / "targets"


@pytest.fixture(scope="module")
def target() -> Target:
    return read_target(TARGETS / "edge-npu")


def offers(item: Pass, model: ir.Model, target: Target) -> dict[str, Value]:
    return {v.name: v for v in item.values(model, target) if isinstance(v, Value)}


def skips(item: Pass, model: ir.Model, target: Target) -> list[str]:
    return [v.reason for v in item.values(model, target) if isinstance(v, Skip)]


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).standard_normal(shape).astype(np.float32)


def structure(model: ir.Model) -> list[str]:
    return [
        f"{node.op_type}({','.join(v.name or '' for v in node.inputs[:1] if v)})->{node.outputs[0].name}"
        for node in model.graph
    ]


def test_dense_has_the_kernels_on_its_diagonal(target: Target) -> None:
    model = ibn()
    value = offers(DensifyDepthwise(), model, target)["dense"]
    changed = rewrite(model, [value])
    weight = next(n for n in changed.graph if n.outputs[0].name == "d").inputs[1]
    assert weight is not None
    assert weight.const_value is not None
    dense = weight.const_value.numpy()
    assert dense.shape == (48, 48, 5, 5)
    assert np.count_nonzero(dense.any(axis=(2, 3))) == 48
    assert value.risk == Risk.EXACT


@pytest.mark.parametrize("batch", [1, 3])
def test_dense_is_exact_borders_included(target: Target, batch: int) -> None:
    model = ibn()
    changed = rewrite(model, [offers(DensifyDepthwise(), model, target)["dense"]])
    onnx.checker.check_model(ir.to_proto(changed), full_check=True)
    x = noise(batch, 16, 14, 14)
    np.testing.assert_allclose(output_of(changed, x), output_of(model, x), rtol=1e-5, atol=1e-5)


def test_a_depth_multiplier_is_made_dense_too(target: Target) -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 13]>
    m (float[N,4,9,9] x) => (float[N,8,5,5] y) {
      y = Conv<kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2], group=4>(x, w)
    }
    """
    model = model_of(text, {"w": (8, 1, 3, 3)})
    changed = rewrite(model, [offers(DensifyDepthwise(), model, target)["dense"]])
    x = noise(2, 4, 9, 9)
    np.testing.assert_allclose(output_of(changed, x), output_of(model, x), rtol=1e-5, atol=1e-6)


def test_a_grouped_convolution_is_passed_over_with_a_reason(target: Target) -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 13]>
    m (float[N,4,9,9] x) => (float[N,4,9,9] y) { y = Conv<kernel_shape=[1,1], group=2>(x, w) }
    """
    model = model_of(text, {"w": (4, 2, 1, 1)})
    assert offers(DensifyDepthwise(), model, target) == {}
    assert "2 input channels per group" in skips(DensifyDepthwise(), model, target)[0]


def test_fusing_replaces_three_nodes_by_one_and_asks_for_two_fits(target: Target) -> None:
    model = ibn()
    changed = rewrite(model, [offers(FuseInvertedBottleneck(), model, target)["fused"]])
    assert structure(changed) == ["Conv(x)->d", "Clip(d)->da", "Conv(da)->p", "Add(p)->y"]
    fused, project = changed.graph[0], changed.graph[2]
    assert fit_of(fused) is not None
    assert fit_of(project) is not None
    assert origin_of(fused) == Origin("d")
    assert origin_of(project) == Origin("p")
    assert "we" not in changed.graph.initializers


def test_the_smaller_kernel_keeps_the_output_size(target: Target) -> None:
    model = ibn()
    changed = rewrite(model, [offers(FuseInvertedBottleneck(), model, target)["fused_k3"]])
    assert changed.graph[0].attributes["pads"].as_ints() == (1, 1, 1, 1)
    assert output_of(changed, noise(1, 16, 14, 14)).shape == (1, 16, 14, 14)


LINEAR = IBN.replace("ea = Clip(e, zero, six)", "").replace("(ea, wd, bd)", "(e, wd, bd)")


def test_without_activation_and_bias_fusing_is_exact(target: Target) -> None:
    text = LINEAR.replace("(x, we, be)", "(x, we)")
    model = model_of(text, {k: v for k, v in IBN_WEIGHTS.items() if k != "be"})
    value = offers(FuseInvertedBottleneck(), model, target)["fused"]
    assert value.risk == Risk.EXACT
    changed = rewrite(model, [value])
    x = noise(2, 16, 14, 14)
    expected = output_of(model, x)
    np.testing.assert_allclose(output_of(changed, x), expected, atol=1e-4 * np.abs(expected).max())
    assert fit_of(changed.graph[0]) is None


def test_a_biased_expansion_before_a_padded_depthwise_is_not_exact(target: Target) -> None:
    """The composed bias is wrong on the border ring, so the value must not claim to be exact."""
    value = offers(FuseInvertedBottleneck(), model_of(LINEAR, IBN_WEIGHTS), target)["fused"]
    assert value.risk == Risk.LOSSY


def test_an_expansion_that_is_read_twice_is_left_alone(target: Target) -> None:
    text = IBN.replace("y = Add(p, x)", "q = Conv<kernel_shape=[1,1]>(ea, wp, bp)\n  y = Add(p, q)")
    assert offers(FuseInvertedBottleneck(), model_of(text, IBN_WEIGHTS), target) == {}


def test_a_dilated_depthwise_is_passed_over_with_a_reason(target: Target) -> None:
    text = IBN.replace("pads=[2,2,2,2], group=48", "dilations=[2,2], pads=[4,4,4,4], group=48")
    model = model_of(text, IBN_WEIGHTS)
    assert offers(FuseInvertedBottleneck(), model, target) == {}
    assert "dilated" in skips(FuseInvertedBottleneck(), model, target)[0]


def test_form_and_dense_are_values_of_one_choice(target: Target) -> None:
    model = classifier()
    dense = offers(DensifyDepthwise(), model, target)["dense"]
    fused = offers(FuseInvertedBottleneck(), model, target)["fused"]
    assert dense.choice == fused.choice
    assert CLASSIFIER_WEIGHTS["wd"] == (36, 1, 3, 3)
