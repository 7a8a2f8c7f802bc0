"""docs/debugging.md: its commands do what the page shows, with the plug-in of docs/examples."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.main import get_command

from hwopt.cli import app, main

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "debugging.md").read_text("utf-8")
EXAMPLE = ROOT / "docs" / "examples" / "merge_pointwise"
MODULE = "merge_pointwise"
SECONDS = re.compile(r"\d+\.\d+ ?s\b")
TOOK = re.compile(r"(^\[.*) \d+\.\d+ ms$")
TINY = re.compile(r"\d(\.\d+)?e-\d+")  # what float rounding leaves depends on the machine
LIMIT = re.compile(r"0\.0001\d*")  # it holds the model's own noise


@dataclass(frozen=True)
class Shown:
    """A command of the page, what it shows of its output, and a piece of Python that comes before it."""

    command: str
    output: str
    mend: str


def blocks() -> list[tuple[str, str]]:
    return re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)


def shown() -> list[Shown]:
    """Every command with the block of output that follows it."""
    found, mend = [], ""
    for (kind, text), (_, after) in zip(blocks(), [*blocks()[1:], ("", "")], strict=True):
        if kind == "python":
            mend = text
        if kind == "sh":
            found.append(Shown(text.strip(), after, mend))
            mend = ""
    return found


@pytest.fixture
def plugged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The example, as if it was installed: the file of its pass."""
    site = tmp_path / "site"
    info = site / "merge_pointwise-0.1.dist-info"
    info.mkdir(parents=True)
    shutil.copy(EXAMPLE / f"{MODULE}.py", site)
    declared = (EXAMPLE / "pyproject.toml").read_text("utf-8")
    (declaration,) = re.findall(r'^\[project\.entry-points\."(.*)"\]\n(.*)$', declared, flags=re.MULTILINE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: merge-pointwise\nVersion: 0.1\n", "utf-8")
    (info / "entry_points.txt").write_text("[{}]\n{}\n".format(*declaration).replace('"', ""), "utf-8")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(ROOT)]))
    yield site / f"{MODULE}.py"
    sys.modules.pop(MODULE, None)


def mended(module: Path, lines: str) -> None:
    """Puts the lines into `why_not`, as the page says."""
    text = module.read_text("utf-8")
    before, last, after = text.partition('    return "it is grouped"')
    assert last
    module.write_text(before + lines + last + after, "utf-8")
    shutil.rmtree(module.parent / "__pycache__", ignore_errors=True)
    sys.modules.pop(MODULE, None)
    importlib.invalidate_caches()


def run(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What a command of the page prints, standard error first; with `; echo $?` its exit code comes last."""
    command, asked, _ = command.partition("; echo $?")
    words = shlex.split(command)
    if words[0] == "ls":
        return sorted(item.name for item in Path(words[1]).iterdir())
    with monkeypatch.context() as patched:
        while "=" in words[0]:
            patched.setenv(*words.pop(0).split("=", 1))
        code = main([*words[1:], *([] if asked else ["--force"] if "-o" in words else [])])
    told = capsys.readouterr()
    return [*told.err.splitlines(), *told.out.splitlines(), *([str(code)] if asked else [])]


def normalised(line: str) -> str:
    """Without what differs between machines, and without the padding of tables."""
    for pattern, instead in ((TOOK, r"\1 # ms"), (SECONDS, "#s"), (TINY, "#"), (LIMIT, "0.0001")):
        line = pattern.sub(instead, line)
    return " ".join(line.split())


def assert_shown(expected: str, told: list[str]) -> None:
    """Every line of the page comes in this order; `...` stands for any lines, or for the rest of one."""
    lines = [normalised(line) for line in told]
    lines = [line for line in lines if line.strip("─ ")]
    at, gap = 0, False
    for line in filter(None, map(normalised, expected.splitlines())):
        if not line.strip("─ "):
            continue
        if line == "...":
            gap = True
            continue
        wanted = re.compile(re.escape(line).replace(re.escape("..."), ".*"))
        found = next((i for i in range(at, len(lines)) if wanted.fullmatch(lines[i])), None)
        assert found is not None, (line, lines[at:])
        assert gap or found == at, (line, lines[at : found + 1])
        at, gap = found + 1, False
    assert gap or at == len(lines), lines[at:]


def test_the_commands_give_what_the_page_shows(
    plugged_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    (here / "models").symlink_to(ROOT / "models")
    steps = shown()
    assert len(steps) > 8
    for step in steps:
        if step.mend:
            mended(plugged_in, step.mend)
        assert_shown(step.output, run(step.command, monkeypatch, capsys))


def test_every_option_on_the_page_exists() -> None:
    known = {
        text
        for command in get_command(app).commands.values()  # type: ignore[attr-defined]
        for item in command.params
        for text in item.opts
    }
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE))
    assert len(named) > 20
    assert named - known == set()
