"""The cache: round trips, resuming, damaged files, several processes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from hwopt.files.cache_folder import cache_folder
from hwopt.oracles.answers import answer_from_json, answer_to_json
from hwopt.oracles.asking import measure_cached
from hwopt.oracles.cache import Cache, cache_key
from hwopt.oracles.protocol import Answer, Job, Measurement, Progress, Row, Unmeasured


class Scripted:
    """An oracle that answers with the length of the model and remembers what it was asked."""

    name = "scripted"
    source = "compiled"

    def __init__(self, identity: str = "scripted 1", fail_at: bytes = b"") -> None:
        self.identity = identity
        self.fail_at = fail_at
        self.asked: list[bytes] = []

    def measure(self, jobs: Sequence[Job], progress: Progress | None = None) -> list[Answer]:
        answers: list[Answer] = []
        for job in jobs:
            if job.model == self.fail_at:
                raise KeyboardInterrupt
            self.asked.append(job.model)
            answers.append(_answer(job.model))
        return answers


def _answer(model: bytes) -> Answer:
    if model == b"crash":
        return Unmeasured("worker was ended by SIGSEGV", transient=True)
    if model == b"no":
        return Unmeasured("LSTM is not lowered", ("y",))
    return Measurement(len(model) / 3, (Row("y", 1 / 3, 10, 20, 30, "compute"),), 5, None, {"cycles": 0.1})


@pytest.mark.parametrize("model", [b"abc", b"no", b"crash"])
def test_answers_survive_the_round_trip(model: bytes) -> None:
    assert answer_from_json(answer_to_json(_answer(model))) == _answer(model)


def test_text_that_is_no_answer_is_refused() -> None:
    for text in ("", "{}", "[]", '{"measurement": {"latency": 1}}', '{"measurement": 3}'):
        with pytest.raises(ValueError):  # noqa: PT011 (json's own error is one too)
            answer_from_json(text)


def test_only_missing_and_distinct_jobs_are_asked(tmp_path: Path) -> None:
    oracle, jobs = Scripted(), [Job(b"a"), Job(b"bb"), Job(b"a"), Job(b"no"), Job(b"crash")]
    with Cache(tmp_path) as cache:
        first = measure_cached(oracle, jobs, cache)
        assert oracle.asked == [b"a", b"bb", b"no", b"crash"]
        assert first == [_answer(job.model) for job in jobs]
    with Cache(tmp_path) as cache:
        assert measure_cached(oracle, jobs, cache) == first
    assert oracle.asked[4:] == [b"crash"]  # a crash is no property of the job


def test_identity_and_context_are_part_of_the_key() -> None:
    keys = {cache_key(Scripted(i), Job(b"a", c)) for i in ("1", "2") for c in (False, True)}
    assert len(keys) == 4


def test_an_interrupted_campaign_resumes(tmp_path: Path) -> None:
    jobs = [Job(bytes([65 + n])) for n in range(6)]
    with Cache(tmp_path) as cache, pytest.raises(KeyboardInterrupt):
        measure_cached(Scripted(fail_at=b"E"), jobs, cache, batch=2)
    again = Scripted()
    seen: list[tuple[int, int]] = []
    with Cache(tmp_path) as cache:
        measure_cached(again, jobs, cache, lambda done, total: seen.append((done, total)), batch=2)
    assert again.asked == [b"E", b"F"]
    assert seen[-1] == (6, 6)


@pytest.mark.parametrize("damage", [b"this is not a database", b"SQLite format 3\x00" + b"\xff" * 4000])
def test_a_damaged_file_is_set_aside(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "measurements.sqlite"
    path.write_bytes(damage)
    with Cache(tmp_path) as cache:
        cache.put_many({"k": "1"})
        assert cache.get_many(["k", "l"]) == {"k": "1"}
    assert (tmp_path / "measurements.sqlite.damaged-1").read_bytes() == damage


def test_damage_inside_the_pages_is_survived(tmp_path: Path) -> None:
    with Cache(tmp_path) as cache:
        cache.put_many({f"{n:06d}": "x" * 200 for n in range(2000)})
    path = tmp_path / "measurements.sqlite"
    data = bytearray(path.read_bytes())
    for start in range(8192, len(data), 4096):
        data[start : start + 64] = b"\xa5" * 64
    path.write_bytes(bytes(data))
    with Cache(tmp_path) as cache:
        cache.get_many([f"{n:06d}" for n in range(2000)])
        cache.put_many({"k": "1"})
        assert cache.get_many(["k"]) == {"k": "1"}


def test_an_unreadable_entry_is_measured_again(tmp_path: Path) -> None:
    oracle = Scripted()
    with Cache(tmp_path) as cache:
        cache.put_many({cache_key(oracle, Job(b"a")): "{broken"})
        assert measure_cached(oracle, [Job(b"a")], cache) == [_answer(b"a")]


def test_a_folder_that_cannot_be_made_is_replaced_by_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with Cache(tmp_path / "file" / "cache") as cache:
        cache.put_many({"k": "1"})
        assert cache.get_many(["k"]) == {"k": "1"}


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from hwopt.oracles.cache import Cache\n"
        "cache = Cache(Path(sys.argv[1]))\n"
        "for n in range(50): cache.put_many({f'{sys.argv[2]}{n}': str(n)})\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    processes = [subprocess.Popen([*command, name]) for name in "ab"]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    with Cache(tmp_path) as cache:
        assert len(cache.get_many([f"{name}{n}" for name in "ab" for n in range(50)])) == 100


def test_many_processes_open_a_new_file_together(tmp_path: Path) -> None:
    """The switch to a write-ahead log answers "busy" at once when two processes race for it."""
    script = (
        "import sys, time; from pathlib import Path; from hwopt.oracles.cache import Cache\n"
        "start = float(sys.argv[1])\n"
        "for n in range(20):\n"
        "    time.sleep(max(0.0, start + n * 0.05 - time.time()))\n"
        "    with Cache(Path(sys.argv[2]) / str(n)) as cache: cache.put_many({sys.argv[3]: '1'})\n"
    )
    names = "abcd"
    command = [sys.executable, "-c", script, str(time.time() + 2.0), str(tmp_path)]
    processes = [subprocess.Popen([*command, name]) for name in names]
    assert [process.wait(timeout=120) for process in processes] == [0] * len(names)
    for n in range(20):
        with Cache(tmp_path / str(n)) as cache:
            assert set(cache.get_many(list(names))) == set(names)


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HWOPT_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("HWOPT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "hwopt"
