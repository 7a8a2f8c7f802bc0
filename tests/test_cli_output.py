"""Standard output: one JSON object where --json was given, and no colour where none is wanted."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from hwopt import __version__
from hwopt.cli.entry import main

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "models" / "figures" / "figures.onnx"
RUN = ("-t", "edge-npu", "--refine", "0", "--json")

# Commands that end in a second or two, and a key of the object that each prints. The others have tests of
# their own (test_exit_codes, test_cli_targets, tests/debug).
OBJECTS = [
    (("--version", "--json"), "versions"),
    (("passes", "list", "--json"), "passes"),
    (("targets", "list", "--json"), "targets"),
    (("targets", "show", "edge-npu", "--json"), "memories"),
    (("targets", "new", "mine", "--json"), "files"),
    (("targets", "check", "edge-npu", "--samples", "0", "--json"), "findings"),
    (("analyze", str(FIGURES), *RUN), "before"),
    (("explain", str(FIGURES), *RUN), "listed"),
    (("compare", str(FIGURES), str(FIGURES), "--json"), "equal"),
    (("passes", "lst", "--json"), "error"),
    (("targets", "show", "nothing", "--json"), "error"),
]


@pytest.mark.parametrize(("typed", "key"), OBJECTS)
def test_one_json_object_and_nothing_else(
    typed: tuple[str, ...],
    key: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    code = main(typed)
    told = capfd.readouterr()
    found = json.loads(told.out)
    assert isinstance(found, dict)
    assert key in found
    assert found.get("exit_code", code) == code
    assert told.err.count("\n") == (1 if key == "error" else 0)


def test_versions_name_what_decides(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == f"hwopt {__version__}"
    assert {"python", "onnx", "onnx-ir", "onnxruntime", "numpy"} <= {line.split()[0] for line in lines}


def on_a_terminal(*words: str, **environment: str) -> str:
    """What a command writes to a terminal, both streams together."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **environment}
    command = [sys.executable, "-m", "hwopt.cli", *words]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        found = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other end was closed
                break
            if not piece:
                break
            found += piece
    os.close(ours)
    assert process.returncode == 0, found
    return found.decode("utf-8", "replace")


def test_a_terminal_gets_a_display_and_no_colour_where_none_is_wanted() -> None:
    words = ("analyze", str(FIGURES), "-t", "edge-npu", "--refine", "0")
    shown = on_a_terminal(*words)
    assert "loading" in shown
    assert "\x1b[3" in shown  # colour
    plain = on_a_terminal(*words, NO_COLOR="1")
    assert "loading" in plain
    assert not any(f"\x1b[{code}" in plain for code in ("3", "38;", "1;3", "9"))
    quiet = on_a_terminal(*words, "--quiet", NO_COLOR="1")
    assert "loading" not in quiet
