"""Ctrl-C and time limits through real processes: nothing is half written, nothing measured is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import sleep

import pytest

from tests.graphs import write_classifier

Hwopt = Callable[..., "subprocess.CompletedProcess[str]"]
ROOT = Path(__file__).parent.parent
FEW = ("--passes", "canonicalize,densify_depthwise,fuse_ibn,prune_channels")
GIVEN = ("optimize", "model.onnx", "-t", "edge-npu", "--calib", "calib.npz", "--max-divergence", "0.5", *FEW)
OUT = (*GIVEN, "-o", "out.onnx")
WRITTEN = {"out.onnx", "out.plan.json", "out.report.html", "out.report.json", "out.report.md"}
PARTIAL = "out.partial.plan.json"
Words = tuple[str, ...]

# What the log shows, in this order, before Ctrl-C is pressed.
WHILE_LOADING = ("stage     load",)
WHILE_PRICING = ("progress  damage               1/",)
WHILE_DECIDING = ("damage 0  0 values", "progress  decide               0/")
IN_THE_LAST_REPAIR = ("better", "better", "step    1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_classifier(tmp_path)
    return tmp_path


def heeds_interrupts() -> None:
    """Tests that run in the background of a shell, or under nohup, hand down that Ctrl-C is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def interrupted(
    folder: Path, cache: Path, arguments: Words, seen: Words, presses: int = 1
) -> tuple[int, str]:
    """Exit code and last line of a run whose process group gets Ctrl-C once these lines were logged."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HWOPT_CACHE": str(cache), "HWOPT_DEBUG": "4"}
    process = subprocess.Popen(
        [sys.executable, "-m", "hwopt.cli", *arguments], cwd=folder, env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=heeds_interrupts,
    )  # fmt: skip
    assert process.stderr is not None
    wanted = list(seen)
    with process:
        for line in process.stderr:
            if wanted and wanted[0] in line:
                wanted.pop(0)
            if not wanted:
                for _ in range(presses):
                    os.killpg(process.pid, signal.SIGINT)
                    sleep(0.02)
                break
        rest = process.stderr.read().splitlines()
        assert not wanted, f"{wanted[0]} was never logged"
        code = process.wait(timeout=120)
    return code, [line for line in rest if not line.startswith("[")][-1]


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"model.onnx", "calib.npz"}


def test_an_interrupted_run_goes_on_to_the_bytes_of_one_that_was_not(
    folder: Path, hwopt: Hwopt, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache = tmp_path_factory.mktemp("interrupted")
    code, line = interrupted(folder, cache, OUT, WHILE_LOADING)
    assert (code, files(folder)) == (130, set())
    assert "nothing was written" in line
    code, line = interrupted(folder, cache, OUT, WHILE_PRICING)
    assert (code, files(folder)) == (130, set())
    assert "the same command goes on" in line
    code, line = interrupted(folder, cache, OUT, WHILE_DECIDING)
    assert (code, files(folder)) == (130, {PARTIAL})
    assert f"the best plan so far is in {PARTIAL} (--plan makes it)" in line
    code, line = interrupted(folder, cache, OUT, IN_THE_LAST_REPAIR)
    assert (code, files(folder)) == (130, {PARTIAL})
    plan = (folder / PARTIAL).read_text()
    assert json.loads(plan)["output_sha256"] is None
    (folder / "kept.json").write_text(plan)

    done = hwopt(*OUT, cwd=folder, HWOPT_CACHE=str(cache))
    assert done.returncode == 0, done.stderr
    assert files(folder) == {*WRITTEN, "kept.json"}
    again = hwopt(*GIVEN, "-o", "again.onnx", cwd=folder)
    assert again.returncode == 0, again.stderr
    for ending in ("onnx", "plan.json"):
        assert (folder / f"again.{ending}").read_bytes() == (folder / f"out.{ending}").read_bytes()
    replayed = hwopt(*GIVEN, "--plan", "kept.json", "-o", "replayed.onnx", cwd=folder)
    assert replayed.returncode == 0, replayed.stderr
    assert (folder / "replayed.onnx").read_bytes() == (folder / "out.onnx").read_bytes()


def test_pressing_twice_ends_as_cleanly(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    cache = tmp_path_factory.mktemp("twice")
    for seen in (WHILE_LOADING, WHILE_PRICING, ("progress  folds",)):
        code, line = interrupted(folder, cache, OUT, seen, presses=2)
        assert code == 130
        assert line.startswith("hwopt: interrupted")
        assert files(folder) <= {PARTIAL}


def test_a_dry_run_says_that_it_saves_nothing(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    cache = tmp_path_factory.mktemp("dry")
    code, line = interrupted(folder, cache, (*GIVEN, "--dry-run"), WHILE_DECIDING)
    assert (code, files(folder)) == (130, set())
    assert "without an output file" in line


def test_a_time_limit_ends_in_a_result_and_says_so(
    folder: Path, hwopt: Hwopt, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache = tmp_path_factory.mktemp("limited")
    done = hwopt(*OUT, "--time-limit", "0.01", "--json", cwd=folder, HWOPT_CACHE=str(cache))
    assert done.returncode == 0, done.stderr
    assert files(folder) == WRITTEN
    report = json.loads(done.stdout)
    assert report["search"]["stopped"] == "time limit"
    assert all(value["risk"] == "exact" for row in report["choices"] for value in row["values"]
               if value["name"] == row["chosen"])  # fmt: skip
    assert any("time limit" in note and "another run" in note for note in report["notes"])
    ample = hwopt(*OUT, "--force", "--time-limit", "1h", "--json", cwd=folder, HWOPT_CACHE=str(cache))
    assert json.loads(ample.stdout)["search"]["stopped"] is None
