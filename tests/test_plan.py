"""Plans: written, read, refused, and replayed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hwopt.choice import Risk
from hwopt.errors import BadInput
from hwopt.find import canonicalise, find_choices
from hwopt.plan import Plan, Step, read_plan, steps_of
from hwopt.registry import all_passes
from hwopt.replay import check_plan, planned_assignment
from hwopt.rewrite import chosen_values
from hwopt.target import Target, read_target
from tests.graphs import classifier

TARGETS = Path(__file__).parents[1] / "targets"


@pytest.fixture(scope="module")
def target() -> Target:
    return read_target(TARGETS / "ethos-u55-256")


def plan_for(target: Target, steps: tuple[Step, ...] = (), calibration: str | None = None) -> Plan:
    pin = target.cost_model
    return Plan("m" * 64, target.name, target.config_hash, pin.sha256 if pin else None, calibration, 0, steps)


def test_a_plan_reads_back_as_it_was_written(tmp_path: Path, target: Target) -> None:
    plan = plan_for(target, (Step("form:conv-1", "fuse_ibn", "fused", {"hidden": 48}),), "f" * 64)
    path = tmp_path / "p.plan.json"
    path.write_text(plan.text())
    assert read_plan(path) == plan


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"schema_version": 99}', "schema_version 99"),
        ('{"schema_version": 1}', "lacks the key"),
        (
            '{"schema_version": 1, "steps": [{"choice": 3, "pass": "p", "value": "v"}]}',
            "'choice' is not a text",
        ),
    ],
)
def test_what_is_no_plan_is_refused_in_one_line(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "p.plan.json"
    path.write_text(content)
    with pytest.raises(BadInput, match=words) as caught:
        read_plan(path)
    assert "\n" not in str(caught.value)


def test_hashes_are_checked(target: Target) -> None:
    plan = plan_for(target, calibration="a" * 64)
    check_plan(plan, "m" * 64, target, "a" * 64, lossy=True)
    with pytest.raises(BadInput, match="SHA-256"):
        check_plan(plan, "n" * 64, target, None, lossy=False)
    with pytest.raises(BadInput, match="LOSSY"):
        check_plan(plan, "m" * 64, target, None, lossy=True)
    with pytest.raises(BadInput, match="other calibration data"):
        check_plan(plan, "m" * 64, target, "b" * 64, lossy=True)


def test_steps_find_their_values_again(target: Target) -> None:
    both = frozenset({Risk.EXACT, Risk.LOSSY})
    canonical = canonicalise(classifier(), all_passes(), target)
    choices, _ = find_choices(canonical.model, all_passes(), target, both)
    wanted = {choice.id: choice.values[-1].name for choice in choices}
    steps = steps_of([*canonical.folds, *chosen_values(choices, wanted)])
    again = json.loads(plan_for(target, steps).text())["steps"]
    assert [(s["choice"], s["value"]) for s in again] == [(s.choice, s.value) for s in steps]
    assert planned_assignment(plan_for(target, steps), canonical.folds, choices) == wanted


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Step("form:conv-nothing", "fuse_ibn", "fused", {}), "no choice 'form:conv-nothing'"),
        (None, "offers"),
    ],
)
def test_an_unknown_step_is_named(target: Target, step: Step | None, words: str) -> None:
    choices, _ = find_choices(classifier(), all_passes(), target, frozenset({Risk.EXACT}))
    step = step or Step(choices[0].id, "x", "no such value", {})
    with pytest.raises(BadInput, match=words):
        planned_assignment(plan_for(target, (step,)), (), choices)
