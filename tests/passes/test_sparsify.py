"""sparsify: what it offers to whom, what it zeroes, and what it leaves for the repair."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hwopt.choice import Risk, Skip, Value
from hwopt.descriptor import describe_array
from hwopt.nodes import FloatArray, constant_array
from hwopt.passes.sparsify import Sparsify
from hwopt.repair.marks import Fit, Origin, fit_of, origin_of
from hwopt.repair.masks import Sparsity
from hwopt.rewrite import rewrite
from hwopt.target import Target, read_target
from tests.graphs import classifier, model_of

TARGETS = Path(__file__).parents[2] / "targets"
HEADER = '<ir_version: 8, opset_import: ["" : 13]> '


@pytest.fixture(scope="module")
def u55() -> Target:
    return read_target(TARGETS / "ethos-u55-256")


def skipping(target: Target, *patterns: str) -> Target:
    return replace(target, weights_compressed=False, skipped_sparsity=patterns)


def offers(model: ir.Model, target: Target) -> list[Value]:
    return [v for v in Sparsify().values(model, target) if isinstance(v, Value)]


def weight_of(model: ir.Model, output: str) -> FloatArray:
    node = next(n for n in model.graph if n.outputs[0].name == output)
    array = constant_array(node.inputs[1])
    assert array is not None
    return np.asarray(array, np.float32)


def test_a_target_that_gains_nothing_gets_one_reason(u55: Target) -> None:
    found = list(Sparsify().values(classifier(), skipping(u55)))
    assert [v.reason for v in found if isinstance(v, Skip)] == ["ethos-u55-256 gains nothing from zeros"]
    assert len(found) == 1


def test_what_gains_anywhere_is_offered_no_pattern(u55: Target) -> None:
    assert {v.name for v in offers(classifier(), u55)} == {f"zeros_{n}" for n in (25, 40, 50, 60, 75, 90)}


def test_only_declared_patterns_are_offered(u55: Target) -> None:
    assert {v.name for v in offers(classifier(), skipping(u55, "2:4"))} == {"zeros_2_of_4"}
    blocks = offers(classifier(), skipping(u55, "block"))
    assert {v.name for v in blocks} == {"zeros_block_25", "zeros_block_50", "zeros_block_75"}


def test_groups_that_do_not_fit_are_skipped_with_a_reason(u55: Target) -> None:
    found = list(Sparsify().values(classifier(), skipping(u55, "2:4")))
    reasons = {v.node: v.reason for v in found if isinstance(v, Skip)}
    assert "zeros_2_of_4: no multiple of 4 input channels" in reasons.values()  # the stem reads three
    assert any("grouped" in reason for reason in reasons.values())  # the depthwise convolution


def test_the_smallest_weights_are_zeroed_and_the_dense_ones_kept_for_repair(u55: Target) -> None:
    model = classifier()
    value = next(v for v in offers(model, u55) if v.name == "zeros_50" and "gemm" in v.choice)
    assert value.risk is Risk.LOSSY
    changed = rewrite(model, [value])
    before, after = weight_of(model, "y"), weight_of(changed, "y")
    assert np.count_nonzero(after) == 300
    assert np.abs(after[after != 0]).min() >= np.abs(before[after == 0]).max()
    gemm = next(n for n in changed.graph if n.op_type == "Gemm")
    assert fit_of(gemm) == Fit(sparsity=Sparsity(0.5))
    assert origin_of(gemm) == Origin("y")
    fit = fit_of(gemm)
    assert fit is not None
    assert fit.dense is not None
    np.testing.assert_array_equal(fit.dense[0], before.T)
    onnx.checker.check_model(ir.to_proto(changed), full_check=True)


@pytest.mark.parametrize(
    "op", ["Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w)", "Conv<kernel_shape=[1,1]>(x, w)"]
)
def test_two_of_four_is_what_the_descriptor_calls_it(op: str, u55: Target) -> None:
    text = HEADER + f"net (float[N,8,6,6] x) => (float[N,12,6,6] y) {{ y = {op} }}"
    size = 3 if "3,3" in op else 1
    model = model_of(text, {"w": (12, 8, size, size)})
    (value,) = offers(model, skipping(u55, "2:4"))
    described = describe_array(weight_of(rewrite(model, [value]), "y"), 0, "int8")
    assert described.pattern == "2:4"
    assert described.zeros == pytest.approx(0.5, abs=0.02)


def test_blocks_are_what_the_descriptor_calls_them(u55: Target) -> None:
    text = HEADER + "net (float[N,16,6,6] x) => (float[N,32,6,6] y) { y = Conv<pads=[1,1,1,1]>(x, w) }"
    model = model_of(text, {"w": (32, 16, 3, 3)})
    value = next(v for v in offers(model, skipping(u55, "block")) if v.name == "zeros_block_50")
    described = describe_array(weight_of(rewrite(model, [value]), "y"), 0, "int8")
    assert (described.pattern, described.zeros) == ("block", 0.5)
