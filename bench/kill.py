"""Kill -9 at many moments of `hwopt optimize`: what is left, and whether the next run works.

    python -m bench.kill [--times 50] [--seed 0] [--mode exact|data ...] [--each 5]

The shipped network on edge-npu, with exact rewrites alone and with calibration data. Of seven runs three
are killed anywhere, two while the result is written, two while its files get their names. Every third
one works over an older result (`--force`). The next run is the next one that is killed, in the same
folder with the same cache; after every `--each`th of them one goes to its end, without `--force`
where nothing is in its way, and its bytes are held against a run that nobody killed. Prints a Markdown
table, and what was wrong; exit code 1 where anything was.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.kill_lab import OUT, SIBLINGS, Found, Lab, Moment, hashes, moments
from models.figures.data import make

FIGURES = Path(__file__).parent.parent / "models" / "figures" / "figures.onnx"
GIVEN = ("model.onnx", "-t", "edge-npu")
MODES = {
    "exact": GIVEN,
    "data": (*GIVEN, "--calib", "calib.npz", "--max-divergence", "0.5", "--passes",
             "canonicalize,densify_depthwise,fuse_separable"),
}  # fmt: skip
IMAGES = 40


@dataclass(frozen=True)
class Row:
    """One run that was killed. reached: what the next complete run made of it, "" where there was none."""

    moment: Moment
    forced: bool
    found: Found
    reached: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Kills, looks, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=5)
    parser.add_argument("--mode", nargs="+", choices=sorted(MODES), default=sorted(MODES))
    chosen = parser.parse_args(arguments)
    faulty = 0
    for mode in chosen.mode:
        with TemporaryDirectory(prefix="kill.") as folder:
            lab = open_lab(Path(folder), MODES[mode])
            rows = killed(lab, chosen.times, chosen.seed, chosen.each)
        print(f"\n## {mode}: `hwopt optimize {' '.join(MODES[mode])} -o {OUT}`\n\n{table(rows)}\n")
        print(summary(rows), flush=True)
        faulty += sum(bool(row.found.faults) for row in rows)
    return 1 if faulty else 0


def open_lab(folder: Path, arguments: Sequence[str]) -> Lab:
    """A folder with the model and images, and empty ones for temporary files and the cache."""
    for name in ("work", "temporary", "cache"):
        (folder / name).mkdir()
    shutil.copy(FIGURES, folder / "work" / "model.onnx")
    images, labels = make("calib", IMAGES)
    np.savez(folder / "work" / "calib.npz", image=images.astype(np.float32), labels=labels)
    return Lab(folder / "work", folder / "temporary", folder / "cache", tuple(arguments))


def killed(lab: Lab, times: int, seed: int, each: int) -> list[Row]:
    """One row per run that was killed, after two that were not: one with an empty cache, one to be timed."""
    inputs = hashes(lab.folder)
    require(lab.run()[0])
    wanted = hashes(lab.folder)[OUT]
    clear(lab)
    code, run_s, write_s = lab.run()
    require(code)
    clear(lab)
    print(f"a run takes {run_s:.1f} s, its writing {write_s:.2f} s", file=sys.stderr, flush=True)
    rows = []
    for number, moment in enumerate(moments(times, seed, run_s, write_s), start=1):
        forced = number % 3 == 0
        old = old_result(lab) if forced else {}
        found = lab.look(inputs, old, lab.kill(moment, forced))
        reached = ""
        if found.state != "absent":
            clear(lab)
        if number % each == 0 and not found.faults:
            reached = finished(lab, wanted)
            clear(lab)
        rows.append(Row(moment, forced, found, reached))
        print(line(number, rows[-1]), file=sys.stderr, flush=True)
    return rows


def old_result(lab: Lab) -> dict[str, str]:
    """Files of a result as another run would have left them; their SHA-256 by name."""
    (lab.folder / OUT).write_bytes(b"an old model")
    for name in SIBLINGS:
        (lab.folder / name).write_text(f"of an old model: {name}", "utf-8")
    there = hashes(lab.folder)
    return {name: there[name] for name in (OUT, *SIBLINGS)}


def finished(lab: Lab, wanted: str) -> str:
    """What a run to the end came to."""
    code, _, _ = lab.run()
    if code != 0:
        return f"FAULT: exit code {code}"
    return "same bytes" if hashes(lab.folder)[OUT] == wanted else "FAULT: other bytes"


def clear(lab: Lab) -> None:
    """Takes the result away."""
    for name in (OUT, *SIBLINGS):
        (lab.folder / name).unlink(missing_ok=True)


def require(code: int) -> None:
    """Raises RuntimeError where a run that nobody killed did not end well."""
    if code != 0:
        raise RuntimeError(f"a run that nobody killed ended with exit code {code}")


def line(number: int, row: Row) -> str:
    """A row of the table."""
    state = row.found.state if row.found.killed else f"{row.found.state} (it had ended)"
    faults = "; ".join(row.found.faults) or "none"
    when = f"{1e3 * row.moment.seconds:.2f} ms" if row.moment.seconds < 0.1 else f"{row.moment.seconds:.2f} s"
    return (
        f"| {number} | {row.moment.kind} | {when} | {'yes' if row.forced else 'no'} | {state} | "
        f"{1e3 * row.found.seconds_to_clear:.0f} ms | {faults} | {row.reached or '-'} |"
    )


def table(rows: Sequence[Row]) -> str:
    """All rows as Markdown."""
    head = "| run | killed | after | over an old result | result | clear after | faults | next complete run |"
    return "\n".join([head, "|" + "---|" * 8, *(line(i, row) for i, row in enumerate(rows, start=1))])


def summary(rows: Sequence[Row]) -> str:
    """How many of what."""
    states = Counter(f"{row.moment.kind}: {row.found.state}" for row in rows)
    faults = sum(bool(row.found.faults) or "FAULT" in row.reached for row in rows)
    longest = max(row.found.seconds_to_clear for row in rows)
    complete = sum(bool(row.reached) for row in rows)
    told = ", ".join(f"{name} {count}" for name, count in sorted(states.items()))
    return (
        f"{len(rows)} runs, {sum(row.found.killed for row in rows)} of them killed before their end "
        f"({told}); "
        f"with faults: {faults}; all clear after {1e3 * longest:.0f} ms at the most; "
        f"{complete} complete runs afterwards"
    )


if __name__ == "__main__":
    sys.exit(main())
