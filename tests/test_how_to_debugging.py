"""docs/debugging.md: its commands do what the page shows, with the plug-in of docs/examples."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pages import ROOT, assert_shown, blocks, run

EXAMPLE = ROOT / "docs" / "examples" / "merge_pointwise"
MODULE = "merge_pointwise"


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


def test_the_commands_give_what_the_page_shows(
    plugged_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    (here / "models").symlink_to(ROOT / "models")
    steps = [block for block in blocks("docs/debugging.md") if not block.skipped]
    assert len(steps) > 8
    for step in steps:
        if step.kind == "python":
            mended(plugged_in, step.text)
        if step.kind == "sh":
            assert step.output is not None
            (command,) = step.commands
            assert_shown(step.output, run(command, monkeypatch, capsys))
