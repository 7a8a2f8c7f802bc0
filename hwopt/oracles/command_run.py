"""Runs a program with a time limit, away from this process: no shell, no terminal, no leftovers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO

from hwopt.files.janitor import group_gone, watch_group
from hwopt.wording import shorten

_READ = 1 << 24  # bytes of a stream that are looked at
_MOST = 1 << 28  # bytes of a stream beyond which a program is ended: it shall not fill the disk
_LOOK_S = 0.2
_ON_POSIX = os.name == "posix"


@dataclass(frozen=True)
class Finished:
    """The program ended by itself. code: negative where a signal ended it. stderr: its last line."""

    code: int
    stdout: str
    stderr: str

    @property
    def ending(self) -> str:
        """How it ended, in words, with what it said last."""
        return self._how() + (f": {self.stderr}" if self.stderr else "")

    def _how(self) -> str:
        if self.code < 0:
            with contextlib.suppress(ValueError):
                return f"was ended by {signal.Signals(-self.code).name}"
        return f"exit code {self.code}"


@dataclass(frozen=True)
class Overtime:
    """The program and everything that it started were ended: after so many seconds, or for what it wrote.

    flood: bytes that it wrote, where it was that.
    """

    seconds: float
    stderr: str
    flood: int = 0

    @property
    def ending(self) -> str:
        """The limit, with what the program said last."""
        how = f"wrote more than {_MOST:,} bytes" if self.flood else f"took longer than {self.seconds:g} s"
        return how + (f": {self.stderr}" if self.stderr else "")


@dataclass
class Runner:
    """Starts programs and can end all that are running; methods may be called from any thread."""

    _running: set[subprocess.Popen[bytes]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: bool = False

    def run(self, argv: Sequence[str], timeout_s: float) -> Finished | Overtime:
        """The program's output, or that it took too long. Raises OSError where it cannot be started.

        Standard input is empty: a program that asks for a password fails at once. Output goes
        to files, so that a grandchild that keeps running holds up nobody.
        """
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = self._start(argv, out, err)
            try:
                code, flood = _waited(process, timeout_s, (out, err))
                if code is None:
                    _end(process)
                    return Overtime(timeout_s, _last_line(_text(err)), flood)
            finally:
                if process.poll() is None:
                    _end(process)
                group_gone(process.pid)
                with self._lock:
                    self._running.discard(process)
            return Finished(code, _text(out), _last_line(_text(err)))

    def stop(self) -> None:
        """Ends every program that is running, with all that it started; later ones are not started."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            _end(process)

    def _start(self, argv: Sequence[str], out: IO[bytes], err: IO[bytes]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._stopped:
                raise OSError("stopped")
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=_ON_POSIX,
            )
            watch_group(process.pid)
            self._running.add(process)
            return process


def _waited(
    process: subprocess.Popen[bytes], timeout_s: float, streams: Sequence[IO[bytes]]
) -> tuple[int | None, int]:
    """The exit code and 0; None and the bytes that it wrote where it took too long or wrote too much."""
    until = time.monotonic() + timeout_s
    while True:
        left = until - time.monotonic()
        try:
            return process.wait(timeout=max(0.0, min(_LOOK_S, left))), 0
        except subprocess.TimeoutExpired:
            written = max(os.fstat(stream.fileno()).st_size for stream in streams)
            if written > _MOST or left <= _LOOK_S:
                return None, written if written > _MOST else 0


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the program's process group; the program leads one of its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if _ON_POSIX:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def _text(stream: IO[bytes]) -> str:
    """The last part of what was written, read as UTF-8."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - _READ))
    return stream.read().decode("utf-8", "replace")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return shorten(lines[-1], 200) if lines else ""
