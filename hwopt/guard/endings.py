"""What to say of a worker that did not live to answer."""

from __future__ import annotations

from hwopt.errors import BadInput
from hwopt.guard.limits import MEMORY, SECONDS, gigabytes
from hwopt.oracles.workers import Crash, Timeout

_BAD_INPUT = "BadInput: "
_MORE, _LONGER = 16, 3600  # gigabytes and seconds that a message gives as an example


def ending(result: Crash | Timeout, who: str, memory: int, seconds: float) -> str:
    """Why a job has no answer. who: whose code it ran; memory: bytes that it may hold.

    Raises BadInput where the worker itself could not be set up, RuntimeError for a bug in its own code.
    """
    reason = result.reason if isinstance(result, Crash) else ""
    if isinstance(result, Timeout) or "SIGALRM" in reason:
        return (
            f"{who} does not finish in {seconds:g} s: if it is only slow, allow more with {SECONDS}={_LONGER}"
        )
    if "SIGKILL" in reason:
        return out_of_memory(who, memory)
    if reason.startswith("worker did not start"):
        return f"{who} runs in a process of its own, and that did not start ({reason}): free some memory"
    if reason.startswith(_BAD_INPUT):  # there is no folder for temporary files, say
        raise BadInput(reason.removeprefix(_BAD_INPUT))
    if not reason.startswith("worker "):
        raise RuntimeError(f"the guard's worker failed: {reason}")  # its own code, not the model's
    how = reason.removeprefix("worker was ").removeprefix("worker ")
    return f"{who} crashes on it ({how}): the file is damaged, or was made to do that; export it again"


def out_of_memory(who: str, memory: int) -> str:
    """What to say where native code wants more memory than it may have."""
    return (
        f"{who} needs more than {gigabytes(memory)} for it: where you trust the file, allow more with "
        f"{MEMORY}={_MORE}G, or give smaller sizes with --input-shape"
    )
