"""Parts of the command line in this process: crashes, listeners, clean standard output."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import onnx_ir as ir
import pytest
from rich.progress import Progress

from hwopt import trace
from hwopt.cli import entry as cli
from hwopt.cli import watch as cli_watch
from hwopt.errors import BudgetNotMet, HwoptError, RewriteFailed
from hwopt.estimate import Estimate, Source


def raising(error: BaseException, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> int:
    """The exit code of `hwopt passes list` where that raises the error."""

    def fail() -> None:
        raise error

    monkeypatch.setattr("hwopt.registry.all_passes", fail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return cli.main(["passes", "list"])


def test_a_verdict_is_exit_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert raising(BudgetNotMet("closest plan\nis 6 ms"), monkeypatch, tmp_path) == 1
    assert capsys.readouterr().err == "hwopt: closest plan is 6 ms\n"


def test_an_interruption_is_exit_130(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert raising(KeyboardInterrupt(), monkeypatch, tmp_path) == 130
    assert capsys.readouterr().err.strip() == "hwopt: interrupted, nothing was written"


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("a secret\nhabit"), RewriteFailed("broke"), HwoptError("odd")]
)
def test_a_bug_is_exit_3_and_leaves_a_reproducer(
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert raising(error, monkeypatch, tmp_path) == 3
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    folder = Path(line.rsplit(" ", 1)[1].strip())
    assert folder.parent == tmp_path
    assert type(error).__name__ in (folder / "traceback.txt").read_text()
    facts = json.loads((folder / "error.json").read_text())
    assert facts["command"] == "hwopt passes list"
    assert "numpy" in facts["versions"]


def test_the_log_shows_more_at_each_level() -> None:
    model = ir.Model(ir.Graph([], [], nodes=[]), ir_version=10)
    events: list[trace.Event] = [
        trace.StageStarted("load"),
        trace.RewriteApplied(1, "densify_depthwise", "form-1", "dense", 10, 10, model),
        trace.ValuePriced("form-1", "dense", Estimate(7.0, 1.0, Source.PREDICTED)),
        trace.PlaceSkipped("fuse_ibn", "conv_1", "weight is not a constant"),
    ]
    counts = []
    for level in range(5):
        stream = io.StringIO()
        for event in events:
            trace.emit((cli_watch.LogListener(level, stream),), event)
        counts.append(stream.getvalue().count("\n"))
    assert counts == [0, 1, 2, 3, 4]


def test_a_finished_stage_takes_what_was_counted_inside_it_off_the_display() -> None:
    display = Progress(disable=True)
    listener = cli_watch.ProgressListener(display)
    shown = []
    for event in (
        trace.StageStarted("search"),
        trace.Progress("refine", 1, 0),
        trace.Progress("refine", 2, 4),
        trace.StageDone("search", 0.1),
    ):
        listener(event)
        shown.append([task.description for task in display.tasks])
    both = ["searching", "plans shown to the oracle"]
    assert shown == [both[:1], both, both, []]


def test_the_display_says_what_the_best_plan_so_far_is() -> None:
    display = Progress(disable=True)
    listener = cli_watch.ProgressListener(display)
    listener(trace.StageStarted("search"))
    listener(trace.BetterPlan({}, 1234.56, 0.0))
    assert [task.description for task in display.tasks] == ["searching, best so far 1,234.6 us"]
    listener(trace.Progress("decide", 1, 8))
    listener(trace.BetterPlan({"form": "dense"}, 900.0, 0.0123))
    assert all(task.description.endswith(", best so far 900.0 us, damage 0.0123") for task in display.tasks)
    assert [task.completed for task in display.tasks] == [0, 1]


def test_native_prints_do_not_reach_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    with cli_watch.stdout_kept_clean():
        os.write(1, b"chatter of a library\n")
    os.write(1, b"result\n")
    captured = capfd.readouterr()
    assert captured.out == "result\n"
    assert captured.err == "chatter of a library\n"


def test_stages_are_timed_even_where_they_fail() -> None:
    timings = trace.Timings()
    with pytest.raises(ValueError, match="stop"), trace.stage((timings,), "price"):
        raise ValueError("stop")
    with trace.stage((timings,), "load"):
        pass
    with trace.stage((timings,), "price"):
        pass
    assert list(timings.to_json()) == ["price", "load"]
    assert all(value >= 0 for value in timings.seconds.values())


def test_the_recorder_keeps_what_was_passed_over() -> None:
    recorder = trace.Recorder()
    skipped = trace.PlaceSkipped("fuse_ibn", "conv_1", "because")
    model = ir.Model(ir.Graph([], [], nodes=[]), ir_version=10)
    with trace.timed_pass((recorder,), "fuse_ibn", model):
        trace.emit((recorder,), skipped)
    assert recorder.skipped() == [skipped]
    assert isinstance(recorder.events[-1], trace.PassDone)
