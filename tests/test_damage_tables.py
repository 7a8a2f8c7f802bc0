"""Damage tables: what is measured, what is added up, and when the sum is replaced by a measurement."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from hwopt.choice import KEEP, Choice, Kind, Risk, Value
from hwopt.damage.tables import DamageTables, coupled, worthwhile
from hwopt.errors import RewriteFailed
from hwopt.find import find_choices
from hwopt.pricing.price import make_scene, price
from hwopt.registry import all_passes
from hwopt.scope import Problem
from hwopt.search import Objective
from hwopt.shapes import infer_shapes
from hwopt.target import read_target
from tests.analytic import AnalyticCostModel
from tests.graphs import classifier

TARGETS = Path(__file__).parents[1] / "targets"


@pytest.fixture
def priced() -> tuple[list[Choice], Problem]:
    model, target = classifier(), read_target(TARGETS / "edge-npu")
    found, _ = find_choices(model, all_passes(), target, frozenset({Risk.EXACT, Risk.LOSSY}))
    choices = [choice for choice in found if choice.kind == Kind.FORM or _hidden(choice)]
    scene = make_scene(model, infer_shapes(model, {}), target)
    return choices, price(scene, choices, AnalyticCostModel())


def _hidden(choice: Choice) -> bool:
    """Whether it is the width of hidden channels, not of the stream of 12 through the one block."""
    return choice.kind == Kind.WIDTH and choice.values[0].parameters["from"] != 12


class Counter:
    """Measures 0.1 per value, 0.15 for two together, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, values: Sequence[Value]) -> float:
        self.asked.append(tuple(value.name for value in values))
        return 0.1 if len(values) == 1 else 0.15


def test_form_and_hidden_width_of_a_block_are_one_group(priced: tuple[list[Choice], Problem]) -> None:
    choices, _ = priced
    groups = [[choice.kind for choice in group] for group in coupled(choices)]
    assert [Kind.FORM, Kind.WIDTH] in groups


def test_singles_are_measured_and_joint_values_added_up(priced: tuple[list[Choice], Problem]) -> None:
    choices, problem = priced
    measure = Counter()
    tables = DamageTables(choices, measure)
    tables.measure_singles(problem, [Objective.LATENCY])
    assert measure.asked
    assert all(len(names) == 1 for names in measure.asked)
    block = next(scope for scope in tables.scopes() if len(scope.choices) == 2)
    assert block.table[KEEP, KEEP].damage == 0.0
    joint = {key: entry.damage for key, entry in block.table.items() if "fused" in key}
    assert joint["fused", KEEP] == pytest.approx(0.1)
    assert any(damage == pytest.approx(0.2) for damage in joint.values())


def test_a_joint_value_that_a_plan_wants_is_measured_once(priced: tuple[list[Choice], Problem]) -> None:
    choices, problem = priced
    measure = Counter()
    tables = DamageTables(choices, measure)
    tables.measure_singles(problem, [Objective.LATENCY])
    block = next(scope for scope in tables.scopes() if len(scope.choices) == 2)
    wanted = next(key for key, entry in block.table.items() if entry.damage == pytest.approx(0.2))
    assignment = dict(zip(block.choices, wanted, strict=True))
    assert tables.measure_chosen(assignment)
    assert not tables.measure_chosen(assignment)
    again = next(scope for scope in tables.scopes() if scope.choices == block.choices)
    assert again.table[wanted].damage == pytest.approx(0.15)


def test_exact_values_do_no_damage(priced: tuple[list[Choice], Problem]) -> None:
    choices, problem = priced
    tables = DamageTables(choices, Counter())
    tables.measure_singles(problem, [Objective.LATENCY])
    block = next(scope for scope in tables.scopes() if len(scope.choices) == 2)
    assert block.table["dense", KEEP].damage == 0.0


def test_what_cannot_be_written_is_impossible(priced: tuple[list[Choice], Problem]) -> None:
    choices, problem = priced

    def refuse(values: Sequence[Value]) -> float:
        raise RewriteFailed("no")

    tables = DamageTables(choices, refuse)
    tables.measure_singles(problem, [Objective.LATENCY])
    block = next(scope for scope in tables.scopes() if len(scope.choices) == 2)
    assert ("fused", KEEP) not in block.table
    assert (KEEP, KEEP) in block.table


def test_what_saves_nothing_is_not_measured(priced: tuple[list[Choice], Problem]) -> None:
    choices, problem = priced
    measure = Counter()
    DamageTables(choices, measure).measure_singles(problem, [Objective.DAMAGE])
    assert measure.asked == []


def test_what_saves_most_is_measured_first_and_what_was_not_measured_is_not_offered(
    priced: tuple[list[Choice], Problem],
) -> None:
    choices, problem = priced
    full, cut = Counter(), Counter()
    whole = DamageTables(choices, full)
    whole.measure_singles(problem, [Objective.LATENCY])
    tables = DamageTables(choices, cut)
    tables.measure_singles(problem, [Objective.LATENCY], lambda: len(cut.asked) >= 1)
    gains = [worthwhile(problem, group, Objective.LATENCY) for group in coupled(choices)]
    shares = {tuple(n for n in key if n != KEEP): gain for found in gains for key, gain in found.items()}
    best = sorted((shares[names] for names in full.asked), reverse=True)[:2]  # two at the same time
    assert 1 <= len(cut.asked) <= 2
    assert all(shares[names] >= best[-1] for names in cut.asked)
    offered = {key for scope in tables.scopes() for key in scope.table if set(key) != {KEEP}}
    everything = {key for scope in whole.scopes() for key in scope.table if set(key) != {KEEP}}
    assert offered < everything
