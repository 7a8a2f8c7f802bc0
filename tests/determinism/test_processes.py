"""The same input, data, seed and versions give the same bytes: in any process, wherever it runs.

Every world is a process of its own with everything in it changed that must not matter: the seed of Python's
hashes, how many threads numeric libraries take, how many cores there are, the time zone, the language, the
folder it runs in, how the input is named on the command line, and whether anything is remembered.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.graphs import write_classifier

ROOT = Path(__file__).parents[2]
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
CLOCKS = {"created", "timings_s", "seconds", "command", "passes"}  # `passes` has milliseconds


@dataclass(frozen=True)
class World:
    """Surroundings of a process. cores: how many it may use; None: all."""

    name: str
    hash_seed: int
    threads: int
    cores: int | None = None
    more: Mapping[str, str] = field(default_factory=dict)

    def environment(self, cache: Path) -> dict[str, str]:
        fixed = {"PYTHONHASHSEED": str(self.hash_seed), "HWOPT_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
        return {**os.environ, **fixed, **dict.fromkeys(THREADS, str(self.threads)), **self.more}


FIRST = World("first", 0, 1)
OTHERS = (
    World("another hash seed, eight threads", 4242, 8, more={"TZ": "Asia/Kathmandu", "LC_ALL": "C"}),
    World("one core, two threads", 7, 2, cores=1, more={"PYTHONOPTIMIZE": "1", "LANG": "tr_TR.UTF-8"}),
)


@dataclass(frozen=True)
class Case:
    """A run. options: of `hwopt optimize`; worlds: where it runs once more."""

    name: str
    model: str
    options: tuple[str, ...]
    worlds: tuple[World, ...] = OTHERS[:1]


CASES = (
    Case("exact, asking Vela", "figures.onnx", ("-t", "ethos-u55-256", "--refine", "4")),
    Case("exact, predicted", "figures.onnx", ("-t", "edge-npu", "--refine", "0")),
    Case("lossy", "model.onnx", ("-t", "edge-npu", "--calib", "calib.npz", "--max-divergence", ".5"), OTHERS),
    Case(
        "lossy, evolved, int8", "model.onnx",
        ("-t", "ethos-u55-256", "--refine", "0", "--calib", "calib.npz", "--max-divergence", "0.5",
         "--search", "evolve", "--evaluations", "200", "--quantize", "int8"),
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("material")
    write_classifier(folder)
    shutil.copyfile(ROOT / "models" / "figures" / "figures.onnx", folder / "figures.onnx")
    return folder


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_world_gives_the_same_bytes(case: Case, material: Path, tmp_path: Path) -> None:
    if "Vela" in case.name:
        pytest.importorskip("ethosu.vela", reason="needs the extra `ethos`")
    expected = result_of(case, FIRST, material, tmp_path / "first")
    for number, world in enumerate(case.worlds):
        found = result_of(case, world, material, tmp_path / f"other{number}")
        for name, content in expected.items():
            assert found[name] == content, f"{name} differs in the world '{world.name}'"


def result_of(case: Case, world: World, material: Path, folder: Path) -> dict[str, object]:
    """What a run leaves, by name: bytes of model and plan, and the report without its clocks."""
    shutil.copytree(material, folder)
    command = [sys.executable, "-m", "hwopt.cli", "optimize", case.model, "-o", "out.onnx", "--quiet"]
    done = subprocess.run(
        [*_on_cores(world.cores), *command, *case.options], cwd=folder, capture_output=True, text=True,
        env=world.environment(folder / "cache"), timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads((folder / "out.report.json").read_text("utf-8"))
    assert report["outcome"] == "changed"  # else nothing was decided that could differ
    made = {name: (folder / name).read_bytes() for name in ("out.onnx", "out.plan.json")}
    return {**made, "report": _without_clocks(report)}


def _on_cores(count: int | None) -> list[str]:
    if count is None or not shutil.which("taskset"):
        return []
    return ["taskset", "-c", ",".join(map(str, sorted(os.sched_getaffinity(0))[:count]))]


def _without_clocks(value: object) -> object:
    """The report without what a clock says, or how the run was called."""
    if isinstance(value, dict):
        return {key: _without_clocks(item) for key, item in value.items() if key not in CLOCKS}
    return [_without_clocks(item) for item in value] if isinstance(value, list) else value
