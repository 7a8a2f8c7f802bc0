"""Tables: what they add up to is what the rewritten model costs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import onnx_ir as ir
import pytest

from hwopt.assess import assess
from hwopt.choice import Choice, Kind, Risk
from hwopt.find import find_choices
from hwopt.places import assign_places
from hwopt.pricing.cells import left_out
from hwopt.pricing.price import Scene, find_cells, make_scene, price
from hwopt.registry import all_passes
from hwopt.rewrite import chosen_values, rewrite
from hwopt.scope import Problem
from hwopt.search import Budget
from hwopt.search.milp import solve
from hwopt.shapes import infer_shapes
from hwopt.target import Target, read_target
from hwopt.trace import Recorder
from tests.analytic import AnalyticCostModel
from tests.graphs import classifier, model_of
from tests.plans import random_plan

TARGETS = Path(__file__).parents[1] / "targets"
BOTH = frozenset({Risk.EXACT, Risk.LOSSY})


@dataclass(frozen=True)
class Case:
    model: ir.Model
    target: Target
    choices: list[Choice]
    scene: Scene
    problem: Problem
    told: Recorder


@cache
def priced(name: str) -> Case:
    """The classifier with everything that may be decided about it on that target."""
    model, target, told = classifier(), read_target(TARGETS / name), Recorder()
    choices, _ = find_choices(model, all_passes(), target, BOTH)
    scene = make_scene(model, infer_shapes(model, {}), target)
    return Case(model, target, choices, scene, price(scene, choices, AnalyticCostModel(), (told,)), told)


@pytest.mark.parametrize("name", ["edge-npu", "ethos-u55-256"])
def test_the_unchanged_model_costs_what_its_parts_cost(name: str) -> None:
    case = priced(name)
    base, whole = case.problem.total({}), assess(case.model, {}, case.target, AnalyticCostModel())
    assert base is not None
    assert base.latency_us.value == pytest.approx(whole.latency_us.value)
    assert base.weight_bytes == whole.weight_bytes
    assert base.macs == whole.macs
    assert base.peak_bytes == whole.memory.lower_bound_bytes


@pytest.mark.parametrize("seed", range(12))
def test_a_random_plan_costs_what_the_tables_say(seed: int) -> None:
    case = priced("ethos-u55-256")
    assignment = random_plan(case.choices, case.problem, seed)
    predicted = case.problem.total(assignment)
    assert predicted is not None
    changed = rewrite(case.model, chosen_values(case.choices, assignment))
    whole = assess(changed, {}, case.target, AnalyticCostModel())
    assert predicted.latency_us.value == pytest.approx(whole.latency_us.value)
    # which channels survive pruning may depend on another cell's form: their entropy differs a little
    assert predicted.weight_bytes == pytest.approx(whole.weight_bytes, rel=1e-2)
    assert predicted.macs == whole.macs
    assert predicted.peak_bytes == whole.memory.lower_bound_bytes


def test_every_subgraph_lies_in_one_cell() -> None:
    case = priced("edge-npu")
    steps = [step for cell in find_cells(case.scene, case.choices) for step in cell.steps]
    assert sorted(steps) == list(range(len(case.scene.groups)))


def test_what_a_table_has_no_room_for_is_told() -> None:
    case = priced("ethos-u55-256")
    left = [left_out(cell.choices) for cell in find_cells(case.scene, case.choices)]
    told = [event.reason for event in case.told.skipped() if event.pass_name == "price"]
    assert len(told) == sum(map(bool, left)) > 0
    for values, reason in zip(filter(None, left), told, strict=True):
        assert all(f"{value.choice}={value.name}" in reason for value in values)


def test_a_starving_depthwise_is_made_dense_or_fused() -> None:
    case = priced("edge-npu")
    outcome = solve(case.problem, Budget())
    assert outcome.assignment is not None
    form = next(c.id for c in case.choices if c.id.startswith("form:"))
    assert outcome.assignment[form] in ("dense", "fused")


NARROW_THEN_WIDE = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[1,3,16,16] x) => (float[1,10] y) {
  a = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, wa)
  ar = Relu(a)
  b = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(ar, wb)
  br = Relu(b)
  c = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(br, wc)
  cr = Relu(c)
  d = Conv<kernel_shape=[1,1]>(cr, wd)
  dr = Relu(d)
  g = GlobalAveragePool(dr)
  f = Flatten<axis=1>(g)
  y = Gemm<transB=1>(f, wg)
}
"""
NARROW_WEIGHTS = {
    "wa": (8, 3, 3, 3),
    "wb": (8, 8, 3, 3),
    "wc": (8, 8, 3, 3),
    "wd": (64, 8, 1, 1),
    "wg": (10, 64),
}


@pytest.mark.parametrize("name", ["edge-npu", "ethos-u55-256"])
def test_a_value_about_the_whole_model_is_possible_where_some_of_it_stays(name: str) -> None:
    """Narrow groups round to themselves at a mild share: their cells are as they were, not impossible."""
    model, target = model_of(NARROW_THEN_WIDE, NARROW_WEIGHTS), read_target(TARGETS / name)
    assign_places(model)
    choices, _ = find_choices(model, all_passes(), target, BOTH)
    scene = make_scene(model, infer_shapes(model, {}), target)
    problem = price(scene, choices, AnalyticCostModel())
    whole = next(choice for choice in choices if choice.kind == Kind.MODEL)
    assert whole.values
    for value in whole.values:
        found = problem.total({whole.id: value.name})
        assert found is not None, value.name
        assert found.macs == assess(rewrite(model, [value]), {}, target, AnalyticCostModel()).macs
