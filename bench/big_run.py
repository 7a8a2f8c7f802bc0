"""Runs hwopt's command line in this process and says what it held and read.

    python -m bench.big_run FIGURES.json optimize MODEL ...

Memory is VmHWM of this process, mapped pages of files and all. Reads are those by `hwopt.ir.stored`, by
file: what is copied by the kernel (copy_file_range) never comes into the process and is counted apart. That
the written file holds the same bits is read and compared by the verifying process, not here.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import time
from collections import Counter
from pathlib import Path

from hwopt.ir import stored


class Spy:
    """Notes what is read from which file, from where to where."""

    def __init__(self) -> None:
        self.reads: list[tuple[str, int, int]] = []
        self.copied: Counter[str] = Counter()
        self._into, self._copy = stored.Reading.into, os.copy_file_range

    def begin(self) -> None:
        """From now on."""
        into, copy = self._into, self._copy

        def noted(reading: stored.Reading, view: memoryview, offset: int) -> None:
            self.reads.append((_name(reading.descriptor), reading.start + offset, len(view)))
            into(reading, view, offset)

        def copying(src: int, dst: int, count: int, start: int, offset: int) -> int:
            done = copy(src, dst, count, start, offset)
            self.copied[_name(src)] += done
            return done

        stored.Reading.into = noted  # type: ignore[method-assign, assignment]
        os.copy_file_range = copying  # type: ignore[assignment]


def _name(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")


def peak_bytes(process: str = "self") -> int:
    """The most memory that a process has held so far, in bytes."""
    for line in Path("/proc", process, "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"process {process} has ended")


def main() -> int:
    """The command line's exit code."""
    figures, sys.argv = Path(sys.argv[1]), ["hwopt", *sys.argv[2:]]
    spy, start, code = Spy(), time.monotonic(), 0
    spy.begin()
    try:
        runpy.run_module("hwopt.cli", run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    figures.write_text(
        json.dumps(
            {
                "peak": peak_bytes(),
                "seconds": time.monotonic() - start,
                "reads": spy.reads,
                "copied": dict(spy.copied),
            }
        )
    )
    return code


if __name__ == "__main__":
    sys.exit(main())
