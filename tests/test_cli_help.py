"""Help that teaches: purposes, headings, examples that can be typed, exit codes; and it is quick."""

from __future__ import annotations

import os
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from hwopt.cli.commands import COMMANDS, Group, commands
from hwopt.cli.entry import app, main
from hwopt.cli.help import made, sections
from hwopt.cli.run_options import (
    AccuracyOptions,
    ChangeOptions,
    LimitOptions,
    MakingOptions,
    PassOptions,
    SearchOptions,
    StepOptions,
    engine_options,
)
from hwopt.settings import Options

ROOT = Path(__file__).parent.parent
NAMES = [words for words, _ in commands()]
SECONDS = 0.3


def help_of(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main([*words.split(), "--help"]) == 0
    return capsys.readouterr().out


def examples() -> list[str]:
    """Every example of every command."""
    found = []
    for _, command in commands():
        _, parts = sections(str(command.function().__doc__))
        found += parts.get("Examples", [])
    return found


@pytest.mark.parametrize("words", NAMES)
def test_every_command_teaches(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(words, capsys)
    assert text.startswith(f"Usage: hwopt {words} ")
    lines = text[text.index("\nExamples:\n") :].splitlines()[2:]
    shown = [line.strip() for line in lines[: lines.index("")]]
    assert len(shown) >= 2
    assert all(line.startswith(f"hwopt {words}") for line in shown)
    codes = text[text.index("\nExit codes:\n") :]
    assert all(f"{code} " in codes for code in (0, 2, 3, 130))
    assert "--json" in text
    assert max(map(len, text.splitlines())) <= 110


@pytest.mark.parametrize("example", examples())
def test_every_example_can_be_typed(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsed to the end; running all of them would take minutes (tests of the how-to pages run some)."""
    (tmp_path / "hwopt.toml").write_text('schema_version = 1\ntarget = "edge-npu"\n[optimize]\nrefine = 0\n')
    monkeypatch.chdir(tmp_path)
    first, *words = shlex.split(example)
    assert first == "hwopt"
    name = words.pop(0)
    entry = next(item for item in COMMANDS if item.name == name)
    if isinstance(entry, Group):
        name = words.pop(0)
        entry = next(item for item in entry.commands if item.name == name)
    with made(entry).make_context(entry.name, words) as context:
        assert context.params


def test_the_list_is_in_the_order_in_which_a_user_meets_commands(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert [entry.name for entry in COMMANDS[:2]] == ["analyze", "optimize"]
    places = [text.index(f"\n  {entry.name} ") for entry in COMMANDS]
    assert places == sorted(places)
    assert text.index("Commands:") < text.index("Options:")


def test_options_stand_under_headings(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of("optimize", capsys)
    headings = [line[:-1] for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == [
        "Arguments", "Model and target", "Goal and limits", "Calibration data", "What may change", "Search",
        "Results", "Looking inside", "Options", "Examples", "Exit codes",
    ]  # fmt: skip
    options = text[text.index("\nOptions:\n") : text.index("\nExamples:\n")]
    assert "--max" not in options


def test_the_command_line_hands_on_every_option_of_a_run() -> None:
    groups = (LimitOptions(), AccuracyOptions(), PassOptions(), ChangeOptions(), MakingOptions())
    found = engine_options(["x:1,3"], *groups, SearchOptions(), StepOptions())
    assert set(found) == set(Options.__annotations__)


def test_prose_and_sections_are_told_apart() -> None:
    prose, found = sections("""One line.

    Two: lines.

    Examples:
        hwopt a
        hwopt b

    Exit codes:
        0  done
    """)
    assert prose == "One line.\n\nTwo: lines."
    assert found == {"Examples": ["hwopt a", "hwopt b"], "Exit codes": ["0  done"]}


def test_help_imports_nothing_that_takes_long() -> None:
    heavy = {
        "onnx",
        "onnx_ir",
        "numpy",
        "scipy",
        "xgboost",
        "networkx",
        "rich",
        "pydantic",
        "matplotlib",
        "jinja2",
    }
    script = (
        "import sys\nfrom hwopt.cli.entry import main\n"
        f"for words in (['--help'], ['--version']):\n"
        f"    assert main(words) == 0\nprint(sorted({heavy} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.parametrize("words", [["--help"], ["--version"]])
def test_help_and_version_are_quick(words: list[str]) -> None:
    """In processor time, the best of five: other work on the machine must not fail this test."""
    command = [sys.executable, "-m", "hwopt.cli", *words]
    spent = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, cwd=ROOT, env={**os.environ}, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < SECONDS


def test_a_command_is_imported_when_it_is_wanted() -> None:
    script = (
        "import sys\nfrom hwopt.cli.entry import main\nmain(['--help'])\n"
        "print([name for name in sys.modules if name in ('hwopt.cli.optimize', 'hwopt.cli.options')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_root_is_one_command_line() -> None:
    root = get_command(app)
    assert {"version", "as_json"} <= {param.name for param in root.params}
