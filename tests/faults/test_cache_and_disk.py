"""Caches that are broken, locked or not there, and disks that refuse: correct results, or one line."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hwopt.oracles import cache as cache_module
from hwopt.oracles.cache import Cache
from hwopt.repair import fits
from tests.graphs import write_classifier

Hwopt = Callable[..., "subprocess.CompletedProcess[str]"]
OUT = ("-o", "out.onnx")
FILE = "measurements.sqlite"
GIVEN = (
    "optimize",
    "model.onnx",
    "-t",
    "edge-npu",
    "--refine",
    "0",
    "--passes",
    "canonicalize",
    "-o",
    "out.onnx",
)
OLDER = "CREATE TABLE answers (id INTEGER PRIMARY KEY, job TEXT, oracle TEXT)"


@pytest.fixture(autouse=True)
def no_memory() -> Iterator[None]:
    """Every test is a process of its own."""
    cache_module._memory.clear()
    yield
    cache_module._memory.clear()


def remembers(folder: Path) -> bool:
    """Whether what is put is there again, in another Cache of the same process."""
    with Cache(folder) as cache:
        cache.put_many({"k": "1"})
        assert cache.get_many(["k", "l"]) == {"k": "1"}
    with Cache(folder) as cache:
        return cache.get_many(["k"]) == {"k": "1"}


def filled(folder: Path) -> bytes:
    with Cache(folder) as cache:
        cache.put_many({f"{n:04d}": "x" * 100 for n in range(300)})
    return (folder / FILE).read_bytes()


@pytest.mark.parametrize("seed", range(12))
def test_random_damage_never_ends_a_run(seed: int, tmp_path: Path) -> None:
    data = bytearray(filled(tmp_path))
    dice = random.Random(seed)
    if seed % 3 == 0:
        data = data[: dice.randrange(len(data))]
    for _ in range(0 if seed % 3 == 0 else 10 ** dice.randrange(1, 4)):
        data[dice.randrange(len(data))] = dice.randrange(256)
    (tmp_path / FILE).write_bytes(bytes(data))
    with Cache(tmp_path) as cache:
        cache.get_many([f"{n:04d}" for n in range(300)])
    assert remembers(tmp_path)


def test_an_empty_file_is_a_new_cache(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"")
    assert remembers(tmp_path)


def test_a_cache_of_another_layout_is_set_aside(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute(OLDER)
        db.execute("INSERT INTO answers VALUES (1, 'a', 'b')")
    assert remembers(tmp_path)
    assert (tmp_path / f"{FILE}.damaged-1").exists()


def test_a_path_that_is_a_file_and_a_file_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert remembers(tmp_path / "file")
    (tmp_path / "cache" / FILE).mkdir(parents=True)
    assert remembers(tmp_path / "cache")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_cache_that_stays_locked_costs_its_time_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path)
    monkeypatch.setattr(cache_module, "LOCK_TIMEOUT_S", 0.3)
    holder = sqlite3.connect(tmp_path / FILE)
    holder.execute("BEGIN EXCLUSIVE")
    begun = time.monotonic()
    for _ in range(20):
        assert remembers(tmp_path)
    assert time.monotonic() - begun < 5
    holder.rollback()
    holder.close()


def test_a_full_disk_under_the_cache_is_memory_instead(tmp_path: Path) -> None:
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from hwopt.oracles.cache import Cache\n"
        "Cache(Path(sys.argv[1])).close()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))\n"
        "for turn in range(3):\n"
        "    with Cache(Path(sys.argv[1])) as cache:\n"
        "        cache.put_many({f'{turn} {n}': 'x' * 1000 for n in range(500)})\n"
        "with Cache(Path(sys.argv[1])) as cache: print(len(cache.get_many([f'2 {n}' for n in range(500)])))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "500\n"), done.stderr
    assert "Traceback" not in done.stderr


def test_a_cache_that_may_only_be_read_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path)
    connect = cache_module._connect

    def refused(location: str) -> sqlite3.Connection:
        connect(location).close()
        error = sqlite3.OperationalError("attempt to write a readonly database")
        error.sqlite_errorcode = sqlite3.SQLITE_READONLY
        raise error

    monkeypatch.setattr(cache_module, "_connect", refused)
    with Cache(tmp_path) as cache:
        assert cache.get_many(["0001"]) == {"0001": "x" * 100}
    assert remembers(tmp_path)


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_fit_is_none(seed: int, tmp_path: Path) -> None:
    import numpy as np

    path = tmp_path / "fit.npz"
    fits._write(path, json.dumps({"constants": [["a", 1]], "events": []}), [np.arange(64.0)])
    assert fits._read(path) is not None
    data = bytearray(path.read_bytes())
    dice = random.Random(seed)
    for _ in range(20):
        data[dice.randrange(len(data))] = dice.randrange(256)
    path.write_bytes(bytes(data) if seed % 2 else bytes(data[: dice.randrange(len(data))]))
    found = fits._read(path)
    assert found is None or np.array_equal(found.constants[0].array, np.arange(64.0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_classifier(tmp_path)
    return tmp_path


def test_a_run_without_a_cache_says_so_and_works(folder: Path, hwopt: Hwopt) -> None:
    (folder / "cache").write_text("in the way")
    given = [*GIVEN[:4], "--refine", "3", *GIVEN[6:]]
    done = hwopt(*given, cwd=folder, HWOPT_CACHE=str(folder / "cache"))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cannot be used") == 1
    assert (folder / "out.onnx").exists()


def test_an_output_that_is_too_large_for_the_disk_is_one_line(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    limit = (
        "import resource, signal, sys; from hwopt.cli.entry import main; import hwopt.pipeline\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000)); sys.exit(main())\n"
    )
    environment = {
        **os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent),
        "HWOPT_CACHE": str(tmp_path_factory.mktemp("cache")),
    }  # fmt: skip
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    done = subprocess.run(
        [sys.executable, "-c", limit, *GIVEN], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("hwopt: ")
    assert "File too large" in done.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
