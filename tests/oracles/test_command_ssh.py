"""The example that drives a board over ssh, through the whole oracle, with local stand-ins.

`ssh` and `scp` are replaced by programs in a folder at the front of PATH that do on this machine
what the real ones do on another; the board's benchmark computes a latency from the model.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from hwopt.cost.sampling_net import Net
from hwopt.cost.sampling_weights import WeightStyle
from hwopt.ir import model_bytes
from hwopt.oracles.protocol import Answer, Job, Measurement, Unmeasured
from hwopt.registry import load_target, make_oracle
from hwopt.target.file import OracleSpec

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the stand-ins are shell scripts")

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "ssh_board.py"

# Both skip their options, note the host, and refuse one that they do not know.
SSH = """
while [ "${1#-}" != "$1" ]; do [ "$1" = -q ] && shift || shift 2; done
echo "ssh $1" >> "$BOARD/calls.txt"
[ "$1" = root@board ] || { echo "ssh: Could not resolve hostname $1" >&2; exit 255; }
shift; cd "$BOARD/home" && exec sh -c "$*"
"""
SCP = """
while [ "${1#-}" != "$1" ]; do [ "$1" = -q ] && shift || shift 2; done
echo "scp ${2%%:*}" >> "$BOARD/calls.txt"
[ "${2%%:*}" = root@board ] || { echo "scp: Could not resolve hostname" >&2; exit 255; }
exec cp "$1" "${2#*:}"
"""
# 2 us a call and 1 us for every thousand weights; the first inferences are slower.
BENCH = """
import sys
import onnx

model = onnx.load(sys.argv[-1])
if any(node.op_type == "Softmax" for node in model.graph.node):
    print("Softmax is not supported", file=sys.stderr)
    sys.exit(3)
us = 2.0 + sum(len(w.raw_data) // 4 for w in model.graph.initializer) / 1000
print("bench 1.0,", sys.argv[1])
for slower in (1.3, 1.1, 1.0, 1.05):
    print(us * slower)
"""


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that plays the board: home/ with the benchmark, bin/ with ssh and scp."""
    for name, text in (("ssh", SSH), ("scp", SCP)):
        _program(tmp_path / "bin" / name, f"#!/bin/sh{text}")
    _program(tmp_path / "home" / "bench", f"#!{sys.executable}{BENCH}")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("BOARD", str(tmp_path))
    return tmp_path


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, "utf-8")
    path.chmod(0o755)


def measure(board: Path, *models: bytes, host: str = "root@board") -> list[Answer]:
    options: dict[str, str | int] = {
        "runs": 1,
        "retries": 1,
        "timeout_s": 60,
        "device": "board rev A, bench 1.0",
    }
    target = replace(load_target("ethos-u55-256"), oracle=OracleSpec("command", options))
    command = (
        f"{sys.executable} {EXAMPLE} --limit 30 --folder {board / 'home'} {host} {{model}} ./bench --fast"
    )
    return make_oracle(target, command=command).measure([Job(model) for model in models])


def net(softmax: bool = False) -> Net:
    return Net("soft" if softmax else "conv", WeightStyle(), (3,))


def test_a_board_over_ssh(board: Path) -> None:
    conv, soft = net(), net(softmax=True)
    convolution = model_bytes(conv.model(conv.conv(conv.input(1, 16, 8, 8), 24, 3)))
    softmax = model_bytes(soft.model(soft.softmax(soft.input(1, 10))))
    good, bad = measure(board, convolution, softmax)
    weights = sum(len(w.raw_data) // 4 for w in onnx.load_from_string(convolution).graph.initializer)
    assert weights == 24 * 16 * 9 + 24
    assert isinstance(good, Measurement)
    assert good.latency_us == pytest.approx(2.0 + weights / 1000)
    assert good.details["noise"] > 0
    assert bad == Unmeasured("the device cannot run it: Softmax is not supported")
    assert [path.name for path in (board / "home").iterdir()] == ["bench"]  # copies are gone
    assert (board / "calls.txt").read_text("utf-8").splitlines() == [
        "scp root@board",
        "ssh root@board",
        "ssh root@board",
    ] * 2


def test_a_board_that_does_not_answer_is_tried_again(board: Path) -> None:
    conv = net()
    model = model_bytes(conv.model(conv.conv(conv.input(1, 4, 8, 8), 4)))
    (answer,) = measure(board, model, host="root@nowhere")
    assert isinstance(answer, Unmeasured)
    assert answer.transient
    assert "failed 2 times" in answer.reason
    assert "Could not resolve hostname" in answer.reason
