"""shrink_kernel: what it makes, where it must not fire, and that the fit brings the function back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hwopt.calibration.data import Arrays, from_source
from hwopt.choice import Risk, Skip, Value
from hwopt.ir import interface
from hwopt.nodes import FloatArray
from hwopt.passes.shrink_kernel import ShrinkKernel, folded
from hwopt.repair.effort import Effort
from hwopt.repair.marks import Origin, fit_of, origin_of
from hwopt.repair.reference import Reference
from hwopt.repair.sequence import repair
from hwopt.rewrite import rewrite
from hwopt.target import Target, read_target
from tests.graphs import IBN, IBN_WEIGHTS, classifier, ibn, model_of, output_of

SMALL = Effort(rows=4000, pool=4000, joint_rounds=20, downstream=0)
EDGE_NPU = Path(__file__).parents[2] / "targets" / "edge-npu"

ONE = """
<ir_version: 8, opset_import: ["" : 13]>
m (float[N,8,15,15] x) => (float[N,8,OH,OW] y) {
  y = Conv<ATTRIBUTES>(x, w, b)
}
"""


@pytest.fixture(scope="module")
def target() -> Target:
    return read_target(EDGE_NPU)


def one(attributes: str, kernel: tuple[int, int], groups: int = 8, size: str = "N,8,H,W") -> ir.Model:
    text = ONE.replace("ATTRIBUTES", f"kernel_shape={list(kernel)}, {attributes}, group={groups}")
    return model_of(text.replace("N,8,OH,OW", size), {"w": (8, 8 // groups, *kernel), "b": (8,)})


def offers(model: ir.Model, target: Target) -> dict[str, Value]:
    return {v.name: v for v in ShrinkKernel().values(model, target) if isinstance(v, Value)}


def skips(model: ir.Model, target: Target) -> list[str]:
    return [v.reason for v in ShrinkKernel().values(model, target) if isinstance(v, Skip)]


def smooth(samples: int, channels: int, edge: int) -> FloatArray:
    """Images whose neighbouring pixels resemble one another, as those of real activations do."""
    rng = np.random.default_rng(3)
    coarse = rng.standard_normal((samples, channels, edge // 2 + 1, edge // 2 + 1))
    fine = coarse.repeat(2, axis=2).repeat(2, axis=3)[:, :, :edge, :edge]
    return (fine + 0.2 * rng.standard_normal(fine.shape)).astype(np.float32)


def reference(model: ir.Model, x: FloatArray) -> Reference:
    return Reference(model, from_source(Arrays({"x": x})), threads=1)


def test_the_kernel_is_cut_and_both_convolutions_are_to_be_fitted(target: Target) -> None:
    model = ibn()
    value = offers(model, target)["k3"]
    changed = rewrite(model, [value])
    assert [node.op_type for node in changed.graph] == [node.op_type for node in model.graph]
    small, project = changed.graph[2], changed.graph[4]
    assert small.attributes["pads"].as_ints() == (1, 1, 1, 1)
    assert small.attributes["kernel_shape"].as_ints() == (3, 3)
    assert (origin_of(small), origin_of(project)) == (Origin("d"), Origin("p"))
    assert fit_of(small) is not None
    assert fit_of(project) is not None
    assert value.risk == Risk.LOSSY
    assert interface(changed) == interface(model)
    onnx.checker.check_model(ir.to_proto(changed), full_check=True)


@pytest.mark.parametrize(
    ("kernel", "attributes", "pads"),
    [
        ((5, 5), "pads=[2,2,2,2]", (1, 1, 1, 1)),
        ((5, 5), "pads=[1,1,2,2], strides=[2,2]", (0, 0, 1, 1)),
        ((5, 5), "pads=[4,4,4,4], dilations=[2,2]", (2, 2, 2, 2)),
        ((7, 3), "pads=[3,1,3,1]", (1, 1, 1, 1)),
        ((1, 7), "pads=[0,3,0,3]", (0, 1, 0, 1)),
        ((7, 7), "pads=[3,3,3,3], strides=[2,1]", (1, 1, 1, 1)),
    ],
)
def test_strides_dilations_and_uneven_padding_keep_the_output_size(
    kernel: tuple[int, int], attributes: str, pads: tuple[int, ...], target: Target
) -> None:
    model = one(attributes, kernel)
    x = np.zeros((2, 8, 15, 15), np.float32)
    for value in offers(model, target).values():
        changed = rewrite(model, [value])
        assert output_of(changed, x).shape == output_of(model, x).shape
        onnx.checker.check_model(ir.to_proto(changed), full_check=True)
    assert rewrite(model, [offers(model, target)["k3"]]).graph[0].attributes["pads"].as_ints() == pads


def test_seven_can_become_five_or_three_and_three_nothing(target: Target) -> None:
    assert sorted(offers(one("pads=[3,3,3,3]", (7, 7)), target)) == ["k3", "k5"]
    assert sorted(offers(one("pads=[2,2,2,2]", (5, 5)), target)) == ["k3"]
    assert offers(one("pads=[1,1,1,1]", (3, 3)), target) == {}
    assert skips(one("pads=[1,1,1,1]", (3, 3)), target) == []


@pytest.mark.parametrize(
    ("kernel", "attributes", "reason"),
    [((5, 5), "pads=[0,0,0,0]", "the output would grow"), ((4, 4), "pads=[1,1,2,2]", "no centre")],
)
def test_what_cannot_be_cut_is_passed_over_with_a_reason(
    kernel: tuple[int, int], attributes: str, reason: str, target: Target
) -> None:
    model = one(attributes, kernel)
    assert offers(model, target) == {}
    assert reason in skips(model, target)[0]


def test_a_weight_that_is_an_input_is_none_of_its_business(target: Target) -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 13]>
    m (float[N,4,9,9] x, float[4,1,5,5] w) => (float[N,4,9,9] y) {
      y = Conv<kernel_shape=[5,5], pads=[2,2,2,2], group=4>(x, w)
    }
    """
    assert offers(model_of(text, {}), target) == {}


def test_what_is_cut_off_goes_to_the_nearest_tap(target: Target) -> None:
    weight = np.arange(25, dtype=np.float32).reshape(1, 1, 5, 5)
    small = folded(weight, 3)
    assert small.shape == (1, 1, 3, 3)
    assert small[0, 0, 1, 1] == 12
    assert small[0, 0, 0, 0] == 0 + 1 + 5 + 6
    assert small.sum() == weight.sum()
    model = one("pads=[2,2,2,2]", (5, 5), groups=1)
    flat = np.ones((1, 8, 15, 15), np.float32)
    changed = rewrite(model, [offers(model, target)["k3"]])
    np.testing.assert_allclose(
        output_of(changed, flat)[:, :, 2:-2, 2:-2], output_of(model, flat)[:, :, 2:-2, 2:-2], rtol=1e-4
    )


def test_a_kernel_whose_outer_ring_is_zero_comes_back_exactly(target: Target) -> None:
    """The function can be reproduced, so the fit must find it, at the border, too."""
    model = ibn()
    weight = model.graph.initializers["wd"]
    assert weight.const_value is not None
    ring = weight.const_value.numpy().copy()
    ring[:, :, (0, -1)] = 0
    ring[:, :, :, (0, -1)] = 0
    weight.const_value = ir.tensor(ring, name="wd")
    x = smooth(60, 16, 14)
    changed = rewrite(model, [offers(model, target)["k3"]])
    fitted = repair(reference(model, x), changed, range(4), seed=0, effort=SMALL)
    wanted = output_of(model, x)
    np.testing.assert_allclose(output_of(fitted, x), wanted, atol=2e-3 * np.abs(wanted).max())


def test_the_fit_is_no_worse_at_the_border_than_inside(target: Target) -> None:
    model = ibn()
    x = smooth(80, 16, 14)
    changed = rewrite(model, [offers(model, target)["k3"]])
    base = reference(model, x)
    fitted = repair(base, changed, range(4), seed=0, effort=SMALL)
    held_out = x[list(base.calibration.folds[4])]
    wrong = np.abs(output_of(fitted, held_out) - output_of(model, held_out)).mean(axis=(0, 1))
    start = np.abs(output_of(changed, held_out) - output_of(model, held_out)).mean()
    inside = np.zeros_like(wrong, dtype=np.bool_)
    inside[2:-2, 2:-2] = True
    assert wrong[~inside].mean() <= wrong[inside].mean()
    assert wrong.mean() < 0.85 * start


def test_it_shares_the_choice_with_the_other_forms_of_the_block(target: Target) -> None:
    text = IBN.replace("kernel_shape=[5,5], pads=[2,2,2,2]", "kernel_shape=[7,7], pads=[3,3,3,3]")
    model = model_of(text, {**IBN_WEIGHTS, "wd": (48, 1, 7, 7)})
    found = offers(model, target)
    assert len({value.choice for value in found.values()}) == 1
    assert found["k3"].choice.startswith("form:")
    assert offers(classifier(), target) == {}
