"""Memory of a plan, as its tables tell it, is what liveness finds in the rewritten model."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from pathlib import Path

import onnx_ir as ir
import pytest

from hwopt.choice import Choice, Kind, Risk
from hwopt.find import canonicalise, find_choices, with_places
from hwopt.ir import load_model
from hwopt.memory import MemoryPlan, plan_memory
from hwopt.partition import partition
from hwopt.places import assign_places
from hwopt.pricing.price import find_cells, make_scene, price
from hwopt.registry import all_passes
from hwopt.rewrite import chosen_values, rewrite
from hwopt.scope import Problem
from hwopt.shapes import infer_shapes
from hwopt.target import Target, read_target
from tests.analytic import AnalyticCostModel
from tests.channel_nets import random_net
from tests.graphs import CLASSIFIER, CLASSIFIER_WEIGHTS, Weights, classifier, model_of
from tests.plans import random_plan

TARGETS = Path(__file__).parents[1] / "targets"
FIGURES = Path(__file__).parents[1] / "models" / "figures" / "figures.onnx"
STRUCTURE = ("prune_channels", "fuse_ibn", "fuse_separable", "shrink_kernel", "swap_activation")
BOTH = frozenset({Risk.EXACT, Risk.LOSSY})

# Two branches that start at `s`, written alternately: their groups take turns in the schedule. `s` is
# read again at the end, `f` is a view of a pooled map that two nodes read, `z` is an output early on.
BRANCHES = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[1,3,32,32] x) => (float[1,10] y, float[1,8,16,16] z) {
  s = Conv<kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2]>(x, ws, bs)
  sa = Relu(s)
  z = Conv<kernel_shape=[1,1]>(sa, wz, bz)
  e1 = Conv<kernel_shape=[1,1]>(sa, we1, be1)
  e2 = Conv<kernel_shape=[1,1]>(sa, we2, be2)
  ea1 = Relu(e1)
  ea2 = Clip(e2, zero, six)
  d1 = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=32>(ea1, wd1, bd1)
  d2 = Conv<kernel_shape=[5,5], pads=[2,2,2,2], group=48>(ea2, wd2, bd2)
  da2 = Clip(d2, zero, six)
  da1 = Relu(d1)
  p1 = Conv<kernel_shape=[1,1]>(da1, wp1, bp1)
  p2 = Conv<kernel_shape=[1,1]>(da2, wp2, bp2)
  j = Concat<axis=1>(p1, p2, sa)
  h = Conv<kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2]>(j, wh, bh)
  ha = Sigmoid(h)
  g = GlobalAveragePool(ha)
  f = Flatten<axis=1>(g)
  a = Gemm<transB=1>(f, wa, ba)
  b = Gemm<transB=1>(f, wb, bb)
  y = Add(a, b)
}
"""
WEIGHTS: Weights = {
    "ws": (16, 3, 3, 3), "bs": (16,), "wz": (8, 16, 1, 1), "bz": (8,),
    "we1": (32, 16, 1, 1), "be1": (32,), "we2": (48, 16, 1, 1), "be2": (48,),
    "wd1": (32, 1, 3, 3), "bd1": (32,), "wd2": (48, 1, 5, 5), "bd2": (48,),
    "wp1": (24, 32, 1, 1), "bp1": (24,), "wp2": (16, 48, 1, 1), "bp2": (16,),
    "wh": (40, 56, 3, 3), "bh": (40,), "wa": (10, 40), "ba": (10,), "wb": (10, 40), "bb": (10,),
}  # fmt: skip


def truth(model: ir.Model, target: Target) -> MemoryPlan:
    shapes = infer_shapes(model, {})
    return plan_memory(model, shapes, partition(model, shapes, target), target)


def priced(
    model: ir.Model, target: Target, only: Collection[str] | None = None
) -> tuple[list[Choice], Problem]:
    passes = [p for p in all_passes() if p.name in only] if only else all_passes()
    choices, _ = find_choices(model, passes, target, BOTH)
    return choices, price(make_scene(model, infer_shapes(model, {}), target), choices, AnalyticCostModel())


@cache
def branches() -> tuple[ir.Model, Target, list[Choice], Problem]:
    model, target = model_of(BRANCHES, WEIGHTS), read_target(TARGETS / "edge-npu")
    return model, target, *priced(model, target)


@pytest.mark.parametrize("name", ["edge-npu", "ethos-u55-256"])
def test_the_unchanged_model_holds_what_liveness_says_at_every_step(name: str) -> None:
    model, target = load_model(FIGURES), read_target(TARGETS / name)
    base = canonicalise(with_places(model), all_passes(), target).model
    problem = price(make_scene(base, infer_shapes(base, {}), target), [], AnalyticCostModel())
    steps = [step.live_bytes for step in truth(base, target).steps]
    assert dict(problem.fixed.live) == dict(enumerate(steps))


@pytest.mark.parametrize("seed", range(20))
def test_a_chain_of_blocks_is_exact(seed: int) -> None:
    model, target = classifier(), read_target(TARGETS / "edge-npu")
    choices, problem = _classifier()
    plan = random_plan(choices, problem, seed)
    predicted = problem.total(plan)
    assert predicted is not None
    assert (
        predicted.peak_bytes == truth(rewrite(model, chosen_values(choices, plan)), target).lower_bound_bytes
    )


@cache
def _classifier() -> tuple[list[Choice], Problem]:
    return priced(classifier(), read_target(TARGETS / "edge-npu"))


def test_another_resolution_shrinks_every_step() -> None:
    target = read_target(TARGETS / "edge-npu")
    model = model_of(CLASSIFIER.replace("3,16,16", "3,64,64"), CLASSIFIER_WEIGHTS)
    choices, problem = priced(model, target, {"resize_input", "prune_channels"})
    image = next(choice for choice in choices if choice.kind == Kind.INPUT)
    for seed, value in enumerate(image.values):
        plan = {**random_plan(choices, problem, seed), image.id: value.name}
        predicted = problem.total(plan)
        assert predicted is not None
        found = truth(rewrite(model, chosen_values(choices, plan)), target)
        assert predicted.peak_bytes == found.lower_bound_bytes < truth(model, target).lower_bound_bytes


def test_blocks_that_take_turns_lie_in_cells_with_gaps() -> None:
    model, target, choices, _ = branches()
    cells = find_cells(make_scene(model, infer_shapes(model, {}), target), choices)
    assert any(cell.steps[-1] - cell.steps[0] >= len(cell.steps) for cell in cells)


def test_the_unchanged_branches_hold_what_liveness_says() -> None:
    model, target, _, problem = branches()
    base = problem.total({})
    assert base is not None
    assert base.peak_bytes == truth(model, target).lower_bound_bytes


@pytest.mark.parametrize("seed", range(30))
def test_with_gaps_the_tables_are_never_below_the_truth(seed: int) -> None:
    model, target, choices, problem = branches()
    plan = random_plan(choices, problem, seed)
    predicted = problem.total(plan)
    assert predicted is not None
    true = truth(rewrite(model, chosen_values(choices, plan)), target).lower_bound_bytes
    assert true <= predicted.peak_bytes <= 1.25 * true


@pytest.mark.parametrize("seed", range(16))
def test_nets_with_joins_splits_and_gates_are_exact(seed: int) -> None:
    model, target = random_net(seed), read_target(TARGETS / "edge-npu")
    assign_places(model)
    choices, problem = priced(model, target, STRUCTURE)
    for number in range(4):
        plan = random_plan(choices, problem, number)
        predicted = problem.total(plan)
        assert predicted is not None
        found = truth(rewrite(model, chosen_values(choices, plan)), target)
        assert predicted.peak_bytes == found.lower_bound_bytes
