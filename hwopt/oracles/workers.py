"""Worker processes for work that may hang or crash the process it runs in.

    pool = WorkerPool("hwopt.oracles.vela_worker:compile_job", workers=2, timeout_s=60)
    results = pool.run([payload, ...])          # bytes | Crash | Timeout, in order

A worker is a fresh interpreter (`python -m hwopt.oracles.workers MODULE:FUNCTION`) that reads
one length-prefixed message of bytes from its standard input and answers with another. No
pickles, and no need for an `if __name__ == "__main__"` guard in the caller's script. A job
that segfaults or hangs costs only its own answer; the worker is started again.

Nothing is waited for without end. A worker that does not start is tried twice; after GIVE_UP_AFTER
time-outs without an answer in between, the other jobs of a run are not asked any more, and the next
run begins with one try. An answer is cut off at `most_bytes`. A worker leads a process group and has a
folder of its own for temporary files: the group ends and the folder goes when the worker is stopped,
and when this process is gone, however it ended (`hwopt.files.janitor`).
"""

from __future__ import annotations

import contextlib
import importlib
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import IO

from hwopt.files.janitor import group_gone, watch_group
from hwopt.files.scratch import temporary_folder
from hwopt.guard.limits import SWITCH as GUARD
from hwopt.oracles.protocol import Progress

Function = Callable[[bytes], bytes]

_HEADER = struct.Struct("<cQ")  # kind of message, number of bytes that follow
_READY, _OK, _ERROR = b"R", b"O", b"E"
_START_TIMEOUT_S = 120.0
_STARTS = 2  # failures to start, one after the other, after which a worker is not started again
GIVE_UP_AFTER = 4  # time-outs in a row
MOST_BYTES = 1 << 32  # of one answer
FIGURES_BYTES = 1 << 26  # of one answer that is nothing but figures
_ON_POSIX = os.name == "posix"


@dataclass(frozen=True)
class Crash:
    """The job ended its worker, or the function raised; `reason` is one line."""

    reason: str


@dataclass(frozen=True)
class Timeout:
    """The job was stopped after this many seconds."""

    seconds: float


Result = bytes | Crash | Timeout
OnResult = Callable[[int, Result], None]


def default_workers() -> int:
    """Two processes, or one on a single core: oracles are kept light on a shared machine."""
    return max(1, min(2, os.cpu_count() or 1))


def run_jobs(
    function: str | Function,
    payloads: Sequence[bytes],
    workers: int | None = None,
    timeout_s: float = 120.0,
    progress: Progress | None = None,
) -> list[Result]:
    """Runs the function on every payload in worker processes; results in the payloads' order.

    function: "module:name", or a function at the top of an importable module (not of the
        script that is being run), from bytes to bytes.
    timeout_s: wall-clock limit of one job; starting the worker is not counted.
    progress: called in the calling thread with (done, all).
    """
    with WorkerPool(function, workers, timeout_s) as pool:
        return pool.run(payloads, progress)


def _path_of(function: str | Function) -> str:
    if isinstance(function, str):
        return function
    module, name = function.__module__, getattr(function, "__qualname__", "")
    if module == "__main__" or not name.isidentifier():
        raise ValueError(f"{module}:{name} is not a function at the top of an importable module")
    return f"{module}:{name}"


class WorkerPool:
    """Worker processes that stay alive between runs; started when first needed.

    Parameters are those of `run_jobs`. most_bytes: what an answer may have; a worker that says more
    is ended. Use it as a context manager, or call `close`; workers also end when this process does.
    """

    def __init__(
        self,
        function: str | Function,
        workers: int | None = None,
        timeout_s: float = 120.0,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        count = workers if workers is not None else default_workers()
        if count < 1 or timeout_s <= 0:
            raise ValueError(f"workers is {count}, timeout_s is {timeout_s}: both must be positive")
        limits = _Limits(timeout_s, most_bytes)
        self._workers = [_Worker(_path_of(function), limits) for _ in range(count)]
        self._patience = GIVE_UP_AFTER

    def run(
        self, payloads: Sequence[bytes], progress: Progress | None = None, on_result: OnResult | None = None
    ) -> list[Result]:
        """One result per payload, in order.

        on_result: called in the calling thread with (index, result) as soon as a job is done.
        On KeyboardInterrupt all workers are ended and the exception goes on to the caller.
        """
        results: list[Result] = [Crash("not run")] * len(payloads)
        run = _Run(payloads, self._patience)
        threads = [
            threading.Thread(target=run.serve, args=(worker,), daemon=True)
            for worker in self._workers[: len(payloads)]
        ]
        try:
            for thread in threads:
                thread.start()
            for done in range(len(payloads)):
                index, result = run.done.get()
                results[index] = result
                if on_result is not None:
                    on_result(index, result)
                if progress is not None:
                    progress(done + 1, len(payloads))
        except BaseException:
            run.stopped.set()
            self._end(threads)
            raise
        for thread in threads:
            thread.join()
        self._patience = max(run.patience, 1)
        for worker in self._workers:
            worker.forgive()
        return results

    def _end(self, threads: Sequence[threading.Thread]) -> None:
        """Ends workers until their threads are gone: a thread may just be starting a worker."""
        for thread in threads:
            while thread.is_alive():
                self.close()
                thread.join(0.05)
        self.close()

    def close(self) -> None:
        """Ends every worker process, whatever it is doing."""
        for worker in self._workers:
            worker.stop()

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Run:
    """The jobs of one run: threads take from `waiting` and put into `done`.

    patience: how many more time-outs in a row are waited for.
    """

    def __init__(self, payloads: Sequence[bytes], patience: int = GIVE_UP_AFTER) -> None:
        self.patience = patience
        self._guard = threading.Lock()
        self.waiting: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
        self.done: queue.SimpleQueue[tuple[int, Result]] = queue.SimpleQueue()
        self.stopped = threading.Event()
        for item in enumerate(payloads):
            self.waiting.put(item)

    def serve(self, worker: _Worker) -> None:
        """Feeds one worker until nothing waits."""
        while not self.stopped.is_set():
            try:
                index, payload = self.waiting.get_nowait()
            except queue.Empty:
                return
            result: Result = Crash(f"not asked: the last {GIVE_UP_AFTER} jobs took too long")
            if self.patience > 0:
                try:
                    result = worker.ask(payload)
                except Exception as error:  # the run must get an answer for every job
                    result = Crash(f"{type(error).__name__}: {error}")
                self._count(result)
            self.done.put((index, result))

    def _count(self, result: Result) -> None:
        with self._guard:
            self.patience = self.patience - 1 if isinstance(result, Timeout) else GIVE_UP_AFTER


@dataclass(frozen=True)
class _Limits:
    """Of one job: seconds, and bytes of its answer."""

    timeout_s: float
    most_bytes: int


@dataclass
class _Worker:
    """One child process, started again when the last job ended it. Owned by one thread."""

    function: str
    limits: _Limits
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _folder: TemporaryDirectory[str] | None = field(default=None, init=False)
    _failures: list[Crash] = field(default_factory=list, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def ask(self, payload: bytes) -> Result:
        """Sends one job and waits for its answer, its end or its time limit."""
        process = self._process
        if process is None or process.poll() is not None:
            self.stop()
            if len(self._failures) >= _STARTS:
                return self._failures[-1]
            started = self._start()
            if isinstance(started, Crash):
                self._failures.append(started)
                return started
            self._failures.clear()
            process = started
        answer = _exchange(process, payload, self.limits)
        if isinstance(answer, Timeout):
            self.stop()
            return answer
        if answer is None:
            self.stop()
            return Crash(_ending(process))
        kind, body = answer
        return body if kind == _OK else Crash(body.decode("utf-8", "replace"))

    def forgive(self) -> None:
        """A worker that could not be started gets another chance."""
        del self._failures[1:]

    def _start(self) -> subprocess.Popen[bytes] | Crash:
        folder = temporary_folder("worker.")
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder.name),
            GUARD: "off",  # it is a process of its own already
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "hwopt.oracles.workers", self.function],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=_ON_POSIX,  # Ctrl-C is for the parent, from the start
        )
        watch_group(process.pid)
        with self._lock:
            self._process, self._folder = process, folder
        ready = _exchange(process, None, replace(self.limits, timeout_s=_START_TIMEOUT_S))
        if isinstance(ready, tuple) and ready[0] == _READY:
            return process
        self.stop()
        if isinstance(ready, Timeout):
            return Crash(f"worker did not start in {ready.seconds:g} s")
        text = ready[1].decode("utf-8", "replace") if isinstance(ready, tuple) else _ending(process)
        return Crash(f"worker did not start: {text}")

    def stop(self) -> None:
        """Ends the process; may be called from any thread, and twice."""
        with self._lock:
            process, self._process = self._process, None
            folder, self._folder = self._folder, None
        if process is None:
            return
        _kill(process)
        group_gone(process.pid)
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        if folder is not None:
            with contextlib.suppress(OSError):  # the process's own folder goes at the end
                folder.cleanup()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Ends the worker and whatever it started: a child of it could keep the pipe open."""
    if not _ON_POSIX:
        process.kill()
        return
    if process.returncode is not None:
        return  # its number may belong to another process by now
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _ending(process: subprocess.Popen[bytes]) -> str:
    """How a process ended, in words."""
    code = process.poll()
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"worker was ended by {signal.Signals(-code).name}"
    return f"worker ended with exit code {code}"


def _exchange(
    process: subprocess.Popen[bytes], payload: bytes | None, limits: _Limits
) -> tuple[bytes, bytes] | Timeout | None:
    """Sends a message (unless None) and reads one; None when the process ended instead.

    An answer that is longer than it may be counts as an error.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        _kill(process)

    timer = threading.Timer(limits.timeout_s, expire)
    timer.daemon = True
    timer.start()
    try:
        if payload is not None:
            _write(process.stdin, _OK, payload)
        message = _read(process.stdout, limits.most_bytes)
    except TooLong as error:
        _kill(process)
        group_gone(process.pid)
        process.wait()  # the next job must not be sent to it
        group_gone(process.pid)
        process.wait()  # the next job must not be sent to it
        return _ERROR, str(error).encode()
    except (OSError, ValueError):
        message = None
    finally:
        timer.cancel()
    if message is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5.0)
        return Timeout(limits.timeout_s) if expired.is_set() else None
    return message


def _write(stream: IO[bytes], kind: bytes, body: bytes) -> None:
    stream.write(_HEADER.pack(kind, len(body)))
    stream.write(body)
    stream.flush()


class TooLong(Exception):
    """A message with more bytes than it may have."""


def _read(stream: IO[bytes], most_bytes: int = sys.maxsize) -> tuple[bytes, bytes] | None:
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    kind, size = _HEADER.unpack(header)
    if size > most_bytes:
        raise TooLong(f"its answer has {size:,} bytes, more than {most_bytes:,}")
    body = stream.read(size)
    return (kind, body) if len(body) == size else None


def _serve(path: str) -> None:
    """The child's side: answers messages until its input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a compiler prints must not land between the messages
    jobs = sys.stdin.buffer
    try:
        module, _, name = path.partition(":")
        function: Function = getattr(importlib.import_module(module), name)
    except Exception as error:
        _write(answers, _ERROR, f"{type(error).__name__}: {error}".encode())
        return
    _write(answers, _READY, b"")
    while (message := _read(jobs)) is not None:
        try:
            kind, body = _OK, function(message[1])
        except Exception as error:
            kind, body = _ERROR, f"{type(error).__name__}: {error}".encode()
        _write(answers, kind, body)


if __name__ == "__main__":
    _serve(sys.argv[1])
