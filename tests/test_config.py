"""hwopt.toml: read, refused with its line, and what a command makes of it beside the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hwopt.cli.commands import commands
from hwopt.cli.config import PARAMETER, options_of
from hwopt.cli.entry import main
from hwopt.config import REFUSED, Config, Kind, read_config
from hwopt.errors import BadInput

Hwopt = Callable[..., "subprocess.CompletedProcess[str]"]
FIGURES = Path(__file__).parent.parent / "models" / "figures" / "figures.onnx"
KEYS = {
    "optimize": {
        "target": Kind.PLACE, "calib": Kind.PATH, "seed": Kind.WHOLE, "max_drop": Kind.NUMBER,
        "dry_run": Kind.SWITCH, "passes": Kind.TEXTS, "output": Kind.PATH, "minimize": Kind.TEXT,
        "metric": Kind.TEXT,
    },
    "check": {"max_drop": Kind.NUMBER, "model": Kind.PATH},
}  # fmt: skip


def config_of(text: str, folder: Path) -> Config:
    path = folder / "hwopt.toml"
    path.write_text(f"schema_version = 1\n{text}")
    return read_config(path, KEYS)


def values(text: str, folder: Path, command: str = "optimize") -> dict[str, object]:
    return {name: given.value for name, given in config_of(text, folder).of(command).items()}


def test_shared_keys_reach_the_commands_that_have_them_and_a_table_wins(tmp_path: Path) -> None:
    text = "max_drop = 0.01\nseed = 3\n[optimize]\nseed = 4\n[check]\nmax_drop = 0.02\n"
    assert values(text, tmp_path) == {"max_drop": 0.01, "seed": 4}
    assert values(text, tmp_path, "check") == {"max_drop": 0.02}


def test_keys_may_be_written_as_on_the_command_line(tmp_path: Path) -> None:
    assert values("max-drop = 1\ndry-run = true\n", tmp_path) == {"max_drop": 1, "dry_run": True}


def test_paths_are_relative_to_the_file_and_names_stay(tmp_path: Path) -> None:
    text = (
        'target = "edge-npu"\ncalib = "data/images"\nminimize = "memory"\n[optimize]\noutput = "out.onnx"\n'
    )
    assert values(text, tmp_path) == {
        "target": "edge-npu", "calib": str(tmp_path / "data/images"), "minimize": "memory",
        "output": str(tmp_path / "out.onnx"),
    }  # fmt: skip
    assert values('target = "./my-npu"\n', tmp_path)["target"] == str(tmp_path / "my-npu")
    assert values('calib = "/data/images"\n', tmp_path)["calib"] == "/data/images"


def test_a_list_may_be_one_text(tmp_path: Path) -> None:
    assert values('passes = "a,b"\n', tmp_path) == {"passes": ["a,b"]}
    assert values('passes = ["a", "b"]\n', tmp_path) == {"passes": ["a", "b"]}


# What stands behind the first line, the line that must be named, and what must be said.
WRONG = {
    "a typo": ("max_dorp = 1\n", 2, "did you mean 'max_drop'?"),
    "a typo in a table": ("\n[optimize]\nsed = 1\n", 4, "did you mean 'seed'?"),
    "a typo of a table": ("[optimise]\nseed = 1\n", 2, "did you mean 'optimize'?"),
    "another command's key": ("[check]\nseed = 1\n", 3, "see hwopt check --help"),
    "text for a number": ('max_drop = "much"\n', 2, "must be a number"),
    "a fraction for a whole number": ("seed = 1.5\n", 2, "must be a whole number"),
    "true for a number": ("seed = true\n", 2, "must be a whole number"),
    "a number for a switch": ("dry_run = 1\n", 2, "must be true or false"),
    "a number for text": ("minimize = 1\n", 2, "must be text in quotes"),
    "a number in a list": ("passes = ['a', 1]\n", 2, "must be text in quotes, or a list"),
    "twice": ("max_drop = 1\nmax-drop = 2\n", 3, "given twice"),
    "code": ("metric = 'a:b'\n", 2, "no code runs from a file"),
    "code in a table": ("[optimize]\nmetric = 'a:b'\n", 3, "no code runs from a file"),
    "a command": ("oracle_command = 'rm -r x'\n", 2, "no code runs from a file"),
    "a check": ("check = 'rm -r x'\n", 2, "no code runs from a file"),
    "overwriting": ("force = true\n", 2, "--force on the command line"),
    "another file": ("config = 'b.toml'\n", 2, "a configuration is one file"),
    "one name for two things": ("output = 'out.onnx'\n", 2, "put it into [optimize]"),
    "the model": ("[optimize]\nmodel = 'm.onnx'\n", 3, "named on the command line"),
    "not TOML": ("seed = \n", 2, "not valid TOML"),
    "a table twice": ("[check]\n[check]\n", 3, "not valid TOML"),
}


@pytest.mark.parametrize("case", sorted(WRONG))
def test_what_is_wrong_is_told_with_its_line(case: str, tmp_path: Path) -> None:
    text, line, said = WRONG[case]
    with pytest.raises(BadInput) as caught:
        config_of(text, tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'hwopt.toml'}:{line}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "schema_version = 2\n", "schema_version = true\n", 'schema_version = "1"\n']
)
def test_another_version_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "hwopt.toml"
    path.write_text(text)
    with pytest.raises(BadInput, match="this hwopt reads schema_version = 1"):
        read_config(path, KEYS)


def test_a_file_that_is_not_there_is_guessed(tmp_path: Path) -> None:
    (tmp_path / "hwopt.toml").write_text("")
    with pytest.raises(BadInput, match=r"did you mean '.*hwopt\.toml'"):
        read_config(tmp_path / "hwpt.toml", KEYS)
    with pytest.raises(BadInput, match="not a file"):
        read_config(tmp_path, KEYS)


def test_every_option_that_runs_something_is_refused() -> None:
    """Of a command that a file may speak of: an option that takes code or a command must not be a key."""
    runs = ("MODULE:FUNCTION", "CMD", "bench {model}")
    for _, command in commands():
        function = command.function()
        options = options_of(function)
        text = {name: str(hint) for name, hint in function.__annotations__.items()}
        found = [
            o.key
            for o in options.values()
            if PARAMETER in options and any(r in text.get(o.parameter, "") for r in runs)
        ]
        assert set(found) <= set(REFUSED)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(FIGURES, tmp_path / "model.onnx")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "hwopt.toml").write_text(
        'schema_version = 1\ntarget = "edge-npu"\nrefine = 0\n\n'
        '[optimize]\ndry_run = true\npasses = ["canonicalize", "densify_depthwise"]\nseed = 7\n'
    )
    return tmp_path


def test_command_line_over_file_over_default_and_the_report_says_what_was_used(
    folder: Path, hwopt: Hwopt
) -> None:
    given = ("optimize", "model.onnx", "--config", "conf/hwopt.toml", "--seed", "5", "--json")
    done = hwopt(*given, cwd=folder, HWOPT_DEBUG="1")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["seed"] == 5
    assert report["settings"]["passes"] == "canonicalize,densify_depthwise"
    assert report["settings"]["refine"] == 0
    assert report["command"] == (
        "hwopt optimize model.onnx --seed 5 --json --target edge-npu "
        "--passes canonicalize --passes densify_depthwise --refine 0 --dry-run"
    )
    said = [" ".join(line.split()) for line in done.stderr.splitlines() if " setting " in line]
    assert "[ 0.00s] setting --target edge-npu (conf/hwopt.toml:2)" in said
    assert "[ 0.00s] setting --seed 5 (command line)" in said
    assert "[ 0.00s] setting --search milp (default)" in said


def test_the_command_in_the_report_does_the_same_without_the_file(folder: Path, hwopt: Hwopt) -> None:
    first = hwopt("optimize", "model.onnx", "--config=conf/hwopt.toml", "--json", cwd=folder)
    words = json.loads(first.stdout)["command"].split()[1:]
    assert "--config=conf/hwopt.toml" not in words
    (folder / "conf" / "hwopt.toml").unlink()
    again = hwopt(*words, cwd=folder)
    one, two = json.loads(first.stdout), json.loads(again.stdout)
    for changing in ("created", "timings_s", "passes"):
        one.pop(changing), two.pop(changing)
    one["search"].pop("seconds", None), two["search"].pop("seconds", None)
    assert one == two


# What is added to the file, and how the one line must begin.
LATE = [
    ('max_latency = "5"', "--max-latency 5: give a time"),
    ('minimize = "speed"', "--minimize: 'speed' is not one of 'latency'"),
    ("augment = -1", "--augment must be greater than or equal to 0"),
    ('search = "mlip"', "unknown --search 'mlip': did you mean 'milp'?"),
    ('calib = "images"', "conf/images: no such calibration data"),
    ('hints = "none.toml"', "hints conf/none.toml cannot be read"),
    ('disable = ["fuse_inb"]', "unknown pass 'fuse_inb': did you mean 'fuse_ibn'?"),
]


@pytest.mark.parametrize(("line", "said"), LATE)
def test_a_value_that_nobody_can_use_is_told_with_its_line(
    line: str,
    said: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    file = folder / "conf" / "hwopt.toml"
    file.write_text(file.read_text().replace("\n\n[opt", f"\n\n{line}\n[opt"))
    assert main(["optimize", "model.onnx", "--config", "conf/hwopt.toml"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert told.err.startswith(f"hwopt: conf/hwopt.toml:5: {said}")


def test_a_command_without_such_options_takes_what_it_knows(folder: Path, hwopt: Hwopt) -> None:
    done = hwopt("analyze", "model.onnx", "--config", "conf/hwopt.toml", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert (
        json.loads(done.stdout)["command"] == "hwopt analyze model.onnx --json --target edge-npu --refine 0"
    )
