"""`hwopt analyze`: through a real process, and as a terminal would show it."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from hwopt.cli.analysis import Wanted, bar, show
from hwopt.ir import save_model
from hwopt.pipeline import analyze
from hwopt.report.schema import Report
from tests.graphs import classifier

Hwopt = Callable[..., "subprocess.CompletedProcess[str]"]
COMMAND = ("analyze", "net.onnx", "-t", "edge-npu", "--refine", "0")
LONG = "a/very/long/name/of/a/module/that/a/framework/made/up/and/nobody/reads"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that holds net.onnx: nine subgraphs."""
    save_model(classifier(), tmp_path / "net.onnx")
    return tmp_path


@pytest.fixture(scope="module")
def report() -> Report:
    model = classifier()
    next(iter(model.graph)).name = f"{LONG}/stem"
    return analyze(model, target="edge-npu", refine=0, gains=True)


def shown(report: Report, width: int, terminal: bool, wanted: Wanted) -> str:
    """What a console of that width shows, without colours."""
    stream = io.StringIO()
    console = Console(
        file=stream, width=width, force_terminal=terminal, color_system=None, soft_wrap=True, highlight=False,
        legacy_windows=False,
    )  # fmt: skip
    show(report, console, wanted)
    return stream.getvalue()


def test_it_says_what_is_to_blame_and_what_there_is_to_gain(folder: Path, hwopt: Hwopt) -> None:
    done = hwopt(*COMMAND, cwd=folder)
    assert done.returncode == 0, done.stderr
    for words in ("% of the time is spent in", "memory peak: ", "weights: ", "exact rewrites: ", "at most -"):
        assert words in done.stdout
    assert "fuse_ibn" in done.stdout
    assert "\x1b" not in done.stdout  # no terminal, no colours
    assert not set("▏▎▍▌▋▊▉█") & set(done.stdout)
    assert [path.name for path in folder.iterdir()] == ["net.onnx"]


def test_without_the_potential(folder: Path, hwopt: Hwopt) -> None:
    done = hwopt(*COMMAND, "--no-potential", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert "unavailable" in report["potential"]
    assert report["choices"] == []
    assert report["where_time_goes"]["kinds"]


def test_files_are_written_and_never_overwritten(folder: Path, hwopt: Hwopt) -> None:
    files = ("-o", "r.json", "-o", "r.md", "-o", "r.csv", "-o", "r.html")
    done = hwopt(*COMMAND, "--no-potential", *files, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert all(f"wrote {name}" in done.stdout for name in files[1::2])
    assert json.loads((folder / "r.json").read_text())["outcome"] == "analysed"
    assert len((folder / "r.csv").read_text().splitlines()) == 1 + 9
    again = hwopt(*COMMAND, "--no-potential", "-o", "r.md", cwd=folder)
    assert (again.returncode, "--force" in again.stderr) == (2, True)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--subgraphs", "0"), "whole number from 1, or all"),
        (("--subgraphs", "some"), "whole number from 1, or all"),
        (("--sort", "colour"), "colour"),
        (("-o", "out.onnx"), "analyze writes no model"),
        (("-o", "nowhere/r.md"), "is not a folder"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_any_work(
    options: tuple[str, ...], complaint: str, folder: Path, hwopt: Hwopt
) -> None:
    done = hwopt(*COMMAND, *options, cwd=folder)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_terminal_of_100_columns_cuts_nothing_but_names(report: Report) -> None:
    text = shown(report, 100, True, Wanted())
    assert max(len(line) for line in text.splitlines()) <= 100
    _, table, *_, passes, largest = text.split("\n\n")
    assert LONG not in table
    assert "/stem" in table  # a name's end tells more than its beginning
    assert "█" in table
    for part in (table, passes, largest):
        cut = [line for line in part.splitlines() if "…" in line]
        assert all(line.startswith("…") and line.count("…") == 1 for line in cut)


def test_a_narrow_one_leaves_out_bars(report: Report) -> None:
    assert "█" not in shown(report, 80, True, Wanted())


def test_as_many_subgraphs_as_were_asked_for(report: Report) -> None:
    assert "6 more" in shown(report, 100, True, Wanted(3))
    assert " more " not in shown(report, 100, True, Wanted(None)).split("\n\n")[1]


@pytest.mark.parametrize(("share", "drawn"), [(1.0, "██████"), (0.5, "███"), (0.0, ""), (1e-9, "▏")])
def test_a_bar_is_as_long_as_its_share(share: float, drawn: str) -> None:
    assert bar(share) == drawn
