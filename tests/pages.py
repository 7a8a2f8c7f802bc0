"""Reads the documentation's blocks and does what they say, as somebody who follows a page from its top.

The conventions of a page, all of which a reader of the page can see in its source:

- ```` ```sh ````: run line by line in the page's folder (a line that ends in a backslash goes on). With
  `; echo $?` any exit code will do, and it is printed; without, it must be 0.
- A block without a kind right behind it: what the commands print. `...` stands for any lines, or for the
  rest of one.
- ```` ```python ````: run in the same folder; names live on to the page's next block.
- `<!-- file: NAME -->` before a block of any kind: the block is that file, and it is not run.
- `<!-- not run: REASON -->` before a block: it is skipped, with that reason.

Nothing is measured that a page does not ask for (`--refine 0`); with calibration data few passes take part.
Every page has a folder of its own with `model.onnx`, a small classifier, its calibration data as `images/`
and `calib.npz`, and `models/` and `docs/` of this repository. Nothing is overwritten for a page that writes
a file twice: its reader would get the same error.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from typer.main import get_command

import hwopt.pipeline
from hwopt.cli.commands import COMMANDS, Command, Group
from hwopt.cli.entry import app, main
from hwopt.cli.help import made_of
from hwopt.ir import load_model
from hwopt.settings import Settings, settings
from tests.graphs import output_of, write_classifier

if TYPE_CHECKING:  # as in hwopt.cli.help
    from typer._click import Command as ClickCommand

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r"(?:^<!-- (?P<note>[^\n]*) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.S | re.M)
PREDICTED = ("analyze", "optimize", "explain")  # no page asks an oracle unless it says so
QUICK = "canonicalize,densify_depthwise,align_channels"  # what runs with calibration data may do
LOSSY = {"max_drop", "max_divergence", "metric"}
SECONDS = re.compile(r"\d+\.\d+ ?s\b")
TOOK = re.compile(r"(^\[.*) \d+\.\d+ ms$")
TINY = re.compile(r"\d(\.\d+)?e-\d+")  # what float rounding leaves depends on the machine
LIMIT = re.compile(r"0\.0001\d*")  # it holds the model's own noise


@dataclass(frozen=True)
class Block:
    """A fenced block. note: the comment before it; output: what the page shows of its output, or None."""

    page: str
    line: int
    kind: str
    text: str
    note: str = ""
    output: str | None = None

    @property
    def file(self) -> str:
        """The file that the block is; "" where it is none."""
        return self.note.removeprefix("file: ") if self.note.startswith("file: ") else ""

    @property
    def skipped(self) -> str:
        """Why the block is not run; "" where it is."""
        return self.note.removeprefix("not run: ") if self.note.startswith("not run: ") else ""

    @property
    def commands(self) -> list[str]:
        """The block's lines, those that go on joined."""
        return [line for line in self.text.replace("\\\n", " ").splitlines() if line.strip()]


def page_text(page: str) -> str:
    """The text of a page, named from the repository's root."""
    return (ROOT / page).read_text("utf-8")


def blocks(page: str) -> list[Block]:
    """Every block of a page in its order; one of output belongs to the block before it."""
    text, found, end = page_text(page), list[Block](), 0
    for match in FENCE.finditer(text):
        kind, note, body = match["kind"], match["note"] or "", match["text"]
        follows = bool(found) and not text[end : match.start()].strip()
        if not kind and not note and follows and found[-1].kind == "sh" and found[-1].output is None:
            last = found.pop()
            found.append(Block(page, last.line, last.kind, last.text, last.note, body))
        else:
            found.append(Block(page, text[: match.start("text")].count("\n"), kind, body, note))
        end = match.end()
    return found


def hwopt_commands(found: list[Block]) -> list[list[str]]:
    """The words of every `hwopt` command in the blocks."""
    lines = [line.partition(";")[0] for block in found if block.kind == "sh" for line in block.commands]
    return [words for line in lines if (words := shlex.split(line, comments=True))[:1] == ["hwopt"]]


def unknown_options(words: list[str]) -> list[str]:
    """The options of a command of hwopt that there are not."""
    path = tuple(words[1:3])
    known = next((options for name, options in _options().items() if path[: len(name)] == name), None)
    assert known is not None, f"there is no command {shlex.join(words)}"
    return [word for word in words if re.match(r"--?[a-z]", word) and word not in known]


def known_options() -> set[str]:
    """Every option that some command of hwopt has."""
    return set().union(*_options().values())


@cache
def _options() -> Mapping[tuple[str, ...], frozenset[str]]:
    """The options of every command, by its words; of hwopt alone behind all of them."""
    rows = [(entry.name, row) for entry in COMMANDS if isinstance(entry, Group) for row in entry.commands]
    found: dict[tuple[str, ...], Command] = {(group, row.name): row for group, row in rows}
    found |= {(row.name,): row for row in COMMANDS if isinstance(row, Command)}
    options = {name: _of(made_of(row.function(), row)) for name, row in found.items()}
    return {**options, (): _of(get_command(app))}


def _of(command: ClickCommand) -> frozenset[str]:
    texts = [text for item in command.params for text in (*item.opts, *item.secondary_opts)]
    return frozenset({*texts, "--help", "-h"})


def furnish(folder: Path) -> None:
    """The page's folder, as the conventions above say."""
    write_classifier(folder)
    model = load_model(folder / "model.onnx")
    images = folder / "images"
    images.mkdir()
    pixels = np.random.default_rng(3).integers(0, 256, (200, 16, 16, 3), dtype=np.uint8)
    scores = output_of(model, (pixels.astype(np.float32).transpose(0, 3, 1, 2) - 127.5) / 64.0)
    best = np.sort(scores, axis=1)
    rows = ["file,label"]
    for number in np.argsort(best[:, -2] - best[:, -1])[:20]:  # of those it is sure of, as if it was trained
        Image.fromarray(pixels[number]).save(images / f"{number:03}.png")
        rows.append(f"{number:03}.png,{scores[number].argmax()}")
    (images / "labels.csv").write_text("\n".join(rows) + "\n", "utf-8")
    (images / "preprocess.toml").write_text("mean = 127.5\nscale = 64.0\n", "utf-8")
    for name in ("models", "docs"):
        (folder / name).symlink_to(ROOT / name)


@dataclass
class Session:
    """A page as it is followed. done: how many of its blocks are behind."""

    page: str
    folder: Path
    done: int = 0
    names: dict[str, object] = field(default_factory=lambda: {"__name__": "__page__"})

    def follow(self, until: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        """Does all blocks up to this one that were not done before."""
        monkeypatch.chdir(self.folder)
        monkeypatch.setattr(hwopt.pipeline, "settings", partial(predicted, settings))
        found = blocks(self.page)
        while self.done <= until:
            block = found[self.done]
            self.done += 1
            if block.file:
                path = self.folder / block.file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, "utf-8")
            elif block.kind == "python" and not block.skipped:
                code = compile("\n" * block.line + block.text, str(ROOT / block.page), "exec")
                exec(code, self.names)
            elif block.kind == "sh" and not block.skipped:
                printed = [line for words in block.commands for line in run(words, monkeypatch, capsys)]
                if block.output is not None:
                    assert_shown(block.output, printed)


def predicted(check: object, **options: object) -> Settings:
    """The settings of a Python block: nothing is measured where it does not ask for it."""
    del check
    return settings(**{"refine": 0, "passes": QUICK.split(",") if LOSSY & options.keys() else (), **options})  # type: ignore[arg-type]


def run(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What a command of a page prints, standard error first; with `; echo $?` its exit code comes last."""
    line, asked, _ = command.partition("; echo $?")
    words, environment = shlex.split(line), dict[str, str]()
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        environment[name] = value
    if words[0] == "ls":
        return sorted(item.name for item in Path(words[1]).iterdir())
    if words[0] == "hwopt" and not set("|&<>$") & set(line):
        code, told = _here(words[1:], environment, monkeypatch, capsys)
    else:
        code, told = _in_a_shell(line)
    assert asked or code == 0, (command, told)
    return [*told, *([str(code)] if asked else [])]


def _here(
    words: list[str],
    environment: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> tuple[int, list[str]]:
    """A command of hwopt in this process, which is faster than in one of its own."""
    more = ["--refine", "0"] if words[0] in PREDICTED and "--refine" not in words else []
    more += ["--passes", QUICK] if "--calib" in words and "--passes" not in words else []
    capsys.readouterr()
    with monkeypatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        code = main([*words, *more])
    told = capsys.readouterr()
    return code, [*told.err.splitlines(), *told.out.splitlines()]


def _in_a_shell(line: str) -> tuple[int, list[str]]:
    tools = Path("bin").absolute()
    if not tools.is_dir():
        tools.mkdir()
        for name, what in (("hwopt", "-m hwopt.cli "), ("python", "")):
            (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {what}"$@"\n', "utf-8")
            (tools / name).chmod(0o755)
    paths = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", line],
        env={**os.environ, **paths},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, [*done.stderr.splitlines(), *done.stdout.splitlines()]


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
