"""kill -9 between any two names of a result: all of it, or what was there before. Two runs, one output."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hwopt.errors import BadInput
from hwopt.files import janitor, leftovers, publication
from hwopt.files.leftovers import is_run_folder, new_name, sweep
from hwopt.files.scratch import claim, workshop
from hwopt.report.write import OutputFiles, Stage, staged
from tests.report.reports import example

ROOT = Path(__file__).parent.parent.parent
STEPS = 14  # more than a publication has
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and kill -9")


@pytest.fixture(autouse=True)
def short_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a report looks like does not matter here, and to make one takes long."""
    for name in ("to_html", "to_markdown"):
        monkeypatch.setattr(f"hwopt.report.write.{name}", lambda report: f"of {report.output.sha256}")


def publish(out: Path, content: bytes, force: bool, data: bytes | None = None) -> None:
    with staged(out, force) as stage:
        put(stage, content, data)


def put(stage: Stage, content: bytes, data: bytes | None) -> None:
    stage.onnx.write_bytes(content)
    if data is not None:
        stage.onnx.with_name(stage.onnx.name + ".data").write_bytes(data)
    stage.publish({"schema_version": 1}, example())


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def killed_at(step: int, work: Callable[[], None], watched: bool) -> bool:
    """Does it in a process of its own, which ends itself before its n-th renaming; whether it got there.

    watched: whether there is a janitor.
    """
    child = os.fork()
    if child == 0:
        left = [step]
        rename = os.replace

        def replace(source: os.PathLike[str], target: os.PathLike[str]) -> None:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            rename(source, target)

        publication.os.replace = leftovers.os.replace = replace  # type: ignore[attr-defined]
        if not watched:
            janitor._JANITOR.owner = os.getpid()
            janitor._JANITOR.process = None
        try:
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def complete(folder: Path, content: bytes) -> bool:
    found = OutputFiles.beside(folder / "out.onnx")
    digest = hashlib.sha256(content).hexdigest()
    return (
        found.onnx.exists()
        and found.onnx.read_bytes() == content
        and json.loads(found.plan.read_text())["output_sha256"] == digest
        and json.loads(found.report_json.read_text())["output"]["sha256"] == digest
        and digest in found.report_md.read_text()
        and digest in found.report_html.read_text()
    )


@pytest.mark.parametrize("data", [None, b"weights"])
def test_a_first_result_is_there_or_not_at_all(tmp_path: Path, data: bytes | None) -> None:
    reached = []
    for step in range(STEPS):
        folder = tmp_path / str(step)
        folder.mkdir()
        out = folder / "out.onnx"
        reached.append(killed_at(step, lambda out=out: publish(out, b"model", False, data), watched=False))  # type: ignore[misc]
        publish(out, b"model", force=out.exists(), data=data)  # the next run clears up
        assert complete(folder, b"model")
        assert not [path for path in folder.iterdir() if is_run_folder(path)]
    assert reached[0]
    assert not reached[-1]
    assert 5 <= sum(reached) < STEPS


@pytest.mark.parametrize("data", [None, b"new weights"])
def test_over_an_old_result_it_is_the_old_one_or_the_new_one(tmp_path: Path, data: bytes | None) -> None:
    outcomes = set()
    for step in range(STEPS + 8):
        folder = tmp_path / str(step)
        folder.mkdir()
        out = folder / "out.onnx"
        publish(out, b"old", False, b"old weights")
        before = files(folder)
        killed_at(step, lambda out=out: publish(out, b"new", True, data), watched=False)  # type: ignore[misc]
        sweep(folder)
        if files(folder) == before:
            outcomes.add("old")
        else:
            outcomes.add("new")
            assert complete(folder, b"new")
            assert files(folder).get("out.onnx.data") == data
        assert not [path for path in folder.iterdir() if path.is_dir()]
    assert outcomes == {"old", "new"}


def test_the_janitor_does_it_at_once(tmp_path: Path) -> None:
    for step in (0, 3, 5):
        out = tmp_path / "out.onnx"
        assert killed_at(step, lambda out=out: publish(out, b"model", False), watched=True)  # type: ignore[misc]
        until = time.monotonic() + 30
        while list(tmp_path.iterdir()) and time.monotonic() < until:
            time.sleep(0.01)
        assert list(tmp_path.iterdir()) == []


def test_an_undoing_that_is_killed_itself_is_undone_by_the_next(tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    publish(out, b"old", False)
    before = files(tmp_path)
    killed_at(9, lambda: publish(out, b"new", True), watched=False)
    for step in range(6):
        killed_at(step, lambda: print(sweep(tmp_path)), watched=False)
    sweep(tmp_path)
    assert files(tmp_path) == before


def killed_tidying(out: Path, after: int) -> None:
    """A run over an old result that ends itself once so many files of its stage were removed."""

    def tidy() -> None:
        remove, left = os.unlink, [after]

        def unlink(name: str, *arguments: object, **options: int) -> None:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            remove(name, **options)

        os.unlink = unlink  # type: ignore[assignment]
        publish(out, b"new", True)

    assert killed_at(99, tidy, watched=False)


def test_a_tidying_that_is_killed_loses_and_leaves_nothing(tmp_path: Path) -> None:
    """The result is complete, the stage half removed: in whatever order its files went."""
    for number in range(4):
        folder = tmp_path / str(number)
        folder.mkdir()
        publish(folder / "out.onnx", b"old", False)
        killed_tidying(folder / "out.onnx", number)
        sweep(folder)
        assert complete(folder, b"new")
        assert not [path for path in folder.iterdir() if path.is_dir()]


def test_a_result_that_was_moved_away_keeps_its_siblings(tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    publish(out, b"old", False)
    killed_tidying(out, 0)
    out.rename(tmp_path / "elsewhere.onnx")
    sweep(tmp_path)
    assert hashlib.sha256(b"new").hexdigest() in (tmp_path / "out.report.md").read_text()
    assert not out.exists()
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_a_file_that_somebody_puts_there_meanwhile_is_not_touched(tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    killed_at(3, lambda: publish(out, b"model", False), watched=False)
    mine = tmp_path / "out.plan.json"
    assert mine.exists()
    mine.unlink()
    mine.write_text("mine")
    sweep(tmp_path)
    assert files(tmp_path) == {"out.plan.json": b"mine"}


def test_a_disk_that_refuses_a_name_leaves_the_old_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.onnx"
    publish(out, b"old", False)
    before = files(tmp_path)
    rename = os.replace

    def refusing(source: os.PathLike[str], target: os.PathLike[str]) -> None:
        if Path(target) == out and b"new" in Path(source).read_bytes():
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "replace", refusing)
    with pytest.raises(BadInput, match="No space left"):
        publish(out, b"new", True)
    assert files(tmp_path) == before
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_two_runs_do_not_make_one_file(tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    with staged(out) as first:
        with pytest.raises(BadInput, match="being made by another run of hwopt"), staged(out):
            pass
        with staged(tmp_path / "other.onnx"):
            pass
        put(first, b"model", None)
    assert complete(tmp_path, b"model")
    with pytest.raises(BadInput, match="exists"), staged(out):
        pass


def test_a_result_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    with staged(out) as stage:
        out.write_text("mine")
        with pytest.raises(BadInput, match="exists"):
            put(stage, b"model", None)
    assert files(tmp_path) == {"out.onnx": b"mine"}


def test_a_folder_that_is_gone_is_a_line(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    with staged(folder / "out.onnx") as stage:
        stage.folder.rmdir()
        folder.rmdir()
        with pytest.raises(BadInput, match=r"out\.onnx cannot be written"):
            stage.publish({}, example())


def test_folders_of_others_are_let_alone(tmp_path: Path) -> None:
    kept = tmp_path / ".notes.hwopt-run.old"
    kept.mkdir()
    with workshop(tmp_path / "a.json") as alive:
        dead = tmp_path / new_name(".b.json")
        dead.mkdir()
        assert sweep(tmp_path) == [alive]
        assert sorted(tmp_path.iterdir()) == sorted([kept, alive])
    assert list(tmp_path.iterdir()) == [kept]


def test_a_journal_that_somebody_made_reaches_no_other_folder(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    folder = tmp_path / "results"
    folder.mkdir()
    found = (tmp_path / "victim").stat()
    stage = folder / new_name(".out.onnx")
    stage.mkdir()
    row = {"name": "../victim", "device": found.st_dev, "inode": found.st_ino, "size": found.st_size}
    for text in (json.dumps([row]), "{broken", "[1]", '{"a": 1}', "[" * 5000):
        stage.mkdir(exist_ok=True)
        (stage / leftovers.JOURNAL).write_text(text)
        sweep(folder)
        assert (tmp_path / "victim").read_text() == "mine"
        assert not stage.exists()


def test_a_folder_that_cannot_be_written_to_is_known_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with (
        pytest.raises(BadInput, match="cannot be written to: Read-only"),
        claim(tmp_path / "o", lambda: None),
    ):
        pass


def test_temporary_folders_go_with_a_process_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import os, signal, tempfile; from hwopt.files.scratch import *\n"
        "with own_temporary_files():\n"
        "    folder = temporary_folder(); tempfile.mkdtemp()\n"
        "    print(folder.name, flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL
    assert Path(done.stdout.strip()).is_relative_to(tmp_path)
    until = time.monotonic() + 30
    while list(tmp_path.iterdir()) and time.monotonic() < until:
        time.sleep(0.01)
    assert list(tmp_path.iterdir()) == []
