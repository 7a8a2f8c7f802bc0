"""Workers: order, crash isolation, time limits, functions that raise."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwopt.oracles.workers import Crash, Timeout, WorkerPool, run_jobs

JOBS = """
import os, time

def job(payload):
    if payload == b"crash":
        os.abort()
    if payload == b"hang":
        time.sleep(60)
    if payload == b"raise":
        raise ValueError("no such thing")
    if payload == b"print":
        os.write(1, b"noise on standard output")
    return payload[::-1]
"""


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "worker_job_for_test.py").write_text(JOBS, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "worker_job_for_test:job"


def test_results_come_in_order_and_failures_stay_alone(job: str) -> None:
    payloads = [b"abc", b"crash", b"print", b"raise", b"", b"x" * 300_000, b"de"]
    seen: list[tuple[int, int]] = []
    results = run_jobs(job, payloads, workers=2, progress=lambda done, total: seen.append((done, total)))
    assert [results[i] for i in (0, 2, 4, 5, 6)] == [b"cba", b"tnirp", b"", b"x" * 300_000, b"ed"]
    assert isinstance(results[1], Crash)
    assert "SIGABRT" in results[1].reason
    assert results[3] == Crash("ValueError: no such thing")
    assert seen == [(n, 7) for n in range(1, 8)]


def test_a_hanging_job_is_stopped_and_the_next_one_runs(job: str) -> None:
    with WorkerPool(job, workers=1, timeout_s=0.5) as pool:
        assert pool.run([b"hang", b"ab"]) == [Timeout(0.5), b"ba"]
        assert pool.run([b"cd"]) == [b"dc"]


def test_a_function_that_cannot_be_imported_fails_every_job() -> None:
    results = run_jobs("no_such_module:f", [b"1", b"2"], workers=1)
    assert all(isinstance(r, Crash) and "no_such_module" in r.reason for r in results)


def test_an_exception_in_the_callback_ends_the_workers(job: str) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    pool = WorkerPool(job, workers=2)
    with pytest.raises(KeyboardInterrupt):
        pool.run([b"ab", b"hang", b"hang"], interrupt)
    assert pool.run([b"ab"]) == [b"ba"]  # usable again: workers are started anew
    pool.close()


def test_only_importable_functions_are_taken() -> None:
    with pytest.raises(ValueError, match="importable"):
        run_jobs(lambda payload: payload, [b"1"])


def test_no_jobs_no_workers() -> None:
    assert run_jobs("no_such_module:f", []) == []
