"""Every model of the onnx package's backend test data through `hwopt optimize`, in EXACT mode.

    python -m bench.strange --target edge-npu --target ethos-u55-256
    python -m bench.strange --only node --every 20 --workers 2 --rows rows.jsonl

Each case goes through `optimize` without data; the written file must have the input's interface, pass the
checker, and give in ONNX Runtime what the package expects within the package's tolerances (where ONNX
Runtime's answer to the input itself is another, that answer). Cases run in processes of their own, so that
a crash or a hang costs one row. The pictures of the page are drawn for one case in ten.

Prints a table per target: models, how many of them ONNX Runtime runs, and of these: passed, refused, wrong,
crashed, and the share that passed. `rest`: what ONNX Runtime does not run and comes back all the same.
Exit code 1 where less than 98% pass, or any is wrong or crashes. --rows: a JSON line per case and target.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

from bench.strange_cases import KINDS, cases
from bench.strange_run import CRASHED, PASSED, REFUSED, WRONG, Row

TARGETS = ("edge-npu", "ethos-u55-256")
ENOUGH = 0.98  # of what ONNX Runtime runs
TIMEOUT_S = 300.0
_HUNG = f"no answer in {TIMEOUT_S:g} s"
PICTURES_EVERY = 10  # cases: drawing is four fifths of the time
Job = tuple[str, str, str, bool]  # kind, name, target, whether the page's pictures are drawn


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what is asked for, prints the tables and returns the exit code."""
    asked = _asked(arguments)
    jobs = list(_jobs(asked.only or KINDS, asked.target or TARGETS, asked.every))
    rows = list(_kept(run(jobs, asked.workers), asked.rows))
    for target in asked.target or TARGETS:
        print(table(target, [row for row in rows if row.target == target]), flush=True)
    for row in rows:
        if row.counted and row.outcome != PASSED:
            print(f"{row.outcome}: {row.kind}/{row.name} on {row.target}: {row.message}"[:300])
    return 0 if good(rows) else 1


def _kept(rows: Iterator[Row], path: Path | None) -> Iterator[Row]:
    """The rows, each written down as it comes."""
    if path is None:
        yield from rows
        return
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            print(json.dumps(vars(row)), file=file, flush=True)
            yield row


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.strange")
    parser.add_argument("--target", action="append", help=f"again for more; {' and '.join(TARGETS)}")
    parser.add_argument("--only", action="append", choices=KINDS)
    parser.add_argument("--every", type=int, default=1, help="every Nth case of each kind alone")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rows", type=Path, help="a file for the rows, as JSON lines")
    return parser.parse_args(arguments)


def _jobs(kinds: Sequence[str], targets: Sequence[str], every: int) -> Iterator[Job]:
    for kind in kinds:
        for number, name in enumerate(list(cases(kind))[::every]):
            for target in targets:
                yield kind, name, target, number % PICTURES_EVERY == 0


def run(jobs: Sequence[Job], workers: int) -> Iterator[Row]:
    """A row per job, in their order, judged in so many processes."""
    own = threading.local()
    all_of_them: list[_Process] = []

    def judged(job: Job) -> Row:
        if not hasattr(own, "process"):
            own.process = _Process()
            all_of_them.append(own.process)
        process: _Process = own.process
        return process.judge(job)

    try:
        with ThreadPoolExecutor(workers) as threads:
            yield from threads.map(judged, jobs)
    finally:
        for process in all_of_them:
            process.end()


class _Process:
    """A worker, started anew behind a crash or a hang."""

    def __init__(self) -> None:
        self._worker: subprocess.Popen[bytes] | None = None
        self._errors = TemporaryFile()  # noqa: SIM115 -- lives as long as the worker's owner

    def judge(self, job: Job) -> Row:
        """The row of a job; of one that took the worker with it: crashed."""
        worker = self._started()
        assert worker.stdin is not None
        assert worker.stdout is not None
        with suppress(BrokenPipeError):  # it died: there will be no answer either
            worker.stdin.write(json.dumps(job).encode() + b"\n")
            worker.stdin.flush()
        in_time = bool(select.select([worker.stdout], [], [], TIMEOUT_S)[0])
        line = worker.stdout.readline() if in_time else b""
        if line:
            return Row(**json.loads(line))
        what = f"the process ended with {worker.wait()}: {self._last_words()}" if in_time else _HUNG
        self.end()
        return Row(*job[:3], True, False, CRASHED, False, what, 0.0)

    def _last_words(self) -> str:
        self._errors.seek(0)
        return " ".join(self._errors.read().decode(errors="replace").strip().split("\n")[-1:])[:200]

    def _started(self) -> subprocess.Popen[bytes]:
        if self._worker is None:
            self._worker = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "bench.strange_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        return self._worker

    def end(self) -> None:
        """Ends the worker, where there is one."""
        if self._worker is not None:
            self._worker.kill()
            self._worker.communicate()
            self._worker = None


def table(target: str, rows: Sequence[Row]) -> str:
    """What became of the cases of one target, by kind."""
    head = f"| {target} | models | ORT runs | passed | refused | wrong | crashed | % | changed | rest |"
    lines = [head, "|---" * 10 + "|"]
    kinds = [kind for kind in KINDS if any(row.kind == kind for row in rows)]
    lines += [_line(kind, [row for row in rows if row.kind == kind]) for kind in kinds]
    return "\n".join([*lines, _line("all", rows)]) + "\n"


def _line(name: str, rows: Sequence[Row]) -> str:
    counted = [row for row in rows if row.counted]
    of = {word: sum(row.outcome == word for row in counted) for word in (PASSED, REFUSED, WRONG, CRASHED)}
    rest = sum(row.outcome == PASSED for row in rows if not row.counted)
    share = 100 * of[PASSED] / max(len(counted), 1)
    cells = [name, len(rows), len(counted), *of.values(), f"{share:.1f}", sum(r.changed for r in rows), rest]
    return "| " + " | ".join(map(str, cells)) + " |"


def good(rows: Sequence[Row]) -> bool:
    """Whether enough pass, and none is wrong or crashes."""
    counted = [row for row in rows if row.counted]
    passed = sum(row.outcome == PASSED for row in counted)
    bad = any(row.outcome in (WRONG, CRASHED) for row in counted)
    return passed >= ENOUGH * len(counted) and not bad


if __name__ == "__main__":
    sys.exit(main())
