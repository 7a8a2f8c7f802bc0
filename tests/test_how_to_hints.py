"""docs/how-to-hints.md: its commands do what the page shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hwopt.hints.file import Hints, read_hints
from tests.pages import ROOT, blocks, page_text, run

NAME = "docs/how-to-hints.md"
PAGE = page_text(NAME)


def texts(kind: str) -> list[str]:
    """The text of every block of a kind; "" for output that follows no command."""
    return [block.text for block in blocks(NAME) if block.kind == kind]


def figures(line: str) -> list[str]:
    """What a row of the table of costs says, without its padding."""
    return re.split(r"\s{2,}", line.strip())


def test_the_commands_give_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "models").symlink_to(ROOT / "models")
    (tmp_path / "hints.toml").write_text(texts("toml")[0])
    followed = [block for block in blocks(NAME) if block.kind == "sh"]
    assert len(followed) == 3
    for block in followed:
        (command,) = block.commands
        if "--plan draft.plan.json" in command:
            plan = json.loads((tmp_path / "draft.plan.json").read_text())
            plan["steps"].append(json.loads(texts("json")[0]))
            (tmp_path / "draft.plan.json").write_text(json.dumps(plan))
        rows = [figures(line) for line in run(command, monkeypatch, capsys)]
        assert block.output is not None
        assert figures(block.output) in rows
    reports = [(tmp_path / name).read_text("utf-8") for name in ("hinted.report.md", "made.report.md")]
    for reason in ("pinned by", "preferred by", "forbidden by", "by itself"):
        line = next(line for text in texts("") for line in text.splitlines() if line.startswith(reason))
        assert any(line in report for report in reports), line


def test_every_key_on_the_page_is_read(tmp_path: Path) -> None:
    (tmp_path / "hints.toml").write_text(texts("toml")[0])
    assert isinstance(read_hints(tmp_path / "hints.toml"), Hints)
    for name in ("max_damage", "min_channels", "max_strength", "max_latency"):
        assert f"`{name}`" in PAGE
        (tmp_path / "limits.toml").write_text(f'schema_version = 1\n[limits]\n"a" = {{ {name} = 0.5 }}\n')
        assert read_hints(tmp_path / "limits.toml").limits
    tables = re.findall(r"^\| `\[([a-z.]+)\]", PAGE, flags=re.MULTILINE)
    assert {name.split(".")[0] for name in tables} == {"pin", "forbid", "channels", "prefer", "limits"}
