"""The registry: names, paths, plug-in folders, and one-line answers to unknown names."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

import pytest

from hwopt import registry
from hwopt.errors import BadInput

SHIPPED = Path(str(files("hwopt.targets")))


def copy_target(source: str, destination: Path, title: str) -> Path:
    """A copy of a shipped target.toml under another folder, with a title of its own."""
    destination.mkdir(parents=True)
    text = (SHIPPED / source / "target.toml").read_text("utf-8")
    first = next(line for line in text.splitlines() if line.startswith("title"))
    text = text.replace(first, f'title = "{title}"').replace(
        f'name = "{source}"', f'name = "{destination.name}"'
    )
    (destination / "target.toml").write_text(text, "utf-8")
    return destination


@pytest.fixture(autouse=True)
def _no_user_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(registry.TARGETS_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_every_shipped_folder_with_a_target_file_is_listed() -> None:
    expected = sorted(path.parent.name for path in SHIPPED.glob("*/target.toml"))
    assert [target.name for target in registry.all_targets()] == expected
    assert {"edge-npu", "ethos-u55-256"} <= set(expected)


def test_a_target_is_found_by_name_by_folder_and_by_file() -> None:
    by_name = registry.load_target("edge-npu")
    assert registry.load_target(SHIPPED / "edge-npu") == by_name
    assert registry.load_target(SHIPPED / "edge-npu" / "target.toml") == by_name


def test_a_user_folder_adds_a_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_target("edge-npu", tmp_path / "mine" / "my-npu", "mine")
    monkeypatch.setenv(registry.TARGETS_VARIABLE, str(tmp_path / "mine"))
    assert registry.load_target("my-npu").title == "mine"
    assert "my-npu" in [target.name for target in registry.all_targets()]


def test_the_first_user_folder_wins_over_later_ones_and_over_shipped_targets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_target("edge-npu", tmp_path / "a" / "edge-npu", "from a")
    copy_target("edge-npu", tmp_path / "b" / "edge-npu", "from b")
    monkeypatch.setenv(registry.TARGETS_VARIABLE, f"{tmp_path / 'a'}:{tmp_path / 'b'}")
    assert registry.load_target("edge-npu").title == "from a"


def test_the_configuration_folder_is_searched(tmp_path: Path) -> None:
    copy_target("edge-npu", tmp_path / "config" / "hwopt" / "targets" / "desk", "on my desk")
    assert registry.load_target("desk").title == "on my desk"


def test_an_unknown_target_is_answered_with_a_guess_and_the_list() -> None:
    with pytest.raises(
        BadInput, match=r"unknown target 'edge-nqu': did you mean 'edge-npu'\? there is .*ethos"
    ):
        registry.load_target("edge-nqu")


def test_a_folder_without_a_target_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no target\.toml"):
        registry.load_target(tmp_path)


def test_passes_come_in_the_order_of_composition_and_have_unique_names() -> None:
    passes = registry.all_passes()
    assert [item.stage for item in passes] == sorted(item.stage for item in passes)
    names = [item.name for item in passes]
    assert len(set(names)) == len(names)


def test_unknown_pass_names_are_refused_in_both_lists() -> None:
    with pytest.raises(BadInput, match="unknown pass 'no_such_pass'"):
        registry.select_passes(["no_such_pass"])
    with pytest.raises(BadInput, match="unknown pass 'no_such_pass'"):
        registry.select_passes([], ["no_such_pass"])


def test_disabling_a_pass_leaves_the_others() -> None:
    names = [item.name for item in registry.all_passes()]
    for name in names:
        left = registry.select_passes((), [name], interface_may_change=True)
        assert [item.name for item in left] == [n for n in names if n != name]


def test_what_changes_the_interface_is_left_out_unless_that_is_allowed() -> None:
    names = [item.name for item in registry.all_passes() if not item.changes_interface]
    assert [item.name for item in registry.select_passes()] == names
    assert "resize_input" not in names


def test_an_oracle_that_is_not_installed_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    target = registry.load_target("edge-npu")
    monkeypatch.setattr(registry, "_ORACLES", {"zigzag": ("no_such_module_here", "X", "zigzag")})
    with pytest.raises(BadInput, match=r"pip install 'hwopt\[zigzag\]'"):
        registry.make_oracle(target)


def test_an_unknown_oracle_is_the_targets_fault(tmp_path: Path) -> None:
    folder = copy_target("edge-npu", tmp_path / "odd", "odd")
    text = (folder / "target.toml").read_text("utf-8")
    (folder / "target.toml").write_text(text.replace('name = "zigzag"', 'name = "tarot"'), "utf-8")
    with pytest.raises(BadInput, match=r"odd/target.toml:\d+: key 'oracle.name': unknown oracle 'tarot'"):
        registry.load_target(folder)


def test_the_target_folder_exists_after_copying_elsewhere(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED / "edge-npu", tmp_path / "edge-npu")
    assert registry.load_target(tmp_path / "edge-npu").folder == tmp_path / "edge-npu"
