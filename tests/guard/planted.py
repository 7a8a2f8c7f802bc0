"""A guard whose native code dies on order: the worker's own code around a job that ends it."""

from __future__ import annotations

import os
import signal

from hwopt.guard import worker
from hwopt.guard.messages import pack, unpack


def answer(message: bytes) -> bytes:
    """As the worker's, but the checker crashes, and "hello" tells the process's number."""
    head, _ = unpack(message)
    if head["job"] == "check":
        os.kill(os.getpid(), signal.SIGSEGV)
    if head["job"] == "hello":
        return pack({"pid": os.getpid()})
    return worker.answer(message)
