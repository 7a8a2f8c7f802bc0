"""Hand-made hostile models through the command line: one line and exit code 2, or a right result.

Each is a process with limits of its own (`tests.hostile.forking`): nothing is written but what was asked for,
memory and time stay small, and nothing outside the folder is touched.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hwopt.ir import interface, load_model
from hwopt.verify import differences
from tests.hostile.attacks import BOUNDED, HARMLESS, REFUSED, write
from tests.hostile.attacks_files import Build

_ROOT = Path(__file__).parents[2]
_PEAK = 700 * 2**20  # bytes; a run on a tiny model has 310 MB
_SIBLINGS = {"out.onnx", "out.plan.json", "out.report.json", "out.report.md", "out.report.html"}
_QUICK = (  # of those that a run goes on with, which costs seconds each; the others are slow
    "names with escapes", "names with line breaks", "data beside the model", "a sparse weight",
    "ConstantOfShape of 10 GB", "2^60 trips",
)  # fmt: skip
_LIMITS = {"HWOPT_GUARD_SECONDS": "10"}  # wall-clock time of native code on one model

Ended = dict[str, object]


class Runner:
    """Runs `hwopt optimize` on an attack, in a folder that holds nothing else."""

    def __init__(self, folder: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HWOPT_", "XDG_"))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile.forking"],
            cwd=_ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**kept, "HWOPT_CACHE": str(folder), "XDG_CONFIG_HOME": str(folder), **_LIMITS},
        )  # fmt: skip

    def run(self, *arguments: str) -> Ended:
        """What became of one command line."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(arguments), file=self._process.stdin, flush=True)
        found: Ended = json.loads(self._process.stdout.readline())
        return found

    def optimize(self, model: Path, out: Path) -> Ended:
        """`hwopt optimize`, without an oracle."""
        asked = ("--target", "edge-npu", "--refine", "0", "-o", str(out / "out.onnx"))
        return self.run("optimize", str(model), *asked)

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    if not hasattr(os, "fork"):
        pytest.skip("limits are set in a forked process")
    runner = Runner(tmp_path_factory.mktemp("cache"))
    yield runner
    runner.close()


def _tried(build: Build, tmp_path: Path, runner: Runner) -> tuple[Ended, Path, Path]:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    model = write(build, folder)
    before = _listing(tmp_path)
    ended = runner.optimize(model, out)
    after = {name: size for name, size in _listing(tmp_path).items() if not name.startswith("out/")}
    assert after == before, "something was written outside the output folder, or the input was changed"
    assert int(str(ended["peak_bytes"])) < _PEAK
    return ended, model, out


def _listing(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.lstat().st_size
        for path in sorted(folder.rglob("*"))
        if not path.is_dir()
    }


def _check_refused(ended: Ended, out: Path) -> None:
    text = str(ended["err"])
    assert ended["code"] == 2, text
    assert text.endswith("\n")
    assert text[:-1].isprintable()
    assert len(text) < 1500
    assert "Traceback" not in text
    assert ended["out"] == ""
    assert not list(out.iterdir())


def _check_right(ended: Ended, model: Path, out: Path) -> None:
    assert ended["code"] == 0, ended["err"]
    assert {path.name for path in out.iterdir()} == _SIBLINGS
    for text in (ended["out"], ended["err"], *(path.read_text() for path in out.glob("*.[hjm]*"))):
        assert not {letter for letter in str(text) if ord(letter) < 32 or letter in "\x7f\u202e"} - {"\n"}
    before, after = load_model(model), load_model(out / "out.onnx")
    assert interface(before) == interface(after)
    found = differences(before, after, {}, 7)
    assert isinstance(found, str) or all(item.exact for item in found)


@pytest.mark.parametrize("build", REFUSED.values(), ids=REFUSED)
def test_what_wants_something_bad_is_refused_in_one_line(
    build: Build, tmp_path: Path, runner: Runner
) -> None:
    ended, _, out = _tried(build, tmp_path, runner)
    _check_refused(ended, out)


def _marked(attacks: dict[str, Build]) -> list[object]:
    marks = {name: () if name in _QUICK else (pytest.mark.slow,) for name in attacks}
    return [pytest.param(build, id=name, marks=marks[name]) for name, build in attacks.items()]


@pytest.mark.parametrize("build", _marked(dict(HARMLESS)))
def test_what_only_looks_bad_comes_out_right(build: Build, tmp_path: Path, runner: Runner) -> None:
    _check_right(*_tried(build, tmp_path, runner))


@pytest.mark.parametrize("build", _marked(dict(BOUNDED)))
def test_what_would_never_end_or_fill_the_memory_is_stopped(
    build: Build, tmp_path: Path, runner: Runner
) -> None:
    ended, _, out = _tried(build, tmp_path, runner)
    if ended["code"] != 0:
        _check_refused(ended, out)


def test_a_truncated_and_an_empty_file(tmp_path: Path, runner: Runner) -> None:
    whole = write(HARMLESS["names like paths"], tmp_path).read_bytes()
    for size in (0, 1, 10, len(whole) // 2, len(whole) - 1):
        folder = tmp_path / str(size)
        folder.mkdir()
        (folder / "model.onnx").write_bytes(whole[:size])
        (folder / "out").mkdir()
        _check_refused(runner.optimize(folder / "model.onnx", folder / "out"), folder / "out")


_STRANGE = {"a pipe": os.mkfifo, "an endless device": lambda path: path.symlink_to("/dev/zero")}


@pytest.mark.parametrize("make", _STRANGE.values(), ids=_STRANGE)
@pytest.mark.parametrize("command", ["optimize", "analyze", "compare"])
def test_a_model_that_is_no_file_is_never_waited_for(
    make: Callable[[Path], None], command: str, tmp_path: Path, runner: Runner
) -> None:
    make(tmp_path / "model.onnx")
    (tmp_path / "out").mkdir()
    model, out = str(tmp_path / "model.onnx"), tmp_path / "out"
    asked = {
        "optimize": ("optimize", model, "-t", "edge-npu", "-o", str(out / "out.onnx")),
        "analyze": ("analyze", model, "-t", "edge-npu"),
        "compare": ("compare", model, model),
    }
    ended = runner.run(*asked[command])
    _check_refused(ended, out)
    assert "not a file: name a regular one" in str(ended["err"])
    assert int(str(ended["peak_bytes"])) < _PEAK


def test_a_file_that_is_too_long_for_protobuf_is_not_read(tmp_path: Path, runner: Runner) -> None:
    (tmp_path / "out").mkdir()
    with (tmp_path / "model.onnx").open("wb") as file:
        file.truncate(5 << 30)
    ended = runner.optimize(tmp_path / "model.onnx", tmp_path / "out")
    _check_refused(ended, tmp_path / "out")
    assert "save its weights as external data" in str(ended["err"])
    assert int(str(ended["peak_bytes"])) < _PEAK
