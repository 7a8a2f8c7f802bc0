"""Whatever breaks down leaves a folder that shows it again, and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import pytest

import hwopt
from hwopt.choice import Stage
from hwopt.cli.entry import main
from hwopt.debug.faults.incident import Asked, Incident
from hwopt.debug.faults.reproducer import write_reproducer
from hwopt.errors import (
    BadInput,
    BudgetNotMet,
    HwoptError,
    InternalError,
    Interrupted,
    PassFailed,
    RewriteFailed,
)
from hwopt.ir import load_model, save_model
from hwopt.nodes import Conv
from hwopt.pipeline import analyze
from hwopt.plan import read_plan
from hwopt.trace import BetterPlan, Event
from tests import faulty, planted
from tests.faulty import Merge, tower
from tests.graphs import write_classifier

Hwopt = Callable[..., "subprocess.CompletedProcess[str]"]
TARGET = "edge-npu"
BUGS: dict[str, Merge] = {
    "looking": Merge(looking=faulty.Planted("planted")),
    "folding": Merge(bugs=((1, faulty.raises),), stage=Stage.CANONICALISE),
    "pricing": Merge(bugs=((1, faulty.raises),)),
    "the whole": Merge(bugs=((1, faulty.raises_in_the_whole),)),
    "wrong": Merge(bugs=((1, faulty.adds_one),)),
    "interface": Merge(bugs=((1, faulty.breaks_the_output),)),
    "no model": Merge(bugs=((1, faulty.is_no_onnx),)),
}


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where reproducers go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def failed(monkeypatch: pytest.MonkeyPatch, bug: str, **options: Any) -> HwoptError:
    """The error of a run with a faulty pass."""
    planted.plug_in(monkeypatch, (BUGS[bug],))
    with pytest.raises(HwoptError) as caught:
        hwopt.optimize(options.pop("model", None) or tower(), target=TARGET, refine=0, **options)
    return caught.value


def facts(error: HwoptError) -> dict[str, Any]:
    """error.json."""
    assert error.folder is not None
    table = json.loads((error.folder / "error.json").read_text("utf-8"))
    assert isinstance(table, dict)
    return table


@pytest.mark.parametrize(
    ("bug", "kind", "stage", "model"),
    [
        ("looking", PassFailed, "find", "before.onnx"),
        ("folding", PassFailed, "find", "before.onnx"),
        ("pricing", PassFailed, "price", "before.onnx"),
        ("the whole", PassFailed, "search", "before.onnx"),
        ("wrong", RewriteFailed, "verify", "after.onnx"),
        ("interface", RewriteFailed, "verify", "after.onnx"),
    ],
)
def test_the_folder_has_what_is_needed_and_its_line_shows_the_failure_again(
    bug: str,
    kind: type[HwoptError],
    stage: str,
    model: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = failed(monkeypatch, bug)
    assert type(error) is kind
    assert error.folder is not None
    always = {"README.md", "error.json", "traceback.txt", "model.onnx", "plan.json", "reproduce.sh"}
    assert {path.name for path in error.folder.iterdir()} == {*always, model}
    known = facts(error)
    assert (known["stage"], known["missing"], known["seed"]) == (stage, {}, 0)
    assert known["options"] == {"refine": 0}
    assert known["model"]["sha256"] == hashlib.sha256((error.folder / "model.onnx").read_bytes()).hexdigest()
    assert ("Planted" in (error.folder / "traceback.txt").read_text()) == (kind is PassFailed)
    onnx.load(error.folder / model)
    assert known["reproduce_tried"] is True
    line = shlex.split(known["reproduce"])
    assert line[0] == "hwopt"
    assert main([*line[1:], "--quiet"]) == 3
    assert " ".join(str(error).split()) in capsys.readouterr().err


def test_a_pass_that_breaks_down_while_its_plan_is_carried_out(monkeypatch: pytest.MonkeyPatch) -> None:
    late = Late()
    planted.plug_in(monkeypatch, (Merge(bugs=((1, late.bug),)),))
    with pytest.raises(PassFailed) as caught:
        hwopt.optimize(tower(), target=TARGET, refine=0, listeners=(late,))
    assert caught.value.folder is not None
    assert facts(caught.value)["stage"] == "search"
    plan = read_plan(caught.value.folder / "plan.json")
    assert [step.choice for step in plan.steps] == ["merge-0", "merge-1"]
    before = load_model(caught.value.folder / "before.onnx")
    assert before.graph.num_nodes() == 3 * faulty.PAIRS - 1


class Late:
    """A bug that shows only once a plan was decided on."""

    def __init__(self) -> None:
        self.decided = False

    def __call__(self, event: Event, /) -> None:
        self.decided = self.decided or isinstance(event, BetterPlan)

    def bug(self, model: ir.Model, conv: Conv) -> None:
        if self.decided:
            faulty.raises(model, conv)


def test_a_model_that_onnx_runtime_does_not_take_has_a_line_that_shows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = failed(monkeypatch, "no model")
    assert isinstance(error, RewriteFailed)
    assert facts(error)["reproduce"].startswith("hwopt optimize ")
    assert facts(error)["reproduce_tried"] is True


def test_a_call_from_python_that_no_line_shows_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("nobody knows why")

    monkeypatch.setattr("hwopt.steps.settle", broken)
    with pytest.raises(InternalError) as caught:
        hwopt.optimize(tower(), target=TARGET, refine=0)
    error = caught.value
    assert error.folder is not None
    assert facts(error)["reproduce"] is None
    assert not (error.folder / "reproduce.sh").exists()
    assert "error.json" in (error.folder / "README.md").read_text()


def test_the_plan_ends_with_the_step_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    error = failed(monkeypatch, "folding")
    assert error.folder is not None
    plan = read_plan(error.folder / "plan.json")
    assert [step.choice for step in plan.steps] == ["merge-0", "merge-1"]
    assert facts(error)["step"] == {"number": 2, "pass": "merge", "choice": "merge-1", "value": "one"}
    before = load_model(error.folder / "before.onnx")
    assert before.graph.num_nodes() == 3 * faulty.PAIRS - 1, "the first fold is made, the second is not"


def test_what_nobody_foresaw_keeps_its_cause_and_no_data(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_classifier(tmp_path)

    def repair(*_: object, **__: object) -> ir.Model:
        raise ZeroDivisionError("a secret\nhabit")

    monkeypatch.setattr("hwopt.damage.measure.repair", repair)
    with pytest.raises(InternalError) as caught:
        hwopt.optimize(
            tmp_path / "model.onnx", target=TARGET, refine=0, calib=tmp_path / "calib.npz",
            max_divergence=0.5, passes=["canonicalize", "prune_channels"],
        )  # fmt: skip
    error = caught.value
    assert str(error) == "ZeroDivisionError: a secret\nhabit"
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert error.folder is not None
    known = facts(error)
    assert len(known["calibration"]) == 64
    assert not [path for path in error.folder.iterdir() if path.suffix in (".npz", ".npy")]
    assert known["error"] == "ZeroDivisionError: a secret habit"


def test_an_input_that_is_a_file_is_named_and_copied_where_it_is_small(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "tower.onnx"
    save_model(tower(), path)
    error = failed(monkeypatch, "wrong", model=path)
    assert error.folder is not None
    assert facts(error)["model"] == {
        "path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }  # fmt: skip
    assert (error.folder / "model.onnx").read_bytes() == path.read_bytes()

    monkeypatch.setattr("hwopt.debug.faults.reproducer.SMALL_BYTES", 100)
    error = failed(monkeypatch, "wrong", model=path)
    assert error.folder is not None
    assert not (error.folder / "model.onnx").exists()
    known = facts(error)
    assert "larger" in known["missing"]["model.onnx"]
    assert shlex.split(known["reproduce"])[2] == str(path)


def test_an_analysis_that_breaks_down_leaves_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("odd")

    monkeypatch.setattr("hwopt.pipeline.build_analysis", broken)
    with pytest.raises(InternalError) as caught:
        analyze(tower(), target=TARGET, refine=0, command="hwopt analyze tower.onnx")
    assert caught.value.folder is not None
    assert {path.name for path in caught.value.folder.iterdir()} == {
        "README.md", "error.json", "traceback.txt", "model.onnx", "reproduce.sh",
    }  # fmt: skip
    known = facts(caught.value)
    assert (known["reproduce"], known["reproduce_tried"]) == ("hwopt analyze tower.onnx", False)


def test_a_limit_that_cannot_be_kept_or_an_input_that_cannot_be_used_leave_nothing(
    monkeypatch: pytest.MonkeyPatch, temporary: Path
) -> None:
    planted.plug_in(monkeypatch, (Merge(),))
    with pytest.raises(BudgetNotMet) as verdict:
        hwopt.optimize(tower(), target=TARGET, refine=0, max_latency="0.01us")
    with pytest.raises(BadInput) as bad:
        hwopt.optimize(tower(), target="no-such-target")
    assert verdict.value.folder is None
    assert bad.value.folder is None
    assert not list(temporary.glob("hwopt-crash-*"))


def test_ctrl_c_in_a_pass_is_no_bug(monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    planted.plug_in(monkeypatch, (Merge(bugs=((1, pressed),)),))
    for keep_going in (False, True):
        with pytest.raises(Interrupted):
            hwopt.optimize(tower(), target=TARGET, refine=0, keep_going=keep_going)
    assert not list(temporary.glob("hwopt-crash-*"))


def test_ctrl_c_while_the_folder_is_written_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hwopt.debug.faults.reproducer.readme", pressed)
    planted.plug_in(monkeypatch, (BUGS["wrong"],))
    with pytest.raises(Interrupted):
        hwopt.optimize(tower(), target=TARGET, refine=0)


def test_a_folder_that_cannot_be_made_hides_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    error = failed(monkeypatch, "wrong")
    assert isinstance(error, RewriteFailed)
    assert error.folder is None
    assert "nothing could be kept of it: FileNotFoundError" in error.__notes__[0]

    path = tmp_path / "tower.onnx"
    save_model(tower(), path)
    assert main(["optimize", str(path), "-t", TARGET, "--refine", "0", "--dry-run", "--json"]) == 3
    out, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert "nothing could be kept of it" in err
    told = json.loads(out)
    assert (told["exit_code"], told["reproducer"]) == (3, None)


def test_a_disk_that_is_full_keeps_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.suffix == ".onnx":
            real(path, data[:10])
            raise OSError(28, "No space left on device")
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    error = failed(monkeypatch, "pricing")
    assert error.folder is not None
    assert {path.name for path in error.folder.iterdir()} == {
        "README.md", "error.json", "traceback.txt", "plan.json",
    }  # fmt: skip
    assert set(facts(error)["missing"]) == {"model.onnx", "before.onnx"}


def test_it_goes_into_the_folder_of_dumps(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, temporary: Path
) -> None:
    for expected, force in (("crash", False), ("crash-2", True)):
        error = failed(monkeypatch, "wrong", dump_dir=tmp_path / "dumps", force=force)
        assert error.folder == tmp_path / "dumps" / expected
    assert not list(temporary.glob("hwopt-crash-*"))


def test_it_never_lies_in_the_current_folder_unasked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(OSError, match="temporary"):
        write_reproducer(Incident(ValueError("odd"), Asked("hwopt passes list")))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert write_reproducer(Incident(ValueError("odd"), Asked("hwopt passes list"))).parent == tmp_path


def test_a_command_of_a_real_process_and_its_line_in_another(hwopt: Hwopt, tmp_path: Path) -> None:
    plug = planted.plugged_in(tmp_path, wrong=1)
    save_model(tower(), tmp_path / "tower.onnx")
    plan = planted.plan_of_all(tmp_path / "tower.onnx", TARGET, planted.planted(wrong=1))
    (tmp_path / "given.json").write_text(plan.text(), "utf-8")
    places = {**plug, "TMPDIR": str(tmp_path / "temporary")}
    given = ("optimize", "tower.onnx", "-t", TARGET, "--plan", "given.json", "-o", "out.onnx", "--json")
    done = hwopt(*given, cwd=tmp_path, **places)
    assert done.returncode == 3
    assert not (tmp_path / "out.onnx").exists()
    assert done.stderr.count("\n") == 1
    told = json.loads(done.stdout)
    assert told["exit_code"] == 3
    assert told["reproducer"] in done.stderr
    known = json.loads(Path(told["reproducer"], "error.json").read_text())
    assert known["command"] == shlex.join(["hwopt", *given])
    assert known["directory"] == str(tmp_path)
    assert known["options"] == {}
    script = Path(told["reproducer"], "reproduce.sh").read_text()
    assert script.splitlines()[-1] == known["reproduce"]
    _runs_as_a_script(told["reproducer"], tmp_path, places, known["error"])


def _runs_as_a_script(folder: str, scratch: Path, places: dict[str, str], expected: str) -> None:
    """reproduce.sh in a shell whose `hwopt` is this one."""
    program = scratch / "bin" / "hwopt"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m hwopt.cli "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, **places, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", f"{folder}/reproduce.sh"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 3
    assert expected in done.stderr


def test_names_with_blanks_are_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "a b'c"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    error = failed(monkeypatch, "wrong")
    line = facts(error)["reproduce"]
    assert shlex.split(line)[2] == f"{error.folder}/model.onnx"
