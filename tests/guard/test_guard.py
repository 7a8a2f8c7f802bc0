"""Native code that crashes, eats memory or never ends costs one line, and the next job is done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx.parser
import onnx_ir as ir
import onnxruntime as ort
import pytest

import hwopt
from hwopt.errors import BadInput, RewriteFailed
from hwopt.guard import client, jobs
from hwopt.guard.limits import BASE_BYTES, TIMES_MODEL, memory_limit, time_limit
from hwopt.inputs import random_feeds
from hwopt.ir import load_model
from hwopt.runtime import serialised
from hwopt.sessions import Array, open_session
from hwopt.shapes import infer_shapes
from hwopt.verify import differences
from hwopt.verify_segments import differences_by_segments
from tests.graphs import classifier

POSIX = pytest.mark.skipif(os.name != "posix", reason="the limits are those of POSIX")


@pytest.fixture
def own_worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[client._Worker]:
    """A worker that is not shared with other tests, whose checker crashes."""
    worker = client._Worker("tests.guard.planted:answer")
    monkeypatch.setattr(client, "_WORKER", worker)
    yield worker
    worker.close()


def model_of(text: str) -> ir.Model:
    return ir.from_proto(onnx.parser.parse_model(text))


def wide(elements: int) -> ir.Model:
    """Makes a tensor of that many floats out of nothing."""
    return model_of(f"""
        <ir_version: 8, opset_import: ["": 17]>
        g (float[1] x) => (float[1] y) <int64[1] size = {{{elements}}}> {{
            large = ConstantOfShape (size)
            sum = Add (large, x)
            y = ReduceMax <keepdims = 0> (sum)
        }}""")


def endless() -> ir.Model:
    return model_of("""
        <ir_version: 8, opset_import: ["": 17]>
        g (float[1] x) => (float[1] y) <int64 times = {9000000000000000000}, bool on = {1}> {
            y = Loop (times, on, x) <body = b (int64 i, bool c, float[1] v) => (bool d, float[1] w) {
                d = Identity (c)
                w = Identity (v)
            }>
        }""")


@POSIX
def test_a_crash_of_the_checker_is_one_line_about_the_file(
    own_worker: client._Worker, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(serialised(classifier()).data)
    with pytest.raises(BadInput, match=r"model\.onnx: the ONNX checker crashes on it .*SIGSEGV.*export it"):
        load_model(path)
    assert infer_shapes(classifier(), {})  # another worker took over


@POSIX
def test_too_much_memory_is_said_of_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWOPT_GUARD_MEMORY", "300M")
    with pytest.raises(BadInput, match=r"ONNX Runtime needs more than 0\.293 GB .*HWOPT_GUARD_MEMORY"):
        differences(wide(200_000_000), wide(200_000_000), {}, seed=0)


@POSIX
def test_ten_gigabytes_are_beyond_the_usual_limit() -> None:
    with pytest.raises(BadInput, match="ONNX Runtime needs more than"):
        differences(wide(2_500_000_000), wide(1), {}, seed=0)


@POSIX
def test_what_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWOPT_GUARD_SECONDS", "1")
    with pytest.raises(BadInput, match=r"ONNX Runtime does not finish in 1 s.*HWOPT_GUARD_SECONDS"):
        differences(endless(), endless(), {}, seed=0)
    assert differences(wide(1), wide(1), {}, seed=0)


@POSIX
def test_a_result_that_kills_is_no_fault_of_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWOPT_GUARD_SECONDS", "1")
    with pytest.raises(RewriteFailed, match="the result cannot be verified: ONNX Runtime does not finish"):
        differences(wide(1), endless(), {}, seed=0)
    with pytest.raises(RewriteFailed, match="the result cannot be verified: ONNX Runtime does not finish"):
        differences_by_segments(wide(1), endless(), {}, seed=0)
    with pytest.raises(BadInput, match="the model: ONNX Runtime does not finish"):
        differences_by_segments(endless(), wide(1), {}, seed=0)


@POSIX
def test_a_model_that_dies_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWOPT_GUARD_MEMORY", "1M")
    path = tmp_path / "model.onnx"
    path.write_bytes(serialised(classifier()).data)
    with pytest.raises(BadInput):
        hwopt.optimize(path, target="edge-npu", output=tmp_path / "out.onnx", refine=0)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.onnx"]


def test_one_worker_does_all_jobs_of_a_process(own_worker: client._Worker) -> None:
    pids = {client._ask({"job": "hello"}, [], 0, "nobody")[0]["pid"] for _ in range(3)}
    assert len(pids) == 1
    assert pids != {os.getpid()}


@POSIX
def test_the_worker_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import time; from hwopt.guard import client; client._WORKER._jobs = 'tests.guard.planted:answer';"
        "print(client._ask({'job': 'hello'}, [], 0, 'nobody')[0]['pid'], flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while _alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(worker)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_guard_gives_what_the_process_itself_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    serial = serialised(classifier())
    feeds = random_feeds(classifier(), {}, seed=0)
    apart, shapes = client.runs(serial, [feeds]), infer_shapes(classifier(), {})
    monkeypatch.setenv("HWOPT_GUARD", "off")
    here = client.runs(serial, [feeds])
    assert isinstance(apart, list)
    assert isinstance(here, list)
    assert isinstance(apart[0], dict)
    assert isinstance(here[0], dict)
    assert {name: array.tobytes() for name, array in apart[0].items()} == {
        name: array.tobytes() for name, array in here[0].items()
    }
    assert infer_shapes(classifier(), {}) == shapes


@pytest.mark.parametrize("many", [False, True])
def test_a_model_of_many_nodes_is_run_as_it_stands(many: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    levels: list[object] = []

    def opening(model: bytes, outside: Mapping[str, Array], options: ort.SessionOptions) -> object:
        levels.append(options.graph_optimization_level)
        return open_session(model, outside, options)

    monkeypatch.setenv("HWOPT_GUARD", "off")
    monkeypatch.setattr(jobs, "open_session", opening)
    monkeypatch.setattr(client, "MANY_NODES", len(classifier().graph) - many)
    found = differences(classifier(), classifier(), {}, seed=0)
    assert not isinstance(found, str)
    assert [item.max_abs for item in found] == [0.0]
    kind = ort.GraphOptimizationLevel
    assert set(levels) == {kind.ORT_DISABLE_ALL if many else kind.ORT_ENABLE_ALL}


def test_limits_grow_with_the_model_and_can_be_raised() -> None:
    assert memory_limit(0, {}) == BASE_BYTES
    assert memory_limit(1 << 30, {}) == BASE_BYTES + TIMES_MODEL * (1 << 30)
    assert memory_limit(1 << 30, {"HWOPT_GUARD_MEMORY": "16G"}) == 16 << 30
    assert memory_limit(1, {"HWOPT_GUARD_MEMORY": "1.5 GiB"}) == 3 << 29
    assert time_limit({"HWOPT_GUARD_SECONDS": "3600"}) == 3600


@pytest.mark.parametrize("text", ["much", "-1G", "0", "1e9G", "G"])
def test_a_limit_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"HWOPT_GUARD_MEMORY=.* is not a size"):
        memory_limit(1, {"HWOPT_GUARD_MEMORY": text})


@pytest.mark.parametrize("text", ["soon", "-1", "0", "nan", "inf"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"HWOPT_GUARD_SECONDS=.* is not a time"):
        time_limit({"HWOPT_GUARD_SECONDS": text})
