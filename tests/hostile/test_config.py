"""Hostile configurations: no key of any command names code, a command, or what may be overwritten."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hwopt.cli.commands import commands
from hwopt.cli.config import PARAMETER, options_of
from hwopt.config import REFUSED, Kind, option_key, read_config
from hwopt.errors import BadInput
from tests.hostile.mutations import mutations, refused_by_command, refused_or_read

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models" / "figures" / "figures.onnx"
HAVING = {name: options_of(item.function()) for name, item in commands()}
KEYS: dict[str, dict[str, Kind]] = {
    name: {option.key: option.kind for option in options.values()}
    for name, options in HAVING.items()
    if PARAMETER in options
}


@pytest.mark.parametrize("name", sorted(REFUSED))
@pytest.mark.parametrize("spelling", ["{0}", "{1}", '"{1}"', '"--{1}"', "optimize.{0}"])
@pytest.mark.parametrize("value", ['"os:system"', "true", '["os:system"]', "{ a = 1 }"])
def test_what_runs_or_overwrites_is_refused_however_it_is_written(
    name: str, spelling: str, value: str, tmp_path: Path
) -> None:
    key = spelling.format(name, name.replace("_", "-"))
    file = tmp_path / "hwopt.toml"
    file.write_text(f"schema_version = 1\n{key} = {value}\n")
    with pytest.raises(BadInput):
        read_config(file, KEYS)


def test_every_option_whose_help_speaks_of_code_is_refused() -> None:
    """Of all commands, by what their options are called: a new one must be thought of."""
    suspicious = ("metric", "command", "cmd", "exec", "run", "check", "module", "plugin", "import")
    harmless = {"dry_run", "check_timeout"}  # a switch, and a number of seconds
    found = {
        option.key
        for name in KEYS
        for option in HAVING[name].values()
        if any(word in option.key.split("_") for word in suspicious)
    } - harmless
    assert found <= set(REFUSED), found - set(REFUSED)
    assert {"metric", "check"} <= found


@pytest.mark.parametrize("name", ["metric", "oracle_command", "force"])
def test_the_command_line_refuses_it_and_runs_nothing(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mark = tmp_path / "ran"
    value = "true" if name == "force" else f'"touch {mark}"'
    (tmp_path / "hwopt.toml").write_text(f"schema_version = 1\n{name} = {value}\n")
    arguments = ["optimize", str(MODEL), "-t", "edge-npu", "-o", str(tmp_path / "o.onnx")]
    refused_by_command(
        [*arguments, "--config", str(tmp_path / "hwopt.toml")], tmp_path, capfd, "on the command line"
    )
    assert not mark.exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed = 0x" + "f" * 3900, "beyond all bounds"),
        ("seed = -1", "--seed"),
        ("max_drop = inf", "max_drop"),
        ("max_drop = nan", "max_drop"),
        ('max_latency = "1e999s"', "max_latency"),
        ('target = "../../etc"', "target"),
        ('target = "/dev"', "no target.toml in /dev"),
        ('hints = "/dev/zero"', "not a file"),
        ('plan = "/dev/zero"', "not a file"),
        ('plan = "/etc/hostname"', "is not JSON"),
        ('cost_model = "/dev/zero"', "not a file"),
        ('"\\u001b[2J" = 1', "\\u001b[2J"),
        ("a." * 200 + "b = 1", "nesting beyond all bounds"),
        ("passes = [" + '"a",\n' * 5000 + "]", "unknown pass 'a'"),
    ],
)
def test_what_it_asks_for_is_checked_as_if_it_was_typed(
    text: str, words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    named = "" if "target" in text else 'target = "edge-npu"\n'
    (tmp_path / "hwopt.toml").write_text(f"schema_version = 1\n{named}{text}\n", "utf-8")
    arguments = ["optimize", str(MODEL), "-o", str(tmp_path / "o.onnx"), "-q"]
    said = refused_by_command([*arguments, "--config", str(tmp_path / "hwopt.toml")], tmp_path, capfd)
    assert words.replace("_", "-") in said.replace("_", "-")


def test_an_output_that_is_there_is_not_overwritten(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    precious = tmp_path / "precious.onnx"
    precious.write_bytes(b"precious")
    (tmp_path / "hwopt.toml").write_text(
        'schema_version = 1\ntarget = "edge-npu"\n[optimize]\noutput = "precious.onnx"\n'
    )
    refused_by_command(
        ["optimize", str(MODEL), "--config", str(tmp_path / "hwopt.toml")], tmp_path, capfd, "--force"
    )
    assert precious.read_bytes() == b"precious"


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(BadInput, match="not a file"):
            read_config(file, KEYS)


def test_keys_are_one_however_they_are_spelled() -> None:
    assert {option_key(text) for text in ("max_drop", "max-drop", "--max-drop")} == {"max_drop"}


def test_mutated_configurations_are_refused_or_read(tmp_path: Path) -> None:
    _mutated(tmp_path, 300, seed=0)


@pytest.mark.slow
def test_many_mutated_configurations_are_refused_or_read(tmp_path: Path) -> None:
    _mutated(tmp_path, 5000, seed=1)


def _mutated(folder: Path, count: int, seed: int) -> None:
    good = (ROOT / "docs" / "examples" / "hwopt.toml").read_bytes()
    file, refused = folder / "hwopt.toml", 0
    for data in mutations(good, count, seed):
        file.write_bytes(data)
        refused += refused_or_read(lambda: read_config(file, KEYS), file)
    assert 0.2 * count < refused < count
