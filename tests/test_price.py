"""Tables: what they add up to is what the rewritten model costs."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import onnx_ir as ir
import pytest

from hwopt.assess import assess
from hwopt.choice import Choice, Risk
from hwopt.find import find_choices
from hwopt.price import find_cells, make_scene, price
from hwopt.registry import all_passes
from hwopt.rewrite import chosen_values, rewrite
from hwopt.scope import Problem
from hwopt.search import Budget
from hwopt.search.milp import solve
from hwopt.shapes import infer_shapes
from hwopt.target import Target, read_target
from tests.analytic import AnalyticCostModel
from tests.graphs import classifier
from tests.plans import random_plan

TARGETS = Path(__file__).parents[1] / "targets"
BOTH = frozenset({Risk.EXACT, Risk.LOSSY})


def priced(model: ir.Model, target: Target) -> tuple[list[Choice], Problem]:
    choices, _ = find_choices(model, all_passes(), target, BOTH)
    scene = make_scene(model, infer_shapes(model, {}), target)
    return choices, price(scene, choices, AnalyticCostModel())


@pytest.mark.parametrize("name", ["edge-npu", "ethos-u55-256"])
def test_the_unchanged_model_costs_what_its_parts_cost(name: str) -> None:
    model, target = classifier(), read_target(TARGETS / name)
    _, problem = priced(model, target)
    base, whole = problem.total({}), assess(model, {}, target, AnalyticCostModel())
    assert base is not None
    assert base.latency_us.value == pytest.approx(whole.latency_us.value)
    assert base.weight_bytes == whole.weight_bytes
    assert base.macs == whole.macs
    assert base.peak_bytes == whole.memory.lower_bound_bytes


@cache
def priced_once() -> tuple[list[Choice], Problem]:
    return priced(classifier(), read_target(TARGETS / "ethos-u55-256"))


@pytest.mark.parametrize("seed", range(12))
def test_a_random_plan_costs_what_the_tables_say(seed: int) -> None:
    model, target = classifier(), read_target(TARGETS / "ethos-u55-256")
    choices, problem = priced_once()
    assignment = random_plan(choices, problem, seed)
    predicted = problem.total(assignment)
    assert predicted is not None
    changed = rewrite(model, chosen_values(choices, assignment))
    whole = assess(changed, {}, target, AnalyticCostModel())
    assert predicted.latency_us.value == pytest.approx(whole.latency_us.value)
    # which channels survive pruning may depend on another cell's form: their entropy differs a little
    assert predicted.weight_bytes == pytest.approx(whole.weight_bytes, rel=1e-2)
    assert predicted.macs == whole.macs
    assert predicted.peak_bytes == whole.memory.lower_bound_bytes


def test_every_subgraph_lies_in_one_cell() -> None:
    model, target = classifier(), read_target(TARGETS / "edge-npu")
    choices, _ = find_choices(model, all_passes(), target, BOTH)
    scene = make_scene(model, infer_shapes(model, {}), target)
    steps = [step for cell in find_cells(scene, choices) for step in cell.steps]
    assert sorted(steps) == list(range(len(scene.groups)))


def test_a_starving_depthwise_is_made_dense_or_fused() -> None:
    model, target = classifier(), read_target(TARGETS / "edge-npu")
    choices, problem = priced(model, target)
    outcome = solve(problem, Budget())
    assert outcome.assignment is not None
    form = next(c.id for c in choices if c.id.startswith("form:"))
    assert outcome.assignment[form] in ("dense", "fused")
