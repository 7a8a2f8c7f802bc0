"""A plan that somebody edited: carried out as it stands, each step priced; mistakes are named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hwopt
from hwopt.errors import BadInput, BudgetNotMet
from hwopt.estimate import Estimate
from tests.conftest import Hwopt
from tests.graphs import write_classifier

TARGET = "edge-npu"
Steps = list[dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edited")
    write_classifier(folder)
    return folder


@pytest.fixture(scope="module")
def lossy(folder: Path) -> hwopt.Result:
    return hwopt.optimize(
        folder / "model.onnx", target=TARGET, calib=folder / "calib.npz", max_divergence=0.5, refine=0,
        dry_run=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def replayed(folder: Path, lossy: hwopt.Result) -> Callable[..., hwopt.Result]:
    """replayed(edit, **options): `edit` gets the plan's steps as the file holds them."""

    def run(edit: Callable[[Steps], None] = lambda steps: None, **options: Any) -> hwopt.Result:
        plan = lossy.plan.to_json()
        edit(plan["steps"])
        plan.update(options.pop("keys", {}))
        (folder / "edited.json").write_text(json.dumps(plan))
        return hwopt.optimize(
            folder / "model.onnx", target=TARGET, plan=folder / "edited.json", dry_run=True, refine=0,
            calib=folder / "calib.npz", **options,
        )  # fmt: skip

    return run


def step(choice: str, value: str) -> dict[str, Any]:
    return {"choice": choice, "pass": "by hand", "value": value, "parameters": {}}


def changeable(lossy: hwopt.Result) -> tuple[str, str]:
    """A choice that the plan decides, and a value that it did not take."""
    row = next(r for r in lossy.report.choices if r.kind == "width" and len(r.values) > 2)
    return row.id, next(v.name for v in row.values if v.name not in ("keep", row.chosen))


def test_every_step_is_priced_with_its_damage(
    lossy: hwopt.Result, replayed: Callable[..., hwopt.Result]
) -> None:
    searched = {(r.id, v.name): v for r in lossy.report.choices for v in r.values if v.name == r.chosen}
    result = replayed()
    assert result.plan.steps == lossy.plan.steps
    rows = [row for row in result.report.choices if row.kind != "canonical"]
    assert [row.id for row in rows] == [
        s.choice for s in lossy.plan.steps if s.choice in {r.id for r in rows}
    ]
    assert any(v.risk == "lossy" for row in rows for v in row.values)
    for row in rows:
        priced = {value.name: value for value in row.values}[row.chosen]
        for figure in (priced.latency_us, priced.peak_bytes, priced.weight_bytes, priced.damage):
            assert isinstance(figure, Estimate)
        before = searched[row.id, row.chosen]
        if priced.risk == "lossy" and isinstance(before.damage, Estimate):
            assert isinstance(priced.damage, Estimate)
            assert priced.damage.value > 0
            if before.damage.source == priced.damage.source:  # not read off between others
                assert priced.damage.value == pytest.approx(before.damage.value)


def test_steps_are_taken_out_changed_and_reordered(
    lossy: hwopt.Result, replayed: Callable[..., hwopt.Result]
) -> None:
    choice, value = changeable(lossy)
    gone = next(s for s in lossy.plan.steps if s.choice != choice)

    def edit(steps: Steps) -> None:
        steps[:] = [s for s in steps if s["choice"] not in (choice, gone.choice)]
        steps.insert(0, step(choice, value))
        steps.reverse()
        steps.append(step("width:model", "keep"))

    result = replayed(edit)
    kept = {(s.choice, s.value) for s in lossy.plan.steps if s.choice not in (choice, gone.choice)}
    assert {(s.choice, s.value) for s in result.plan.steps} == kept | {(choice, value)}


def test_a_plan_may_be_worse_than_the_input(
    lossy: hwopt.Result, replayed: Callable[..., hwopt.Result]
) -> None:
    result = replayed(lambda steps: steps.clear())
    assert result.plan.steps == ()


@pytest.mark.parametrize(
    ("choice", "value", "words"),
    [
        ("form:conv-nothing", "fused", "no choice 'form:conv-nothing'; the nearest is 'form:conv-"),
        ("width:model", "x0.95", "'width:model' offers keep, x0.9"),
        ("width:model", "x0.5", "only training mends width:model = x0.5"),
    ],
)
def test_a_step_that_cannot_be_made_is_named(
    replayed: Callable[..., hwopt.Result], choice: str, value: str, words: str
) -> None:
    with pytest.raises(BadInput) as caught:
        replayed(lambda steps: steps.insert(0, step(choice, value)))
    assert "step 1 of the plan" in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_steps_that_exclude_one_another_are_named(
    lossy: hwopt.Result, replayed: Callable[..., hwopt.Result]
) -> None:
    width, narrow = next(
        (row.id, value.name)
        for row in lossy.report.choices
        if row.kind == "width"
        for value in row.values[1:]
        if value.risk == "lossy"
    )

    def edit(steps: Steps) -> None:
        steps[:] = [step("width:model", "x0.75"), step(width, narrow)]

    with pytest.raises(BadInput, match="exclude one another"):
        replayed(edit)


def test_a_step_twice_and_another_file_are_refused(replayed: Callable[..., hwopt.Result]) -> None:
    with pytest.raises(BadInput, match="a second time"):
        replayed(lambda steps: steps.extend([step("width:model", "x0.9")] * 2))
    with pytest.raises(BadInput, match=r'write "model_sha256": "[0-9a-f]{64}" into the plan'):
        replayed(keys={"model_sha256": "0" * 64})


def test_limits_beside_a_plan_hold(replayed: Callable[..., hwopt.Result]) -> None:
    with pytest.raises(BudgetNotMet, match="the plan breaks a limit: --max-latency 1 us"):
        replayed(max_latency=1.0)
    with pytest.raises(BudgetNotMet, match="the plan breaks a limit: --max-divergence 1e-09"):
        replayed(max_divergence=1e-9)


def test_a_dry_run_writes_the_plan_and_nothing_else(folder: Path, tmp_path: Path, hwopt: Hwopt) -> None:
    common = ("optimize", str(folder / "model.onnx"), "-t", TARGET, "--refine", "0", "--dry-run")
    done = hwopt(*common, "--write-plan", "draft.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["draft.json"]
    assert hwopt(*common, "--write-plan", "draft.json", cwd=tmp_path).returncode == 2  # it is there now
    plan = json.loads((tmp_path / "draft.json").read_text())
    plan["steps"].append(step("form:conv-none", "x"))
    (tmp_path / "draft.json").write_text(json.dumps(plan))
    done = hwopt(*common, "--plan", "draft.json", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
