"""Oracle workers that crash, hang, flood, die at their start or answer nonsense: marked and not kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from hwopt.errors import BadInput
from hwopt.oracles.answers import answer_from_json, answer_to_json, nonsense, read_answer
from hwopt.oracles.asking import Failures, measure_cached, timeout_s
from hwopt.oracles.cache import Cache, cache_key
from hwopt.oracles.command import CommandOracle
from hwopt.oracles.command_run import Overtime, Runner
from hwopt.oracles.protocol import Answer, Job, Measurement, Progress, Row, Unmeasured
from hwopt.oracles.workers import GIVE_UP_AFTER, Crash, Timeout, WorkerPool
from hwopt.registry import load_target

ROOT = Path(__file__).parent.parent.parent
JOBS = """
import os, signal, subprocess, sys, tempfile, time

def job(payload):
    if payload == b"segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if payload == b"term":
        os.kill(os.getpid(), signal.SIGTERM)
    if payload == b"hang":
        time.sleep(600)
    if payload == b"huge":
        return b"x" * 3000
    if payload == b"claim":
        os.write(ANSWERS, b"O" + (10**10).to_bytes(8, "little"))
        time.sleep(600)
    if payload == b"flood":
        for _ in range(200):
            os.write(2, b"noise" * 20000)
    if payload == b"child":
        subprocess.Popen(["sleep", "600"], stdout=ANSWERS)
        os.kill(os.getpid(), signal.SIGKILL)
    if payload == b"folder":
        return tempfile.mkdtemp().encode()
    return payload[::-1]

ANSWERS = max(int(name) for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}"))
"""
DIES = "import os\nos._exit(7)\n"


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "faulty_jobs_for_test.py").write_text(JOBS, "utf-8")
    (tmp_path / "dying_jobs_for_test.py").write_text(DIES, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "faulty_jobs_for_test:job"


def test_whatever_a_job_does_costs_its_own_answer(jobs: str) -> None:
    payloads = [b"segfault", b"term", b"flood", b"huge", b"claim", b"ab"]
    with WorkerPool(jobs, workers=1, timeout_s=20, most_bytes=1000) as pool:
        killed, ended, flood, huge, claimed, fine = pool.run(payloads)
    assert killed == Crash("worker was ended by SIGSEGV")
    assert ended == Crash("worker was ended by SIGTERM")
    assert (flood, fine) == (b"doolf", b"ba")
    assert isinstance(huge, Crash)
    assert "3,000 bytes, more than 1,000" in huge.reason
    assert isinstance(claimed, Crash)
    assert "10,000,000,000 bytes" in claimed.reason


def test_a_worker_that_hangs_again_and_again_is_given_up_for_the_run(jobs: str) -> None:
    begun = time.monotonic()
    with WorkerPool(jobs, workers=1, timeout_s=0.2) as pool:
        results = pool.run([b"hang"] * 30)
        assert results[:GIVE_UP_AFTER] == [Timeout(0.2)] * GIVE_UP_AFTER
        assert all(isinstance(result, Crash) and "not asked" in result.reason for result in results[5:])
        assert pool.run([b"ab", b"hang", b"cd"]) == [b"ba", Timeout(0.2), b"dc"]  # one try, and it works
    assert time.monotonic() - begun < 60


def test_a_worker_that_dies_at_its_start_is_not_started_for_every_job(jobs: str, tmp_path: Path) -> None:
    script = (
        "import hwopt.oracles.workers as w, subprocess\n"
        "started = []\n"
        "popen = subprocess.Popen\n"
        "w.subprocess.Popen = lambda *a, **k: (started.append(1), popen(*a, **k))[1]\n"
        "pool = w.WorkerPool('dying_jobs_for_test:job', workers=1)\n"
        "results = pool.run([b'x'] * 50)\n"
        "assert all('did not start: worker ended with exit code 7' in r.reason for r in results)\n"
        "print(len(started))\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= 3  # two workers, and the janitor


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_child_of_a_worker_cannot_hold_up_the_run_and_folders_go(jobs: str) -> None:
    with WorkerPool(jobs, workers=1, timeout_s=1.0) as pool:
        (folder,) = pool.run([b"folder"])
        assert isinstance(folder, bytes)
        assert Path(folder.decode()).is_dir()
        begun = time.monotonic()
        assert isinstance(pool.run([b"child"])[0], Timeout | Crash)
        assert time.monotonic() - begun < 20
    assert not Path(folder.decode()).exists()


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc")
def test_workers_end_with_a_parent_that_is_killed_even_while_they_hang(jobs: str, tmp_path: Path) -> None:
    script = (
        "import os, signal, threading, time; from hwopt.oracles.workers import WorkerPool\n"
        "pool = WorkerPool('faulty_jobs_for_test:job', workers=1)\n"
        "pool.run([b'ab'])\n"
        "print(pool._workers[0]._process.pid, flush=True)\n"
        "threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()\n"
        "pool.run([b'hang'])\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    worker = Path(f"/proc/{int(done.stdout)}/stat")
    until = time.monotonic() + 30
    while worker.exists() and worker.read_text().split()[2] != "Z" and time.monotonic() < until:
        time.sleep(0.02)
    assert not worker.exists() or worker.read_text().split()[2] == "Z"


GOOD = Measurement(1.0, (Row("y", 1.0, 2, 3, 4),), 5, 6, {"cycles": 7.0})
BAD = [
    replace(GOOD, latency_us=-1.0),
    replace(GOOD, latency_us=float("nan")),
    replace(GOOD, latency_us=float("inf")),
    replace(GOOD, latency_us=1e300),
    replace(GOOD, latency_us="1"),  # type: ignore[arg-type]
    replace(GOOD, latency_us=True),
    replace(GOOD, peak_bytes=-1),
    replace(GOOD, weight_bytes=1.5),  # type: ignore[arg-type]
    replace(GOOD, rows=(Row("y", -1.0),)),
    replace(GOOD, rows=(Row("y", 1.0, macs=-1),)),
    replace(GOOD, rows=(Row(3, 1.0),)),  # type: ignore[arg-type]
    replace(GOOD, details={"cycles": float("nan")}),
    replace(GOOD, unpriced=(1,)),  # type: ignore[arg-type]
]


class Scripted:
    """An oracle that gives one answer to everything and counts what it is asked."""

    name = source = "compiled"
    identity = "scripted"

    def __init__(self, answer: Answer, short: int = 0) -> None:
        self.answer, self.short, self.asked = answer, short, 0

    def measure(self, jobs: Sequence[Job], progress: Progress | None = None) -> list[Answer]:
        self.asked += len(jobs)
        return [self.answer] * (len(jobs) - self.short)


@pytest.mark.parametrize("number", range(len(BAD)))
def test_nonsense_is_no_answer_and_is_not_remembered(number: int, tmp_path: Path) -> None:
    bad = BAD[number]
    assert nonsense(bad)
    assert not nonsense(GOOD)
    with pytest.raises(ValueError, match="not an oracle's answer"):
        answer_from_json(answer_to_json(bad))
    with Cache(tmp_path) as cache:
        (answer,) = measure_cached(Scripted(bad), [Job(b"a")], cache)
        assert isinstance(answer, Unmeasured)
        assert answer.transient
        assert "cannot be used" in answer.reason
        assert measure_cached(Scripted(GOOD), [Job(b"a")], cache) == [GOOD]


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe", b"{", b"[1]", b"null", b"[" * 100_000, b'{"unmeasured": 3}']
)
def test_bytes_that_are_no_answer(data: bytes) -> None:
    answer = read_answer(data)
    assert isinstance(answer, Unmeasured)
    assert answer.transient


def test_too_few_answers_are_none(tmp_path: Path) -> None:
    with Cache(tmp_path) as cache:
        answers = measure_cached(Scripted(GOOD, short=1), [Job(b"a"), Job(b"b")], cache)
    assert all(
        isinstance(answer, Unmeasured) and "1 answers to 2 jobs" in answer.reason for answer in answers
    )


def test_a_poisonous_job_is_asked_twice_in_a_run_and_stays_unknown(tmp_path: Path) -> None:
    oracle, failures = Scripted(Unmeasured("worker was ended by SIGSEGV", transient=True)), Failures()
    with Cache(tmp_path) as cache:
        for _ in range(10):
            (answer,) = measure_cached(oracle, [Job(b"poison")], cache, failures=failures)
            assert answer == oracle.answer
        assert oracle.asked == 2
        assert cache.get_many([cache_key(oracle, Job(b"poison"))]) == {}


def test_the_time_limit_is_the_users_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert timeout_s(300.0) == 300.0
    monkeypatch.setenv("HWOPT_ORACLE_TIMEOUT", "7.5")
    assert timeout_s(300.0) == 7.5
    for text in ("soon", "-1", "nan", "1e9", "0"):
        monkeypatch.setenv("HWOPT_ORACLE_TIMEOUT", text)
        with pytest.raises(BadInput, match="HWOPT_ORACLE_TIMEOUT"):
            timeout_s(300.0)


def test_a_command_that_floods_its_output_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwopt.oracles.command_run._MOST", 1_000_000)
    ended = Runner().run([sys.executable, "-c", "while True: print('x' * 10000)"], 60.0)
    assert isinstance(ended, Overtime)
    assert "wrote more than 1,000,000 bytes" in ended.ending


COMMAND = load_target("edge-npu")
ANSWERS = {
    "negative": "print('{\"latency_us\": -1}')",
    "nan": "print('{\"latency_us\": NaN}')",
    "empty": "pass",
    "wrong json": "print('latency: 3')",
    "crash": "import os; os.abort()",
    "stderr": "import sys; sys.stderr.write('x' * 10**7); sys.exit(3)",
}


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_a_users_command_that_fails_is_a_reason(name: str, tmp_path: Path) -> None:
    target = replace(
        COMMAND, oracle=replace(COMMAND.oracle, name="command", options={"runs": 1, "retries": 1})
    )
    oracle = CommandOracle(target, [sys.executable, "-c", ANSWERS[name], "{model}"])
    with Cache(tmp_path) as cache:
        (answer,) = measure_cached(oracle, [Job(b"a")], cache)
        assert isinstance(answer, Unmeasured)
        assert answer.transient
        assert len(answer.reason) < 500
        assert cache.get_many([cache_key(oracle, Job(b"a"))]) == {}


@pytest.mark.skipif(find_spec("ethosu") is None, reason="needs the ethos extra")
def test_a_malformed_flatbuffer_really_brings_vela_down_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker compiles a file whose offsets lead nowhere, in the place of what was lowered."""
    (tmp_path / "malformed_for_test.py").write_text(
        "from ethosu import regor\n"
        "from hwopt.oracles.vela_config import decode_job\n"
        "import struct\n"
        "def job(payload):\n"
        "    config, model, guarded = decode_job(payload)\n"
        "    file = bytearray(b'\\x1c\\0\\0\\0TFL3' + b'\\xff' * 4096)\n"
        "    struct.pack_into('<I', file, 0, 0x7fffff00 if model == b'far' else 64)\n"
        "    regor.compile(config.architecture, bytes(file), 'TFLITE', config.system(),\n"
        "                  options=config.options(), verbose=False)\n"
        "    return b'{}'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    from hwopt.oracles import vela

    monkeypatch.setattr(vela, "_WORKER", "malformed_for_test:job")
    with vela.VelaOracle(load_target("ethos-u55-256"), workers=1, timeout_s=60.0) as oracle:
        answers = oracle.measure([Job(b"far"), Job(b"near")])
    assert all(isinstance(answer, Unmeasured) and answer.transient for answer in answers), answers
    assert any("SIGSEGV" in str(answer) or "SIGABRT" in str(answer) for answer in answers), answers


def test_a_subgraph_that_the_oracle_fails_at_stays_predicted_and_is_named() -> None:
    from hwopt.report.build import failed_notes
    from hwopt.settings import settings
    from hwopt.work import open_work

    work = open_work(ROOT / "models/figures/figures.onnx", "edge-npu", settings(refine=3))
    oracle = Scripted(Unmeasured("ZigZag stopped: worker was ended by SIGSEGV", transient=True))
    found = replace(work, oracle=oracle)
    learned = found.sharpen(work.model, work.before, work.cost_model)
    assert len(learned) == 0
    assert len(found.failed) == 3
    (note,) = failed_notes(found)
    assert "ended by SIGSEGV" in note
    assert "predicted instead" in note
