"""Times an ONNX model on a board that is reached over ssh; prints what hwopt's `command` oracle reads.

    python ssh_board.py [--limit SECONDS] [--folder FOLDER] HOST MODEL PROGRAM [ARGUMENT ...]

The model is copied to the board, PROGRAM is run there with the copy's path behind its arguments,
and the copy is deleted. PROGRAM prints one number per line: the microseconds of each inference
after warm-up; other lines are ignored. An exit code of 3 says that the board cannot run the
model at all; any other failure is taken as passing, and hwopt tries again.

    hwopt targets measure my-board --oracle-command \\
        'python docs/examples/ssh_board.py --limit 60 root@board {model} ./bench --threads 4'

Keys must be set up: a connection that asks for a password fails. The board needs a shell and
`timeout` (BusyBox has it), nothing of hwopt. The local time limit of hwopt should be longer than
--limit, so that nothing is left running on the board.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import subprocess
import sys
import uuid

OPTIONS = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=20")
CANNOT_RUN = 3


def main() -> int:
    """Prints one JSON object and returns 0; anything else is a failure, explained on standard error."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--limit", type=int, default=120, help="seconds that PROGRAM may take on the board")
    parser.add_argument("--folder", default="/tmp", help="where the model is put on the board")
    parser.add_argument("host")
    parser.add_argument("model")
    parser.add_argument("program", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    if not given.program:
        parser.error("give the program that times a model on the board")
    remote = f"{given.folder}/hwopt-{uuid.uuid4().hex}.onnx"
    try:
        run("scp", "-q", *OPTIONS, given.model, f"{given.host}:{remote}").check_returncode()
        done = on_board(given.host, ["timeout", str(given.limit), *given.program, remote])
    except (OSError, subprocess.CalledProcessError) as error:
        print(getattr(error, "stderr", "") or error, file=sys.stderr)
        return 1
    finally:
        with contextlib.suppress(OSError):
            on_board(given.host, ["rm", "-f", remote])
    return answer(done)


def answer(done: subprocess.CompletedProcess[str]) -> int:
    """Turns what the program printed into JSON."""
    if done.returncode == CANNOT_RUN:
        print(json.dumps({"error": last_line(done.stderr) or "the board cannot run the model"}))
        return 0
    samples = [float(line) for line in done.stdout.splitlines() if is_number(line)]
    if done.returncode != 0 or not samples:
        print(done.stderr or f"{len(samples)} numbers, exit code {done.returncode}", file=sys.stderr)
        return done.returncode or 1
    print(json.dumps({"latency_us": samples}))
    return 0


def on_board(host: str, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs a command on the board; ssh hands one line to the shell there."""
    return run("ssh", *OPTIONS, host, shlex.join(command))


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Runs a local program; its output as text."""
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def is_number(line: str) -> bool:
    """Whether the line is a number and nothing else."""
    try:
        float(line)
    except ValueError:
        return False
    return True


def last_line(text: str) -> str:
    """The last line that is not empty."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")


if __name__ == "__main__":
    sys.exit(main())
