"""docs/how-to-target.md: its commands exist, and its first part works for someone with nothing."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from hwopt import registry
from hwopt.cli.entry import main
from hwopt.target import read_target
from hwopt.target.home import card_accuracy
from tests.pages import ROOT, blocks, hwopt_commands, page_text

NAME = "docs/how-to-target.md"
PAGE = page_text(NAME)
NOT_YET = {"check my-npu": 1}  # nothing is measured yet: exit code 1, as the page says


def commands(title: str) -> list[list[str]]:
    """The words of every command of hwopt under a heading."""
    start = PAGE[: PAGE.index(f"\n## {title}\n")].count("\n") + 1
    end = start + PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0].count("\n") + 1
    return hwopt_commands([block for block in blocks(NAME) if start < block.line < end])


def test_every_key_on_the_page_is_understood() -> None:
    from hwopt.oracles.options import ORACLE_FACTS
    from hwopt.target.keys import TABLES

    known = {f"{table}.{key}" for table, (keys, _) in TABLES.items() for key in keys}
    known |= {f"oracle.options.{name}" for facts in ORACLE_FACTS.values() for name in facts.options or ()}
    named = re.findall(r"`((?:hardware|oracle|sparsity)\.[a-z_.]+)`", PAGE)
    assert len(named) > 8
    assert [name for name in named if name not in known and name != "oracle.options"] == []


@pytest.mark.slow
def test_the_part_on_datasheets_works_the_first_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if importlib.util.find_spec("zigzag") is None:
        pytest.skip("needs the extra: pip install 'hwopt[zigzag]'")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HWOPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(registry.TARGETS_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").symlink_to(ROOT / "models")
    for _, *words in commands("From a datasheet"):
        code = main(words)
        said = capsys.readouterr()
        assert code == NOT_YET.get(" ".join(words[1:]), 0), (words, said)
    target = read_target(registry.config_folder() / "my-npu")
    accuracy = card_accuracy(target.folder)
    assert target.cost_model is not None
    assert accuracy is not None
    assert accuracy.mape < 25  # a first look, not the end: the page says what it was
    assert (tmp_path / "figures.my-npu.onnx").is_file()
