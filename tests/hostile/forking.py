"""Runs many command lines of hwopt, each in a process of its own with limits, for the price of one start.

    python -m tests.hostile.forking        a JSON list of arguments per line in, what became of it out

The process loads hwopt once and forks for every line; the child is what a fresh `hwopt` would be, except
that its modules are loaded. What a child leaves running is killed with its group.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

_ADDRESS_SPACE = 8 << 30  # bytes; of the command and of each process that it starts
_WALL_SECONDS = 120
CODE_OF_A_SIGNAL = 1000  # added to its number


def _child(arguments: list[str], out: int, err: int) -> None:
    """The command, in this process, to its end."""
    os.setsid()
    os.dup2(out, 1)
    os.dup2(err, 2)
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from hwopt.cli.entry import main

    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    code = 3
    try:
        code = main(arguments)
    except BaseException as error:
        print(f"Traceback: {error!r}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run(arguments: list[str]) -> dict[str, object]:
    """What became of one command line: code, texts, peak memory in bytes, seconds."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            _child(arguments, out.fileno(), err.fileno())
        status, used = _waited(child, started)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        out.seek(0)
        err.seek(0)
        return {
            "code": os.WEXITSTATUS(status)
            if os.WIFEXITED(status)
            else CODE_OF_A_SIGNAL + os.WTERMSIG(status),
            "out": out.read().decode("utf-8", "backslashreplace"),
            "err": err.read().decode("utf-8", "backslashreplace"),
            "peak_bytes": used.ru_maxrss * 1024,
            "seconds": time.monotonic() - started,
        }


def _waited(child: int, started: float) -> tuple[int, resource.struct_rusage]:
    """The child's end, which is brought about where it takes too long."""
    while True:
        found, status, used = os.wait4(child, os.WNOHANG)
        if found:
            return status, used
        if time.monotonic() - started > _WALL_SECONDS:
            os.killpg(child, signal.SIGKILL)
        time.sleep(0.01)


def serve() -> None:
    """Answers line by line until there is none left."""
    import hwopt.cli.optimize
    import hwopt.passes
    import hwopt.pipeline
    import hwopt.registry  # noqa: F401

    for line in sys.stdin:
        print(json.dumps(_run(json.loads(line))), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("HOME", str(Path.cwd()))
    serve()
