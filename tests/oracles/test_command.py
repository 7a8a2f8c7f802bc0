"""The command oracle: what is run, what its answers become, and what a failing device costs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import onnx
import onnx.parser
import pytest

from hwopt.errors import BadInput
from hwopt.oracles.asking import measure_cached
from hwopt.oracles.cache import Cache
from hwopt.oracles.command import CommandOracle
from hwopt.oracles.protocol import Answer, Job, Measurement, Unmeasured
from hwopt.registry import load_target, make_oracle
from hwopt.target.file import OracleSpec, Target

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the stand-in devices are shell scripts")

MODEL = """
<ir_version: 8, opset_import: ["" : 14]>
two (float[1,8] x) => (float[1,8] y) { h = Relu(x)  y = Sigmoid(h) }
"""
JOB = Job(onnx.parser.parse_model(MODEL).SerializeToString())


@pytest.fixture
def target() -> Target:
    return device(runs=1, retries=0)


def device(**options: str | int | float) -> Target:
    """A target that is measured by a command."""
    return replace(load_target("ethos-u55-256"), oracle=OracleSpec("command", options))


def script(folder: Path, body: str) -> str:
    """The path of a shell script; each run adds a line to runs.txt beside it."""
    path = folder / "bench.sh"
    path.write_text(f'#!/bin/sh\ncd "{folder}"\necho "$@" >> runs.txt\n{body}\n', "utf-8")
    path.chmod(0o755)
    return f"{path} {{model}}"


def runs(folder: Path) -> list[str]:
    return (folder / "runs.txt").read_text("utf-8").splitlines()


def ask(target: Target, command: str | Sequence[str], job: Job = JOB) -> Answer:
    return CommandOracle(target, command).measure([job])[0]


def measured(answer: Answer) -> Measurement:
    assert isinstance(answer, Measurement), answer
    return answer


def unmeasured(answer: Answer) -> Unmeasured:
    assert isinstance(answer, Unmeasured), answer
    return answer


def test_the_least_of_all_samples_counts(tmp_path: Path) -> None:
    body = (
        'n=$(wc -l < runs.txt); echo "{\\"latency_us\\": [$((110 - n)), $((120 + n))], \\"peak_bytes\\": 64}"'
    )
    found = measured(ask(device(runs=3), script(tmp_path, body)))
    assert found.latency_us == 107
    assert found.peak_bytes == 64
    assert found.weight_bytes is None
    assert len(runs(tmp_path)) == 3
    # Minima 109, 108, 107: their median absolute deviation is 1.
    assert found.details["noise"] == pytest.approx(1.4826 / 107)
    assert found.details["samples"] == 6


def test_the_model_is_there_and_gone_afterwards(target: Target, tmp_path: Path) -> None:
    assert measured(
        ask(target, script(tmp_path, 'echo "{\\"latency_us\\": $(wc -c < "$1")}"'))
    ).latency_us == len(JOB.model)
    assert not Path(runs(tmp_path)[0]).exists()


def test_the_answer_may_stand_in_a_file_or_behind_chatter(target: Target, tmp_path: Path) -> None:
    command = script(tmp_path, 'echo warming up; echo "{\\"latency_us\\": 5}" > "$2"')
    assert measured(ask(target, f"{command} {{out}}")).latency_us == 5
    chatty = script(tmp_path, 'echo "{ not this }"; echo "{\\"latency_us\\": 6}"; echo bye')
    assert measured(ask(target, chatty)).latency_us == 6


def test_no_shell_sees_the_command(target: Target, tmp_path: Path) -> None:
    """`;` and `$` reach the program as they are."""
    command = script(tmp_path, 'echo "{\\"latency_us\\": 1}"')
    measured(ask(target, f"{command} '$HOME; true' ';' true"))
    assert runs(tmp_path)[0].endswith("$HOME; true ; true")


def test_a_failure_that_passes_is_tried_again(tmp_path: Path) -> None:
    body = '[ $(wc -l < runs.txt) -ge 3 ] && echo "{\\"latency_us\\": 9}" && exit; echo busy >&2; exit 7'
    assert measured(ask(device(runs=1, retries=2), script(tmp_path, body))).latency_us == 9
    assert len(runs(tmp_path)) == 3


def test_retries_are_bounded_and_the_last_word_is_kept(tmp_path: Path) -> None:
    found = unmeasured(
        ask(device(runs=3, retries=2), script(tmp_path, "echo first >&2; echo no board >&2; exit 7"))
    )
    assert found == Unmeasured("the command failed 3 times: exit code 7: no board", transient=True)
    assert len(runs(tmp_path)) == 3


def test_a_time_out_ends_the_program_and_what_it_started(tmp_path: Path) -> None:
    command = script(tmp_path, "sleep 60 & echo $! > child.txt; wait")
    found = unmeasured(ask(device(retries=0, timeout_s=0.5), command))
    assert found.transient
    assert "took longer than 0.5 s" in found.reason
    child = int((tmp_path / "child.txt").read_text("utf-8"))
    for _ in range(100):
        if not _alive(child):
            break
        time.sleep(0.05)
    assert not _alive(child)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8").rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_crash_is_told_by_its_signal(target: Target, tmp_path: Path) -> None:
    assert "SIGKILL" in unmeasured(ask(target, script(tmp_path, "kill -9 $$"))).reason


def test_one_device_runs_one_job_at_a_time_and_more_have_numbers(tmp_path: Path) -> None:
    said = '{\\"latency_us\\": 1, \\"details\\": {\\"s\\": $2}}'
    body = f'mkdir busy$2 || exit 1; sleep 0.1; rmdir busy$2; echo "{said}"'
    jobs = [Job(JOB.model + bytes(i)) for i in range(6)]
    seen: list[tuple[int, int]] = []
    for slots in (1, 3):
        oracle = CommandOracle(device(runs=1, retries=0, slots=slots), f"{script(tmp_path, body)} {{slot}}")
        answers = oracle.measure(jobs, lambda done, total: seen.append((done, total)))
        assert {measured(answer).details["s"] for answer in answers} == set(range(slots))
    assert seen == [(n, 6) for n in range(1, 7)] * 2


def test_an_interrupt_ends_what_runs(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    body = 'case $(wc -l < runs.txt) in 1) echo "{\\"latency_us\\": 1}";; *) sleep 60;; esac'
    oracle = CommandOracle(device(runs=1, retries=5), script(tmp_path, body))
    with pytest.raises(KeyboardInterrupt):
        oracle.measure([JOB, Job(b"other"), Job(b"third")], interrupt)
    assert len(runs(tmp_path)) <= 2  # neither retried nor followed by the third


def test_a_part_of_a_network_pays_for_no_call(tmp_path: Path) -> None:
    command = script(tmp_path, 'echo "{\\"latency_us\\": 100}"')
    part = Job(JOB.model, in_context=True)
    assert measured(ask(device(runs=1, call_us=30.0), command, part)).latency_us == 70
    assert measured(ask(device(runs=1, call_us=30.0), command)).latency_us == 100
    assert "empty call" in unmeasured(ask(device(runs=1, call_us=100.0), command, part)).reason
    rows = '[{\\"output\\": \\"h\\", \\"latency_us\\": 20}, {\\"output\\": \\"y\\", \\"latency_us\\": 5.5}]'
    with_rows = script(tmp_path, f'echo "{{\\"latency_us\\": 100, \\"rows\\": {rows}}}"')
    found = measured(ask(device(runs=1, call_us=30.0), with_rows, part))
    assert found.latency_us == 25.5
    assert [row.output for row in found.rows] == ["h", "y"]


def test_rows_of_strangers_are_refused(target: Target, tmp_path: Path) -> None:
    rows = '[{\\"output\\": \\"conv\\", \\"latency_us\\": 20}]'
    found = unmeasured(ask(target, script(tmp_path, f'echo "{{\\"latency_us\\": 9, \\"rows\\": {rows}}}"')))
    assert "rows[0].output" in found.reason
    assert "'conv'" in found.reason


def test_what_the_device_cannot_run_is_remembered_and_what_fails_is_not(
    target: Target, tmp_path: Path
) -> None:
    refusing = script(tmp_path, 'echo "{\\"error\\": \\"no Sigmoid\\", \\"nodes\\": [\\"y\\"]}"')
    with Cache(tmp_path / "cache") as cache:
        for _ in range(2):
            found = measure_cached(CommandOracle(target, refusing), [JOB], cache)[0]
            assert found == Unmeasured("the device cannot run it: no Sigmoid", ("y",))
        assert len(runs(tmp_path)) == 1
        script(tmp_path, "exit 1")
        other = CommandOracle(device(runs=1, retries=0, device="v2"), refusing)
        for _ in range(2):
            assert unmeasured(measure_cached(other, [JOB], cache)[0]).transient
    assert len(runs(tmp_path)) == 3


def test_the_identity_tells_devices_and_templates_apart() -> None:
    one = CommandOracle(device(device="rev A"), "true {model}").identity
    assert one == CommandOracle(device(device="rev A", timeout_s=5, retries=9), "true {model}").identity
    others = {
        CommandOracle(device(device="rev B"), "true {model}").identity,
        CommandOracle(device(device="rev A"), "true -v {model}").identity,
        CommandOracle(device(device="rev A", runs=9), "true {model}").identity,
    }
    assert len(others | {one}) == 4


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (None, "give --oracle-command"),
        ("bench model.onnx", "must hold {model}"),
        ("no-such-program-here {model}", "there is no program 'no-such-program-here'"),
        ("bench '{model}", "No closing quotation"),
    ],
)
def test_commands_that_cannot_be_run(command: str | None, words: str) -> None:
    with pytest.raises(BadInput) as error:
        CommandOracle(device(), command)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"command": "rm -rf {model}"}, "a file names no command"),
        ({"timout_s": 3}, "did you mean 'timeout_s'?"),
        ({"runs": 0}, "at least 1"),
        ({"runs": 2.5}, "whole number"),
        ({"retries": -1}, "at least 0"),
        ({"timeout_s": "long"}, "must be a number"),
        ({"device": 3}, "must be text"),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, str | int | float], words: str) -> None:
    with pytest.raises(BadInput) as error:
        CommandOracle(device(**options), f"{sys.executable} {{model}}")
    assert words in str(error.value)
    assert "target.toml" in str(error.value)


def test_the_registry_hands_over_the_command_and_nothing_else_does(tmp_path: Path) -> None:
    command = script(tmp_path, 'echo "{\\"latency_us\\": 3}"')
    with pytest.raises(BadInput, match="give --oracle-command"):
        make_oracle(device())
    with pytest.raises(BadInput, match="takes no command"):
        make_oracle(load_target("ethos-u55-256"), command=command)
    oracle = make_oracle(device(), command=command)
    assert not (tmp_path / "runs.txt").exists()
    assert measured(oracle.measure([JOB])[0]).latency_us == 3
