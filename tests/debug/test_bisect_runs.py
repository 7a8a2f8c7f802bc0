"""`hwopt bisect` on a small network with planted bugs: what it names, writes and refuses."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import ceil, log2
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

from hwopt.choice import KEEP, Kind, Pass, Risk, Skip, Stage, Value
from hwopt.cli.entry import main
from hwopt.debug.bisect.material import Material, Wanted
from hwopt.debug.bisect.run import Hunt, bisect_plan
from hwopt.debug.bisect.search import Checked, Outcome
from hwopt.errors import BadInput
from hwopt.ir import load_model
from hwopt.places import place_of
from hwopt.plan import Plan, read_plan
from hwopt.settings import Options, settings
from hwopt.steps import find, plan_of
from hwopt.target import Target
from hwopt.work import open_work
from tests.conftest import Hwopt
from tests.graphs import write_classifier
from tests.planted import Which, plan_of_all, planted, plug_in, plugged_in

TARGET = "edge-npu"
STEPS = 5  # convolutions of the network, by label: s, e, d, p, h
BOUND = ceil(log2(STEPS)) + 2
Hunts = Callable[..., Hunt]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bisected")
    write_classifier(folder)
    return folder


def bisected(
    folder: Path,
    plan: Path,
    wanted: Wanted | None = None,
    output: Path | None = None,
    calib: Path | None = None,
    tell: Callable[[Checked], None] = lambda checked: None,
    **options: Any,
) -> Hunt:
    given: Options = {"refine": 0, "plan": plan, **options}  # type: ignore[typeddict-item]
    material = Material(TARGET, given, wanted or Wanted(), calib)
    return bisect_plan(folder / "model.onnx", material, output=output, tell=tell)


@pytest.fixture
def hunt(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Hunts:
    """hunt(wanted, bug=where ...): bisects the plan of all values with the bug planted, in this process."""

    def run(
        wanted: Wanted | None = None, output: Path | None = None, **bug: Which | tuple[Which, Which]
    ) -> Hunt:
        passes = planted(**bug)  # type: ignore[arg-type]
        plug_in(monkeypatch, passes)
        plan = folder / "plan.json"
        plan.write_text(plan_of_all(folder / "model.onnx", TARGET, passes).text())
        return bisected(folder, plan, wanted or Wanted(), output)

    return run


@pytest.mark.parametrize("where", ["s", "e", "d", "p", "h"])
def test_a_wrong_number_is_found_wherever_it_is(hunt: Hunts, where: str) -> None:
    found = hunt(wrong=where)
    assert found.culprit is not None
    assert found.culprit.nodes == (where,)
    assert found.bisection.partners == ()
    assert found.bisection.checks <= BOUND
    assert found.bisection.finding.kind == "numeric"


def test_a_plan_without_a_bug_passes(hunt: Hunts) -> None:
    assert hunt().bisection.outcome == Outcome.PASSES


def test_a_crash_is_found_and_shrunk(hunt: Hunts, tmp_path: Path) -> None:
    found = hunt(raising="d", output=tmp_path / "case")
    assert found.culprit is not None
    assert (found.culprit.nodes, found.bisection.finding.kind, found.bisection.checks) == (("d",), "crash", 2)
    assert found.case is not None
    assert found.case.nodes == load_model(tmp_path / "case" / "before.onnx").graph.num_nodes() < 10
    assert not (tmp_path / "case" / "after.onnx").exists()


def test_a_pair_is_found_with_its_partner(hunt: Hunts) -> None:
    found = hunt(pair=("e", "d"))
    assert found.culprit is not None
    assert found.culprit.nodes[0] == "d"
    assert [partner.nodes for partner in found.partners] == [("e",)]


def test_a_command_decides(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The command objects to the bias that the third step splits off; what it prints is kept."""
    script = tmp_path / "check.py"
    script.write_text(
        "import sys\nprint('asked')\nsys.exit(3 if b'd.add' in open(sys.argv[1], 'rb').read() else 0)\n"
    )
    plug_in(monkeypatch, planted())
    plan = plan_file(folder, lambda plan: plan)
    told = ["bisect", str(folder / "model.onnx"), "--plan", str(plan), "--target", TARGET, "--json"]
    command = shlex.join([sys.executable, str(script)]) + " {model}"
    assert main([*told, "--check", command, "-o", str(tmp_path / "case")]) == 1
    found = json.loads(capfd.readouterr().out)
    assert (found["culprit"]["nodes"], found["finding"]["kind"]) == (["d"], "command")
    assert "exit code 3" in found["finding"]["reason"]
    assert found["case"]["nodes"] < 5
    assert found["case"]["verified"]
    log = (tmp_path / "case" / "check.log").read_text()
    assert log.count("asked") >= found["checks"]
    assert log.count("# exit code 3") >= 1


def test_a_command_that_likes_no_model_is_bad_input(hunt: Hunts) -> None:
    command = shlex.join([sys.executable, "-c", "import sys; sys.exit(1)"]) + " {model}"
    with pytest.raises(BadInput, match="before any step"):
        hunt(Wanted(command=command))


def test_the_tolerance_is_the_users(hunt: Hunts) -> None:
    assert hunt(Wanted(tolerance=100.0), wrong="d").bisection.outcome == Outcome.PASSES


@dataclass(frozen=True)
class BadFold(Pass):
    """A fold of the n-th convolution that raises; those before it do nothing."""

    number: int
    name = "badfold"
    stage = Stage.CANONICALISE
    risk = Risk.EXACT
    summary = "a bug"

    def values(self, model: ir.Model, target: Target) -> Iterator[Value | Skip]:
        del target
        places = [place_of(node) for node in model.graph if node.op_type == "Conv"]
        for number, place in enumerate(places):
            if not model.graph.meta.get(f"folded-{number}"):
                yield Value(
                    f"fold-{number}", Kind.CANONICAL, "gone", self.name, Risk.EXACT, self.stage, (place,),
                    self._rewrite(number),
                )  # fmt: skip

    def _rewrite(self, number: int) -> Callable[[ir.Model], None]:
        def fold(model: ir.Model) -> None:
            if number == self.number:
                raise ZeroDivisionError("planted")
            model.graph.meta[f"folded-{number}"] = True

        return fold


def test_a_fold_that_breaks_down_ends_what_can_be_looked_at(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug_in(monkeypatch, (BadFold(9),))
    work = open_work(folder / "model.onnx", TARGET, settings(refine=0))
    plan = plan_of(work, [fold for fold in find(work).folds if fold.pass_name == "badfold"], 0)
    assert len(plan.steps) == STEPS
    (tmp_path / "plan.json").write_text(plan.text())
    plug_in(monkeypatch, (BadFold(3),))
    found = bisected(folder, tmp_path / "plan.json")
    assert found.culprit is not None
    assert (found.culprit.choice, found.bisection.planned, found.bisection.culprit) == ("fold-3", STEPS, 4)
    assert "ZeroDivisionError" in found.bisection.finding.reason
    assert any("steps 5 to 5 were not looked at" in note for note in found.notes)


@pytest.fixture(scope="module")
def lossy(folder: Path) -> Path:
    """A plan of two steps: a few channels of one group go, and half of another."""
    work = open_work(folder / "model.onnx", TARGET, settings(refine=0), folder / "calib.npz")
    found = find(work)
    first, second = [
        sorted((v for v in choice.values if v.pass_name == "prune_channels"), key=lambda v: v.strength or 0.0)
        for choice in sorted(found.choices, key=lambda choice: choice.id)
        if any(v.pass_name == "prune_channels" for v in choice.values)
    ]
    plan = folder / "lossy.json"
    plan.write_text(plan_of(work, [*found.folds, first[0], second[-1]], 0).text())
    return plan


def test_lossy_steps_need_a_check_that_can_judge_them(folder: Path, lossy: Path) -> None:
    with pytest.raises(BadInput, match="--max-drop X, --max-divergence X"):
        bisected(folder, lossy, calib=folder / "calib.npz")


def test_a_limit_on_divergence_names_the_step_that_goes_beyond_it(folder: Path, lossy: Path) -> None:
    heard: list[Checked] = []
    everything = bisected(folder, lossy, calib=folder / "calib.npz", max_divergence=0.0, tell=heard.append)
    assert everything.bisection.culprit == 1
    figures = {len(one.steps): float(one.finding.reason.split()[1].rstrip(",")) for one in heard}
    assert 0 < 2 * figures[1] < figures[2]
    found = bisected(folder, lossy, calib=folder / "calib.npz", max_divergence=(figures[1] + figures[2]) / 2)
    assert found.culprit is not None
    assert (found.culprit.step, found.culprit.choice) == (2, read_plan(lossy).steps[1].choice)
    assert found.bisection.finding.kind == "drop"
    assert (
        bisected(
            folder, lossy, calib=folder / "calib.npz", max_divergence=1.01 * figures[2]
        ).bisection.outcome
        == Outcome.PASSES
    )


def test_a_command_sees_fitted_weights(folder: Path, lossy: Path, tmp_path: Path) -> None:
    """The command compares the scores with the model's own: after a fit they are near."""
    script = tmp_path / "near.py"
    script.write_text(
        "import sys, numpy as np, onnxruntime as ort\n"
        f"data = np.load({str(folder / 'calib.npz')!r})\n"
        "def scores(path):\n"
        "    session = ort.InferenceSession(path, providers=['CPUExecutionProvider'])\n"
        "    return session.run(None, {'x': data['x']})[0]\n"
        f"one, two = scores({str(folder / 'model.onnx')!r}), scores(sys.argv[1])\n"
        "print(np.abs(one - two).mean() / np.abs(one).mean())\n"
        "sys.exit(0)\n"
    )
    said: list[str] = []
    command = shlex.join([sys.executable, str(script)]) + " {model}"
    assert (
        bisected(
            folder, lossy, Wanted(command=command, said=said.append), calib=folder / "calib.npz"
        ).bisection.outcome
        == Outcome.PASSES
    )
    assert float(said[0].splitlines()[1]) < 0.2


def plan_file(folder: Path, edit: Callable[[Plan], Plan]) -> Path:
    path = folder / "edited.json"
    path.write_text(edit(plan_of_all(folder / "model.onnx", TARGET, planted())).text())
    return path


@pytest.mark.parametrize(
    ("options", "edit", "why"),
    [
        ({}, {"model_sha256": "0" * 64}, "for another file"),
        ({}, {"target_config": "0" * 64}, "as it was then"),
        ({"max_drop": 0.1}, {}, "needs calibration data"),
        ({"max_divergence": 0.1}, {}, "need calibration data"),
    ],
)
def test_what_does_not_belong_to_the_plan_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, options: Any, edit: Any, why: str
) -> None:
    plug_in(monkeypatch, planted())
    plan = plan_file(folder, lambda plan: replace(plan, **edit))
    with pytest.raises(BadInput, match=why):
        bisected(folder, plan, **options)


@pytest.mark.parametrize(
    ("wanted", "options", "why"),
    [
        (Wanted(command="true {model}", tolerance=0.1), {}, "one check decides"),
        (Wanted(tolerance=0.1), {"max_drop": 0.1}, "one check decides"),
        (Wanted(timeout_s=1.0), {}, "goes with --check"),
        (Wanted(tolerance=-1.0), {}, "--tolerance"),
    ],
)
def test_checks_that_exclude_one_another_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, wanted: Wanted, options: Any, why: str
) -> None:
    plug_in(monkeypatch, planted())
    plan = plan_file(folder, lambda plan: plan)
    with pytest.raises(BadInput, match=why):
        bisected(folder, plan, wanted, **options)


def test_a_step_that_keeps_is_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def first_kept(plan: Plan) -> Plan:
        return replace(plan, steps=(replace(plan.steps[0], value=KEEP), *plan.steps[1:]))

    plug_in(monkeypatch, planted(wrong="d"))
    plan = plan_file(folder, first_kept)
    found = bisected(folder, plan)
    assert (found.bisection.planned, found.bisection.culprit) == (STEPS - 1, 2)


def test_the_command_as_a_process(folder: Path, tmp_path: Path, hwopt: Hwopt) -> None:
    """Text and JSON of one bug; the line that it prints shows the bug again; a second run is refused."""
    environment = plugged_in(tmp_path, wrong="p")
    plan = tmp_path / "plan.json"
    plan.write_text(plan_of_all(folder / "model.onnx", TARGET, planted(wrong="p")).text())
    told = ["bisect", str(folder / "model.onnx"), "--plan", str(plan), "--target", TARGET]
    case = ["-o", str(tmp_path / "case")]
    shown = hwopt(*told, *case, **environment)
    assert shown.returncode == 1, shown.stderr
    assert "step 4 of 5 breaks it: numeric" in shown.stdout
    assert "nodes: p" in shown.stdout
    assert "alone" in shown.stdout
    assert "check 1, steps 1 to 5: bad" in shown.stderr
    line = next(text for text in shown.stdout.splitlines() if text.startswith("reproduce: hwopt "))
    again = hwopt(*shlex.split(line)[2:], **environment)
    assert again.returncode == 1, again.stderr
    refused = hwopt(*told, *case, **environment)
    assert refused.returncode == 2
    assert "is not empty" in refused.stderr
    found = hwopt(*told, *case, "--json", "--force", **environment)
    assert found.returncode == 1
    assert found.stderr == ""
    table = json.loads(found.stdout)
    assert (table["outcome"], table["steps"], table["alone"], table["minimal"]) == ("found", 5, True, [4])
    assert table["culprit"]["nodes"] == ["p"]
    assert table["finding"]["mismatches"][0]["gap"]["max_abs"] > 0
    assert table["checks"] <= BOUND
    assert table["case"]["verified"] is True


def test_a_plan_that_passes_ends_with_0_and_writes_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    plug_in(monkeypatch, planted())
    plan = plan_file(folder, lambda plan: plan)
    told = ["bisect", str(folder / "model.onnx"), "--plan", str(plan), "--target", TARGET]
    assert main([*told, "-o", str(tmp_path / "case"), "--quiet"]) == 0
    shown = capfd.readouterr()
    assert "the plan passes: all 5 steps" in shown.out
    assert shown.err == ""
    assert not (tmp_path / "case").exists()
