"""One run of `hwopt optimize` that is killed, and what is found after it.

The process gets kill -9 at a moment that is drawn; it alone, not its group: workers and the janitor are
on their own. Then everything is looked at: the output's folder, the temporary folder, the processes.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

ROOT = Path(__file__).parent.parent
OUT = "out.onnx"
SIBLINGS = ("out.plan.json", "out.report.json", "out.report.md", "out.report.html")
PARTIAL = "out.partial.plan.json"
ANYWHERE, WRITING, NAMING = "anywhere", "writing", "naming"
_MARK = "HWOPT_KILL_BENCH"
_WRITE = "stage     write"  # what the log shows when the writing begins
_GONE_S = 10.0  # until workers and temporary files must be gone
_NAMING_S = 0.003


@dataclass(frozen=True)
class Moment:
    """When a run is killed. kind: after `seconds` of the run, of its writing, or of its giving names."""

    kind: str
    seconds: float


@dataclass(frozen=True)
class Found:
    """What a run left. state: "absent", "complete", or "old": what was there before."""

    killed: bool
    state: str
    seconds_to_clear: float
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Lab:
    """Where runs are killed. folder: holds model.onnx and whatever the arguments name."""

    folder: Path
    temporary: Path
    cache: Path
    arguments: tuple[str, ...]

    def run(self) -> tuple[int, float, float]:
        """A run to the end: exit code, its seconds, and the seconds that it wrote."""
        begun = time.monotonic()
        process = self._start()
        assert process.stderr is not None
        wrote = begun
        for line in process.stderr:
            if _WRITE in line:
                wrote = time.monotonic()
        code = process.wait()
        return code, time.monotonic() - begun, time.monotonic() - wrote

    def kill(self, moment: Moment, forced: bool = False) -> bool:
        """A run that is killed at a moment; false where it had ended by then, with exit code 0.

        Raises RuntimeError where it ended otherwise. forced: over what is there (`--force`).
        """
        begun = time.monotonic()
        process = self._start(("--force",) if forced else ())
        before = _stamp(self.folder / SIBLINGS[0])
        if moment.kind == WRITING:
            assert process.stderr is not None
            next((line for line in process.stderr if _WRITE in line), "")
            begun = time.monotonic()
        elif moment.kind == NAMING:
            while process.poll() is None and _stamp(self.folder / SIBLINGS[0]) in (before, None):
                time.sleep(0.0002)
            begun = time.monotonic()
        while process.poll() is None and time.monotonic() - begun < moment.seconds:
            time.sleep(min(0.01, max(0.0, moment.seconds - (time.monotonic() - begun))))
        process.kill()
        _, said = process.communicate()
        if process.returncode not in (0, -signal.SIGKILL):
            raise RuntimeError(f"exit code {process.returncode}: {said.splitlines()[-1:]}")
        return process.returncode != 0

    def look(self, inputs: dict[str, str], old: dict[str, str], killed: bool = True) -> Found:
        """What is there once everything had its time to go. inputs, old: SHA-256 by name."""
        begun = time.monotonic()
        while self._strays() and time.monotonic() - begun < _GONE_S:
            time.sleep(0.005)
        cleared = time.monotonic() - begun
        faults = [*self._strays()]
        there = hashes(self.folder)
        faults += [f"{name} changed" for name, digest in inputs.items() if there.pop(name, "") != digest]
        there.pop(PARTIAL, None)
        state = "absent"
        if old and there == old:
            state = "old"
        elif there:
            state = "complete"
            faults += broken(self.folder, there)
        return Found(killed, state, cleared, tuple(faults))

    def _strays(self) -> list[str]:
        known = {OUT, *SIBLINGS, PARTIAL}
        inputs = {path.name for path in self.folder.iterdir() if path.suffix in (".npz", ".onnx")}
        beside = [path.name for path in self.folder.iterdir() if path.name not in known | inputs]
        scratch = [path.name for path in self.temporary.iterdir()]
        return [
            *(f"beside the output: {name}" for name in beside),
            *(f"in the temporary folder: {name}" for name in scratch),
            *(f"still running: {name}" for name in processes(self._mark)),
        ]

    def _start(self, more: Sequence[str] = ()) -> subprocess.Popen[str]:
        environment = {
            **os.environ, "PYTHONPATH": str(ROOT), "HWOPT_CACHE": str(self.cache), "HWOPT_DEBUG": "1",
            "TMPDIR": str(self.temporary), _MARK: self._mark,
        }  # fmt: skip
        command = [sys.executable, "-m", "hwopt.cli", "optimize", *self.arguments, "-o", OUT, *more]
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, start_new_session=True,
        )  # fmt: skip

    @property
    def _mark(self) -> str:
        return hashlib.sha256(str(self.folder).encode()).hexdigest()


def moments(count: int, seed: int, run_s: float, write_s: float) -> list[Moment]:
    """Of ten four anywhere in the run, three while it writes, three while files get their names."""
    dice = random.Random(seed)
    kinds = [(ANYWHERE, WRITING, NAMING, ANYWHERE, WRITING, NAMING, ANYWHERE)[i % 7] for i in range(count)]
    longest = {ANYWHERE: run_s, WRITING: write_s, NAMING: _NAMING_S}
    return [Moment(kind, dice.uniform(0.0, longest[kind])) for kind in kinds]


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of the files of a folder, by name."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.is_file()}


def broken(folder: Path, there: dict[str, str]) -> list[str]:
    """What is wrong with a result: files that miss, a model that is none, siblings of another model."""
    missing = [f"{name} is missing" for name in (OUT, *SIBLINGS) if name not in there]
    if missing:
        return missing
    faults = []
    try:
        onnx.checker.check_model(str(folder / OUT), full_check=True)
    except Exception as error:  # the checker raises many types
        faults.append(f"{OUT} is no valid model: {error}")
    digest = there[OUT]
    plan = json.loads((folder / SIBLINGS[0]).read_text("utf-8"))
    report = json.loads((folder / SIBLINGS[1]).read_text("utf-8"))
    if not plan["output_sha256"] == report["output"]["sha256"] == digest:
        faults.append("plan or report are of another model")
    faults += [
        f"{name} is of another model"
        for name in SIBLINGS[2:]
        if digest not in (folder / name).read_text("utf-8")
    ]
    return faults


def processes(mark: str) -> list[str]:
    """Command lines of all processes that a lab started and that still run (Linux)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{_MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:80])
        except OSError:
            continue
    return found


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
