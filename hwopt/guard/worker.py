"""The worker's side: one job under limits on memory and time.

The limits are the kernel's, so that native code that never gives the interpreter a turn obeys
them too: RLIMIT_DATA for memory, and SIGALRM with its default action, the end, for time. That it
ends with its parent is the business of `hwopt.oracles.workers` and `hwopt.files.janitor`.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator

from hwopt.guard.jobs import JOBS
from hwopt.guard.messages import Head, pack, unpack
from hwopt.guard.running import failed


def answer(message: bytes) -> bytes:
    """Does one job; whatever Python or native code raises in it is the answer."""
    head, blocks = unpack(message)
    blocks_out = list[bytes | memoryview]()
    with limited(int(_number(head, "memory")), _number(head, "seconds")):
        reply = done(head, blocks, blocks_out)
    return pack(reply, blocks_out)


def done(head: Head, blocks: list[memoryview], out: list[bytes | memoryview]) -> Head:
    """What a job comes to: its reply, or {"error", "memory"}."""
    job = JOBS[str(head["job"])]
    try:
        return job(head, blocks, out)
    except Exception as error:  # native code raises whatever it likes: the caller decides what it means
        return failed(error)


def _number(head: Head, name: str) -> float:
    number = head[name]
    assert isinstance(number, int | float)
    return number


@contextlib.contextmanager
def limited(memory: int, seconds: float) -> Iterator[None]:
    """Limits of this process while the block runs. memory: bytes."""
    if sys.platform == "win32":  # no such limits there: only the crash is kept apart
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    allowed = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
