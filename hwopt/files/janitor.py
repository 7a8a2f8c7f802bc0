"""A small process that outlives this one and clears up after it: folders, and processes it started.

However this process ends, kill -9 and a crash in native code among it, the janitor notices at once:
the pipe to it closes. It then ends the process groups that it was told of and removes the folders. It
is started when it is first needed and ends with this process. Where it cannot be started (Windows, no
process left), folders wait for the next run (`hwopt.files.leftovers.sweep`).
"""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

_PROGRAM = Path(__file__).with_name("janitor_process.py")
_END_S = 5.0


@dataclass
class _Janitor:
    """This process's janitor; owner: the process, whose forks must not speak for it."""

    owner: int = 0
    process: subprocess.Popen[bytes] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def tell(self, message: bytes) -> None:
        """Sends one message; a janitor that is gone is done without."""
        with self.lock:
            if self.owner != os.getpid():
                self._start()
            if self.process is None or self.process.stdin is None:
                return
            try:
                self.process.stdin.write(message + b"\0")
            except OSError:
                self.process = None

    def end(self) -> None:
        """Lets it go home: nothing is left to clear up."""
        with self.lock:
            process, self.process = self.process, None
            if process is None or self.owner != os.getpid() or process.stdin is None:
                return
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                process.stdin.close()
                process.wait(_END_S)

    def _start(self) -> None:
        self.owner, self.process = os.getpid(), None
        if os.name != "posix":
            return
        with contextlib.suppress(OSError):
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_PROGRAM)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                cwd="/",
                start_new_session=True,  # what ends the whole group of the parent must not end it
            )


_JANITOR = _Janitor()
atexit.register(_JANITOR.end)


def watch_folder(path: Path) -> None:
    """The folder is removed when this process is gone; to be said before it is made."""
    _JANITOR.tell(b"+D" + os.fsencode(path.absolute()))


def folder_gone(path: Path) -> None:
    """The folder was removed, or is to stay."""
    _JANITOR.tell(b"-D" + os.fsencode(path.absolute()))


def watch_group(leader: int) -> None:
    """The process group of this leader is ended when this process is gone."""
    _JANITOR.tell(b"+G%d" % leader)


def group_gone(leader: int) -> None:
    """The group has ended; to be said before its leader is waited for: then its number is free."""
    _JANITOR.tell(b"-G%d" % leader)
