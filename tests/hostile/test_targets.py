"""Hostile target folders: refused in one line, in bounded time, and nothing is followed out of the folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hwopt.cost.loading import load_cost_model
from hwopt.errors import BadInput
from hwopt.oracles.options import ORACLE_FACTS
from hwopt.registry import load_target, make_oracle
from hwopt.target import read_target
from hwopt.target.check import MOST_PROBLEMS, check_target_toml
from tests.hostile.mutations import mutations, refused_by_command, refused_or_read

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models" / "figures" / "figures.onnx"
TEXT = (ROOT / "targets" / "edge-npu" / "target.toml").read_text("utf-8")
BARE = TEXT[: TEXT.index("[cost_model]")] if "[cost_model]" in TEXT else TEXT

# What takes the place of which line of the target, and what must be said.
CASES: dict[str, tuple[str, str, str]] = {
    "more MACs than a chip has": ("macs_per_cycle = ", "macs_per_cycle = 1" + "0" * 18, "must not be larger"),
    "a number of 4,000 digits": ("macs_per_cycle = ", "macs_per_cycle = " + "9" * 3900, "must not be larger"),
    "a number in hexadecimal": ("macs_per_cycle = ", "macs_per_cycle = 0x" + "f" * 3900, "beyond all bounds"),
    "a clock that stands still": ("clock_mhz = ", "clock_mhz = 1e-320", "must lie between"),
    "a clock without end": ("clock_mhz = ", "clock_mhz = inf", "must be positive"),
    "a clock that is none": ("clock_mhz = ", "clock_mhz = nan", "must be positive"),
    "a clock of 400 digits": ("clock_mhz = ", "clock_mhz = 1" + "0" * 400, "must lie between"),
    "a date": ("clock_mhz = ", "clock_mhz = 1979-05-27", "must be a number"),
    "nested too deep": ("title = ", "title = " + "[" * 1900 + "]" * 1900, "nesting beyond all bounds"),
    "nested a little too deep": ("title = ", "title = " + "[" * 60 + "]" * 60, "nesting beyond all bounds"),
    "dotted too deep": ("title = ", ".".join(["title"] * 600) + " = 1", "nesting beyond all bounds"),
    "a path for a name": ("name = ", 'name = "../../etc"', "must be a name, not a path"),
    "a hidden name": ("name = ", 'name = ".ssh"', "must be a name, not a path"),
    "a name that steers a terminal": ("name = ", 'name = "x\\u001b[2J"', "letters that nobody sees"),
    "a name with a zero byte": ("name = ", 'name = "x\\u0000"', "letters that nobody sees"),
    "a name that turns around": ("name = ", 'name = "x\\u202e"', "letters that nobody sees"),
    "a name of 3,000 letters": ("name = ", 'name = "' + "x" * 3000 + '"', "must not be longer"),
    "a very long line": ("title = ", "# " + "x" * 100_000, "a line of more than"),
    "too many multiples": (
        "channel_multiples = ",
        "channel_multiples = [\n" + "".join(f"{n},\n" for n in range(1, 20_000)) + "]",
        "more than 1,000 elements",
    ),
    "a table for an array": ("channel_multiples = ", "channel_multiples = { a = 1 }", "must be an array"),
    "arrays as multiples": ("channel_multiples = ", "channel_multiples = [[1], [2]]", "a whole number"),
    "no version": ("schema_version = ", "schema_version = true", "must be a whole number"),
    "a version that is no number": ("schema_version = ", 'schema_version = "1"', "must be a whole number"),
}  # fmt: skip


def changed(text: str, beginning: str, line: str) -> str:
    """The text with the one line that begins like that replaced."""
    lines = text.split("\n")
    (at,) = [number for number, old in enumerate(lines) if old.startswith(beginning)][:1]
    return "\n".join([*lines[:at], line, *lines[at + 1 :]])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "npu"
    made.mkdir()
    (made / "target.toml").write_text(BARE, "utf-8")
    return made


def refusal(folder: Path, *words: str) -> str:
    with pytest.raises(BadInput) as caught:
        read_target(folder)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_target_is_one_before_it_is_made_hostile(folder: Path) -> None:
    assert read_target(folder).name == "edge-npu"


@pytest.mark.parametrize("case", CASES)
def test_a_value_that_no_device_has_is_refused(case: str, folder: Path) -> None:
    beginning, line, words = CASES[case]
    (folder / "target.toml").write_text(changed(BARE, beginning, line), "utf-8")
    assert len(refusal(folder, "target.toml", words)) < 1000


def test_what_is_no_text_in_utf_8_is_refused_with_its_line(folder: Path) -> None:
    file = folder / "target.toml"
    file.write_bytes(BARE.encode("utf-16"))
    refusal(folder, "target.toml:1: not valid TOML: not UTF-8")
    file.write_bytes(BARE.encode() + b"\n# \xff\xfe\n")
    refusal(folder, f"target.toml:{BARE.count(chr(10)) + 2}: not valid TOML: not UTF-8")


def test_an_editor_of_windows_is_no_attack(folder: Path) -> None:
    plain = read_target(folder)
    (folder / "target.toml").write_bytes(b"\xef\xbb\xbf" + BARE.replace("\n", "\r\n").encode())
    assert read_target(folder) == plain


def test_a_file_of_a_hundred_megabytes_is_not_read(folder: Path) -> None:
    with (folder / "target.toml").open("wb") as file:
        file.truncate(100_000_000)
    refusal(folder, "more than 200000 bytes")


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "dangling"])
def test_what_is_no_file_is_not_waited_for(kind: str, folder: Path) -> None:
    file = folder / "target.toml"
    file.unlink()
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    else:
        file.symlink_to("/dev/zero" if kind == "device" else "nowhere.toml")
    refusal(folder, "cannot be read" if kind == "dangling" else "not a file")


EXPLODING = {
    "tables": '[[fusion]]\nanchors = ["Conv"]\nfollowers = []\n' * 3000,
    "followers": '[[fusion]]\nanchors = ["Conv"]\nfollowers = [\n' + '["Relu", "Clip"],\n' * 8000 + "]\n",
    "operators": "[[fusion]]\nanchors = [\n" + '"Nonsense",\n' * 12_000 + "]\nfollowers = []\n",
    "keys": "".join(f"unknown_{n} = 1\n" for n in range(10_000)),
}


@pytest.mark.parametrize("case", EXPLODING)
def test_rules_that_explode_take_no_time(case: str, folder: Path) -> None:
    text = BARE + "\n" + EXPLODING[case]
    (folder / "target.toml").write_text(text, "utf-8")
    assert refused_or_read(lambda: read_target(folder), folder)
    problems = check_target_toml(folder / "target.toml")
    assert 1 <= len(problems) <= MOST_PROBLEMS


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "link", "inner/../../secret", "a\\u0000b"])
def test_a_cost_model_lies_inside_the_folder(name: str, folder: Path) -> None:
    secret = folder.parent / "secret"
    secret.write_bytes(b"x")
    (folder / "link").symlink_to(secret)
    (folder / "target.toml").write_text(
        f'{BARE}\n[cost_model]\nfile = "{name}"\nsha256 = "{"0" * 64}"\nfeature_version = 1\n'
        f'data_sha256 = "{"0" * 64}"\n'
    )
    refusal(folder, "cost_model.file")


@pytest.mark.parametrize("oracle", ["table", "vela"])
@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "link"])
def test_what_an_oracle_reads_lies_inside_the_folder(oracle: str, name: str, folder: Path) -> None:
    (folder.parent / "secret").write_text("x")
    (folder / "link").symlink_to(folder.parent / "secret")
    option = {"table": "file", "vela": "config_file"}[oracle]
    needed = {
        "table": "",
        "vela": 'accelerator = "ethos-u55-256"\nsystem_config = "a"\nmemory_mode = "b"\n',
    }[oracle]
    head = BARE[: BARE.index("[oracle]")]
    (folder / "target.toml").write_text(
        f'{head}[oracle]\nname = "{oracle}"\n[oracle.options]\n{needed}{option} = "{name}"\n'
    )
    target = read_target(folder)
    with pytest.raises(BadInput, match=r"no file in the target's folder|not installed"):
        make_oracle(target)


def test_options_that_would_keep_a_machine_busy_for_days(folder: Path) -> None:
    head = BARE[: BARE.index("[oracle]")]
    for oracle, option, value in (
        ("onnxruntime", "threads", "1000000"),
        ("onnxruntime", "budget_ms", "1e18"),
        ("onnxruntime", "rounds", "1" + "0" * 18),
        ("onnxruntime", "budget_ms", "inf"),
        ("command", "slots", "100000"),
        ("command", "timeout_s", "nan"),
    ):
        options = f'[oracle]\nname = "{oracle}"\n[oracle.options]\n{option} = {value}\n'
        (folder / "target.toml").write_text(head + options)
        refusal(folder, f"key 'oracle.options.{option}'", "must be at most")


def test_no_oracle_can_be_told_a_command() -> None:
    """Not by a target: what a command oracle runs comes from the command line or the API alone."""
    options = {name: set(facts.options or ()) for name, facts in ORACLE_FACTS.items()}
    assert not any(
        options[name] & {"command", "cmd", "argv", "shell", "module", "function"} for name in options
    )


def test_the_command_line_says_it_in_one_line(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hostile = changed(BARE, "title = ", 'title = "x"\n"\\u001b]0;owned\\u0007" = 1')
    (folder / "target.toml").write_text(hostile)
    out = folder.parent / "out.onnx"
    for arguments in (
        ["optimize", str(MODEL), "-t", str(folder), "-o", str(out)],
        ["analyze", str(MODEL), "-t", str(folder)],
        ["targets", "show", str(folder)],
    ):
        said = refused_by_command(arguments, folder.parent, capfd, "target.toml", "\\u001b]0;owned")
        assert "\x1b" not in said


def test_a_card_does_not_steer_the_terminal(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from hwopt.cli.entry import main

    (folder / "card.md").write_text("# card \x1b[2J\x1b]0;owned\x07 \x9b2J \u202e\n")
    assert main(["targets", "show", str(folder)]) == 0
    said = capfd.readouterr().out
    assert "# card \\u001b[2J\\u001b]0;owned\\u0007 \\u009b2J \\u202e" in said
    assert not set(said) & {"\x1b", "\x07", "\x9b", "\u202e"}


def _read(folder: Path) -> Callable[[], object]:
    def read() -> None:
        check_target_toml(folder / "target.toml")
        target = load_target(folder)
        assert target.macs_per_cycle > 0
        if target.cost_model is not None:
            load_cost_model(target)

    return read


@pytest.mark.parametrize("name", ["edge-npu", "ethos-u55-256", "cpu"])
def test_mutated_targets_are_refused_or_read(name: str, tmp_path: Path) -> None:
    _mutated(name, tmp_path, 150, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["edge-npu", "ethos-u55-256", "cpu"])
def test_many_mutated_targets_are_refused_or_read(name: str, tmp_path: Path) -> None:
    _mutated(name, tmp_path, 3000, seed=1)


def _mutated(name: str, folder: Path, count: int, seed: int) -> None:
    good = (ROOT / "targets" / name / "target.toml").read_bytes()
    refused = 0
    for data in mutations(good, count, seed):
        (folder / "target.toml").write_bytes(data)
        refused += refused_or_read(_read(folder), folder)
    assert 0.5 * count < refused
