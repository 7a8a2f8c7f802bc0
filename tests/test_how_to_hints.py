"""docs/how-to-hints.md: its commands do what the page shows."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from hwopt.cli import main
from hwopt.hints import Hints, read_hints

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "how-to-hints.md").read_text("utf-8")


def blocks(kind: str) -> list[str]:
    """The text of every block of a kind; "" for output."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    return [text for name, text in found if name == kind]


def figures(line: str) -> list[str]:
    """What a row of the table of costs says, without its padding."""
    return re.split(r"\s{2,}", line.strip())


def test_the_commands_give_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "models").symlink_to(ROOT / "models")
    (tmp_path / "hints.toml").write_text(blocks("toml")[0])
    shown = [figures(line) for text in blocks("") for line in text.splitlines() if " latency " in line]
    commands = blocks("sh")
    assert len(commands) == len(shown) == 3
    for text, expected in zip(commands, shown, strict=True):
        if "--plan draft.plan.json" in text:
            plan = json.loads((tmp_path / "draft.plan.json").read_text())
            plan["steps"].append(json.loads(blocks("json")[0]))
            (tmp_path / "draft.plan.json").write_text(json.dumps(plan))
        assert main([*shlex.split(text)[1:], "--quiet"]) == 0, capsys.readouterr().err
        rows = [figures(line) for line in capsys.readouterr().out.splitlines()]
        assert expected in rows
    reports = [(tmp_path / name).read_text("utf-8") for name in ("hinted.report.md", "made.report.md")]
    for reason in ("pinned by", "preferred by", "forbidden by", "by itself"):
        line = next(line for text in blocks("") for line in text.splitlines() if line.startswith(reason))
        assert any(line in report for report in reports), line


def test_every_key_on_the_page_is_read(tmp_path: Path) -> None:
    (tmp_path / "hints.toml").write_text(blocks("toml")[0])
    assert isinstance(read_hints(tmp_path / "hints.toml"), Hints)
    for name in ("max_damage", "min_channels", "max_strength", "max_latency"):
        assert f"`{name}`" in PAGE
        (tmp_path / "limits.toml").write_text(f'schema_version = 1\n[limits]\n"a" = {{ {name} = 0.5 }}\n')
        assert read_hints(tmp_path / "limits.toml").limits
    tables = re.findall(r"^\| `\[([a-z.]+)\]", PAGE, flags=re.MULTILINE)
    assert {name.split(".")[0] for name in tables} == {"pin", "forbid", "channels", "prefer", "limits"}
