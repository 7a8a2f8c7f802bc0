"""`--keep-going`: the result is that of a run in which nobody offered what broke, and it says so."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwopt
from hwopt.choice import Stage
from hwopt.debug.faults.keep_going import MAX_WRONG
from hwopt.errors import BadInput, HwoptError, InternalError
from hwopt.ir import model_bytes, save_model
from hwopt.plan import read_plan
from hwopt.trace import CheckFailed, Recorder, RewriteApplied, StageStarted
from tests import faulty, planted
from tests.faulty import Bug, Merge, tower

Hwopt = Callable[..., "subprocess.CompletedProcess[str]"]
TARGET = "edge-npu"


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where reproducers go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def ran(monkeypatch: pytest.MonkeyPatch, merge: Merge, **options: Any) -> hwopt.Result:
    planted.plug_in(monkeypatch, (merge,))
    model = options.pop("model", None) or tower(options.pop("pairs", faulty.PAIRS))
    return hwopt.optimize(model, target=TARGET, refine=0, **options)


def same(one: hwopt.Result, two: hwopt.Result) -> bool:
    return one.plan == two.plan and model_bytes(one.model) == model_bytes(two.model)


@pytest.mark.parametrize(
    ("stage", "bugs", "reason"),
    [
        (
            Stage.CANONICALISE,
            {1: faulty.raises, 2: faulty.raises},
            "the pass broke down writing it: Planted: ",
        ),
        (
            Stage.FORM,
            {1: faulty.raises, 2: faulty.raises},
            "the pass broke down writing it: Planted: planted",
        ),
        (Stage.CANONICALISE, {1: faulty.adds_one}, "it changed output 'y' by "),
        (Stage.FORM, {0: faulty.adds_one, 3: faulty.adds_one}, "it changed output 'y' by "),
        (Stage.FORM, {2: faulty.breaks_the_output}, "the interface of the model changed"),
        (Stage.FORM, {2: faulty.is_no_onnx}, "it is no valid ONNX model"),
        (Stage.FORM, {1: faulty.raises, 3: faulty.adds_one}, ""),
    ],
)
def test_the_result_is_that_of_a_run_without_what_broke(
    stage: Stage, bugs: dict[int, Bug], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    plain = Merge(stage=stage)
    found = ran(monkeypatch, replace(plain, bugs=tuple(bugs.items())), keep_going=True, listeners=(recorder,))
    assert same(found, ran(monkeypatch, replace(plain, barred=tuple(bugs))))
    assert {one.choice for one in found.left_out} == {f"merge-{number}" for number in bugs}
    assert all(one.reason.startswith(reason) for one in found.left_out)
    told = [
        event.where
        for event in recorder.events
        if isinstance(event, CheckFailed) and event.check == "rewrite"
    ]
    assert told[-1] == found.left_out[-1].what
    for one in found.left_out:
        assert Path(one.folder, "README.md").exists()
        assert any(one.text in note for note in found.report.notes)
        assert [row for row in found.report.skipped if one.reason in row.reason]


@pytest.mark.parametrize("bug", [faulty.raises, faulty.adds_one])
def test_without_it_a_run_ends_there_and_writes_nothing(
    bug: Bug, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    planted.plug_in(monkeypatch, (Merge(bugs=((1, bug),)),))
    with pytest.raises(HwoptError) as caught:
        hwopt.optimize(tower(), target=TARGET, refine=0, output=tmp_path / "out.onnx")
    assert caught.value.exit_code == 3
    assert {path.name for path in tmp_path.iterdir()} == {"temporary"}


def test_the_folder_of_a_wrong_rewrite_has_the_model_before_and_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = ran(monkeypatch, Merge(bugs=((2, faulty.adds_one),)), keep_going=True)
    folder = Path(found.left_out[0].folder)
    assert {path.name for path in folder.iterdir()} >= {
        "before.onnx",
        "after.onnx",
        "plan.json",
        "model.onnx",
    }
    assert [step.choice for step in read_plan(folder / "plan.json").steps] == [
        "merge-0",
        "merge-1",
        "merge-2",
    ]
    facts = json.loads((folder / "error.json").read_text())
    assert facts["step"]["choice"] == "merge-2"
    assert facts["reproduce_tried"] is True


def test_a_pass_that_breaks_down_while_looking_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ran(monkeypatch, Merge(looking=faulty.Planted("planted")), keep_going=True)
    assert found.plan.steps == ()
    (one,) = found.left_out
    assert (one.pass_name, one.choice) == ("merge", "")
    assert one.reason == "the pass broke down looking for places: Planted: planted"


def test_a_pass_that_is_wrong_again_and_again_is_no_longer_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    bugs = tuple((number, faulty.adds_one) for number in range(MAX_WRONG))
    found = ran(monkeypatch, Merge(bugs=bugs), keep_going=True, pairs=MAX_WRONG + 2)
    assert found.plan.steps == ()
    assert found.left_out[-1].what == "pass merge"
    assert found.left_out[-1].reason == f"{MAX_WRONG} of its values were wrong"


def test_a_pass_that_breaks_down_everywhere_takes_one_more_round(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    bugs = tuple((number, faulty.raises) for number in range(6))
    found = ran(monkeypatch, Merge(bugs=bugs), keep_going=True, pairs=8, listeners=(recorder,))
    assert [step.choice for step in found.plan.steps] == ["merge-6", "merge-7"]
    rounds = [event for event in recorder.events if isinstance(event, StageStarted) and event.name == "find"]
    assert len(rounds) == 2
    assert len({one.folder for one in found.left_out}) == 1, "one folder shows what is wrong with all of them"


def test_a_pair_that_is_wrong_together_loses_the_second(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    passes = planted.planted(pair=(1, 4))
    plan = planted.plan_of_all(tower(), TARGET, passes)
    path = tmp_path / "given.json"
    path.write_text(plan.text(), "utf-8")
    planted.plug_in(monkeypatch, passes)
    recorder = Recorder()
    found = hwopt.optimize(
        tower(), target=TARGET, refine=0, plan=path, keep_going=True, listeners=(recorder,)
    )
    (one,) = found.left_out
    assert one.choice == plan.steps[4].choice
    assert found.plan.steps == tuple(step for step in plan.steps if step.choice != one.choice)
    steps = [event.step for event in recorder.events if isinstance(event, RewriteApplied)]
    assert steps[-len(found.plan.steps) :] == list(range(1, len(found.plan.steps) + 1))


def test_what_no_rewrite_is_to_blame_for_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, temporary: Path
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("odd")

    monkeypatch.setattr("hwopt.pipeline.build_report", broken)
    with pytest.raises(InternalError, match="ZeroDivisionError: odd") as caught:
        ran(monkeypatch, Merge(), keep_going=True)
    assert [caught.value.folder] == list(temporary.glob("hwopt-crash-*"))


@pytest.mark.parametrize("keep_going", [False, True])
def test_the_first_steps_can_be_made_though_a_later_one_is_wrong(
    keep_going: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    bugs = ((3, faulty.adds_one),)
    found = ran(monkeypatch, Merge(bugs=bugs), rewrite_limit=2, keep_going=keep_going)
    assert [step.choice for step in found.plan.steps] == ["merge-0", "merge-1"]
    assert found.left_out == ()


def test_a_listener_that_breaks_down_is_no_fault_of_a_rewrite(monkeypatch: pytest.MonkeyPatch) -> None:
    def listener(event: object, /) -> None:
        if isinstance(event, RewriteApplied):
            raise ValueError("odd")

    with pytest.raises(HwoptError, match="listener"):
        ran(monkeypatch, Merge(), keep_going=True, listeners=(listener,))


def test_orders_that_cannot_be_kept_without_what_broke_say_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hints = tmp_path / "hints.toml"
    hints.write_text('schema_version = 1\n[pin]\n"merge-1" = "one"\n', "utf-8")
    with pytest.raises(BadInput, match=r"merge-1 = one \(pass merge\) was left out: the pass broke down"):
        ran(monkeypatch, Merge(bugs=((1, faulty.raises),)), keep_going=True, hints=hints)


@pytest.mark.parametrize("stage", [Stage.CANONICALISE, Stage.FORM])
def test_a_wrong_exact_step_of_a_plan_for_data_is_found(
    monkeypatch: pytest.MonkeyPatch, stage: Stage
) -> None:
    rng = np.random.default_rng(1)
    data = [{"x": rng.standard_normal((16, 12, 12)).astype(np.float32)} for _ in range(20)]
    found = ran(
        monkeypatch, Merge(bugs=((1, faulty.adds_one),), stage=stage), keep_going=True, pairs=2,
        calib=data, max_divergence=0.9, minimize="size", passes=["merge", "prune_channels"],
    )  # fmt: skip
    (one,) = found.left_out
    assert one.choice == "merge-1"
    kinds = [step.pass_name for step in found.plan.steps]
    assert kinds.count("merge") == 1
    assert "prune_channels" in kinds, "the plan has LOSSY steps"
    assert json.loads(Path(one.folder, "error.json").read_text())["reproduce_tried"] is True


def test_a_real_process_warns_and_says_0(hwopt: Hwopt, tmp_path: Path) -> None:
    plug = planted.plugged_in(tmp_path, raising=1, wrong=2)
    save_model(tower(), tmp_path / "tower.onnx")
    plan = planted.plan_of_all(tmp_path / "tower.onnx", TARGET, planted.planted())
    (tmp_path / "given.json").write_text(plan.text(), "utf-8")
    done = hwopt(
        "optimize", "tower.onnx", "-t", TARGET, "--plan", "given.json", "-o", "out.onnx", "--keep-going",
        "--refine", "0", "--json", cwd=tmp_path, TMPDIR=str(tmp_path / "temporary"), **plug,
    )  # fmt: skip
    assert done.returncode == 0
    broken = [plan.steps[1], plan.steps[2]]
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    for line, step in zip(lines, broken, strict=True):
        assert line.startswith(f"hwopt: warning: {step.choice} = split (pass planted) was left out: ")
        assert Path(line.rsplit(" ", 1)[1], "reproduce.sh").exists()
    kept = read_plan(tmp_path / "out.plan.json").steps
    assert _choices(kept) == _choices([step for step in plan.steps if step not in broken])
    report = json.loads(done.stdout)
    assert [row["pass"] for row in report["skipped"] if "--keep-going" in row["reason"]] == [
        "planted",
        "planted",
    ]


def _choices(steps: Sequence[Any]) -> list[str]:
    return [step.choice for step in steps]
