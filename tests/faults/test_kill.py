"""kill -9, SIGTERM and workers that are ended, through real processes: `bench.kill` is the long form."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import kill
from bench.kill_lab import ANYWHERE, OUT, SIBLINGS, Lab, hashes, moments, processes
from tests.graphs import write_classifier

ROOT = Path(__file__).parent.parent.parent
FEW = ("--passes", "canonicalize,densify_depthwise,fuse_ibn")
EXACT = ("model.onnx", "-t", "edge-npu", "--refine", "0", *FEW)
DATA = (*EXACT, "--calib", "calib.npz", "--max-divergence", "0.5")
pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks at processes in /proc")


def lab_in(folder: Path, arguments: tuple[str, ...]) -> Lab:
    for name in ("work", "temporary", "cache"):
        (folder / name).mkdir()
    write_classifier(folder / "work")
    return Lab(folder / "work", folder / "temporary", folder / "cache", arguments)


def test_runs_that_are_killed_leave_all_or_nothing(tmp_path: Path) -> None:
    lab = lab_in(tmp_path, EXACT)
    rows = kill.killed(lab, times=6, seed=1, each=6)
    assert [row.found.faults for row in rows] == [()] * 6
    assert sum(row.found.killed for row in rows) >= 3
    assert rows[-1].reached == "same bytes"
    assert {row.found.state for row in rows} <= {"absent", "complete", "old"}


@pytest.mark.slow
@pytest.mark.parametrize("mode", sorted(kill.MODES))
def test_fifty_kills_of_the_shipped_network(mode: str, tmp_path: Path) -> None:
    rows = kill.killed(kill.open_lab(tmp_path, kill.MODES[mode]), times=50, seed=2, each=10)
    assert [row.found.faults for row in rows] == [()] * 50
    assert {row.reached for row in rows} == {"", "same bytes"}


def test_moments_are_those_of_the_seed() -> None:
    drawn = moments(50, 3, 10.0, 1.0)
    assert drawn == moments(50, 3, 10.0, 1.0)
    assert drawn != moments(50, 4, 10.0, 1.0)
    assert sum(moment.kind == ANYWHERE for moment in drawn) < 25


def test_the_bench_sees_what_is_wrong(tmp_path: Path) -> None:
    lab = lab_in(tmp_path, EXACT)
    inputs = hashes(lab.folder)
    (lab.folder / OUT).write_bytes(b"half a model")
    for name in SIBLINGS[:-1]:
        (lab.folder / name).write_text("{}")
    (lab.folder / "calib.npz").write_bytes(b"other data")
    found = lab.look(inputs, {})
    assert found.state == "complete"
    assert any("calib.npz changed" in fault for fault in found.faults)
    assert any("out.report.html is missing" in fault for fault in found.faults)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)])
def test_being_asked_to_end_is_as_ctrl_c(number: signal.Signals, tmp_path: Path) -> None:
    lab = lab_in(tmp_path, DATA)
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "HWOPT_CACHE": str(lab.cache), "HWOPT_DEBUG": "4",
        "TMPDIR": str(lab.temporary),
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "hwopt.cli", "optimize", *DATA, "-o", OUT],
        cwd=lab.folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if "progress  decide               0/" in line:
            process.send_signal(number)
            break
    said = process.stderr.read().splitlines()[-1]
    assert process.wait(60) == 130
    assert said.startswith("hwopt: interrupted: the best plan so far is in out.partial.plan.json")
    left = {path.name for path in lab.folder.iterdir()}
    assert left == {"model.onnx", "calib.npz", "out.partial.plan.json"}
    until = time.monotonic() + 20
    while list(lab.temporary.iterdir()) and time.monotonic() < until:
        time.sleep(0.02)
    assert list(lab.temporary.iterdir()) == []


def test_a_run_killed_with_all_its_group_and_the_janitor_is_cleared_up_by_the_next(tmp_path: Path) -> None:
    """As when a container ends: nobody is left to clear up."""
    lab = lab_in(tmp_path, EXACT)
    process = lab._start()
    assert process.stderr is not None
    next(line for line in process.stderr if "stage     find" in line)
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"={lab._mark}".encode() in (folder / "environ").read_bytes():
                os.kill(int(folder.name), signal.SIGSTOP)
        except OSError:
            continue
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"={lab._mark}".encode() in (folder / "environ").read_bytes():
                os.kill(int(folder.name), signal.SIGKILL)
        except OSError:
            continue
    process.communicate()
    assert processes(lab._mark) == []
    assert any("hwopt-run" in path.name for path in lab.folder.iterdir())
    assert any("hwopt-run" in path.name for path in lab.temporary.iterdir())
    assert lab.run()[0] == 0
    found = lab.look({}, {})
    assert found.faults == ()
    assert found.state == "complete"
