"""The janitor's own process: waits until whoever started it is gone, then clears up after it.

Started as a file, without hwopt: it must cost next to nothing. On standard input come messages that end
in a zero byte: `+` or `-` (from now on, no longer), `G` and the id of a process group, or `D` and the
path of a folder. The end of the input is the end of the parent, however that came about.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

_TURNS, _PAUSE_S = 20, 0.1  # a process that was just ended may still write for a moment


def main() -> None:
    """Listens until the end, then ends the groups and removes the folders that are left."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    left = _left_at_the_end()
    groups = [int(item[1:]) for item in left if item[:1] == b"G"]
    folders = [os.fsdecode(item[1:]) for item in left if item[:1] == b"D"]
    for group in groups:
        with contextlib.suppress(OSError):
            os.killpg(group, signal.SIGKILL)
    if folders:
        _remove(folders)


def _left_at_the_end() -> list[bytes]:
    """What was announced and not taken back, in the order of announcement."""
    left: dict[bytes, None] = {}
    pending = b""
    while chunk := os.read(0, 1 << 16):
        *messages, pending = (pending + chunk).split(b"\0")
        for message in messages:
            if message[:1] == b"+":
                left[message[1:]] = None
            else:
                left.pop(message[1:], None)
    return list(left)


def _remove(folders: list[str]) -> None:
    from importlib.util import module_from_spec, spec_from_file_location
    from pathlib import Path

    spec = spec_from_file_location("leftovers", Path(__file__).with_name("leftovers.py"))
    assert spec is not None
    assert spec.loader is not None
    leftovers = module_from_spec(spec)
    sys.modules["leftovers"] = leftovers  # dataclasses look their module up
    spec.loader.exec_module(leftovers)
    for _ in range(_TURNS):
        for folder in folders:
            leftovers.remove(Path(folder))
        if not any(Path(folder).exists() for folder in folders):
            return
        time.sleep(_PAUSE_S)


if __name__ == "__main__":
    main()
