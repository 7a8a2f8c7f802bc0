"""How time and memory of an EXACT run grow with the nodes of a graph.

    python -m bench.scaling [--family NAME ...] [--nodes N ...] [--target T] [--analyze] [--keep DIR]

Makes graphs of each family (`bench.scaling_nets`), runs the command line on each in a process of its own, all
files included, nothing asked of an oracle, and prints Markdown: seconds of the whole process (wall and CPU),
of each stage, largest resident memory, sizes of the report's files. Below, for each family, the slope of CPU
seconds over nodes on logarithmic scales by least squares, once without and once with the seconds of a run on
ten nodes taken off, which is what a start costs; and the slope that n log n has over the same numbers of
nodes, which is the bound. The last two sizes are judged by themselves, too: what is quadratic shows there
first, and a line through all sizes would hide it. Exit code 1 where a slope is more than TOLERANCE above its
bound, or a run on at most 10,000 nodes takes a minute or more of wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx

from bench.scaling_nets import FAMILIES

NODES = (100, 300, 1_000, 3_000, 10_000, 20_000)
START = 10  # nodes of the run that says what a start costs
TOLERANCE = 0.1
MARK_S, MARK_NODES = 60.0, 10_000
STAGES = ("load", "find", "price", "search", "verify")
COLUMNS = ("nodes", "wall s", "CPU s", *STAGES, "rest", "peak MB", "JSON MB", "HTML MB", "Markdown MB")


@dataclass(frozen=True)
class Run:
    """One run. written: bytes of each of the report's files, by suffix."""

    nodes: int
    wall_s: float
    cpu_s: float
    peak_bytes: int
    stages_s: Mapping[str, float]
    written: Mapping[str, int]


def main() -> int:
    """Runs everything that was asked for; 0 where all of it keeps to the marks."""
    asked = _arguments()
    held = True
    for family in asked.family:
        start = _run(family, START, asked)
        print(
            f"\n### {family}, {asked.target}\n\n{_row(COLUMNS)}\n{_row(['---:'] * len(COLUMNS))}", flush=True
        )
        runs = []
        for nodes in asked.nodes:
            runs.append(_run(family, nodes, asked))
            print(_cells(runs[-1]), flush=True)
        held = _judged(family, runs, start) and held
    return 0 if held else 1


def _judged(family: str, runs: Sequence[Run], start: Run) -> bool:
    """Prints the slopes of a family; whether it keeps to the marks."""
    late = [r for r in runs if r.nodes <= MARK_NODES * 1.01 and r.wall_s >= MARK_S]
    if len(runs) < 2:
        return not late
    nodes = np.array([run.nodes for run in runs], np.float64)
    seconds = np.array([run.cpu_s for run in runs])
    whole, bound = slope(nodes, seconds), slope(nodes, nodes * np.log(nodes))
    above = slope(nodes, np.maximum(seconds - start.cpu_s, 0.01))
    last = slope(nodes[-2:], np.maximum(seconds[-2:] - start.cpu_s, 0.01))
    print(
        f"\n{family}: slope {whole:.2f} with the start of {start.cpu_s:.1f} s, {above:.2f} without it, "
        f"{last:.2f} from {nodes[-2]:.0f} to {nodes[-1]:.0f} nodes; "
        f"n log n has {bound:.2f}" + "".join(f"; {r.nodes} nodes took {r.wall_s:.0f} s" for r in late),
        flush=True,
    )
    return not late and max(above, last) <= bound + TOLERANCE


def slope(nodes: np.ndarray, seconds: np.ndarray) -> float:
    """The exponent p of the power law c * nodes ** p that fits best on logarithmic scales."""
    return float(np.polyfit(np.log(nodes), np.log(seconds), 1)[0])


def _run(family: str, nodes: int, asked: argparse.Namespace) -> Run:
    with TemporaryDirectory() as temporary:
        folder = Path(temporary if asked.keep is None else asked.keep)
        model = folder / f"{family}{nodes}.onnx"
        onnx.save(FAMILIES[family](nodes), model)
        count = len(onnx.load(model, load_external_data=False).graph.node)
        report = folder / f"{family}{nodes}.out.report.json"
        out = folder / f"{family}{nodes}.out.onnx"
        what = (
            ["analyze", str(model)] if asked.analyze else ["optimize", str(model), "-o", str(out), "--force"]
        )
        command = [sys.executable, "-m", "hwopt.cli", *what, "--target", asked.target, "--refine", "0"]
        begin = time.perf_counter()
        done = subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert done.stdout is not None
        text = done.stdout.read()
        _, status, used = os.wait4(done.pid, 0)
        wall = time.perf_counter() - begin
        if status:
            raise SystemExit(f"{' '.join(command)}: exit status {os.waitstatus_to_exitcode(status)}")
        timings = json.loads(text)["timings_s"]
        written = {
            s: report.with_suffix(s).stat().st_size for s in (".json", ".html", ".md") if report.exists()
        }
        peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return Run(count, wall, used.ru_utime + used.ru_stime, peak, timings, written)


def _cells(run: Run) -> str:
    stages = [run.stages_s.get(stage, 0.0) for stage in STAGES]
    figures = [run.wall_s, run.cpu_s, *stages, max(run.wall_s - sum(stages), 0.0)]
    sizes = [run.written.get(suffix, 0) / 1e6 for suffix in (".json", ".html", ".md")]
    return _row([str(run.nodes), *(f"{f:.1f}" for f in figures), f"{run.peak_bytes / 1e6:.0f}",
                 *(f"{size:.1f}" for size in sizes)])  # fmt: skip


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.scaling", description=__doc__)
    parser.add_argument("--family", nargs="+", choices=[*FAMILIES], default=[*FAMILIES])
    parser.add_argument("--nodes", nargs="+", type=int, default=list(NODES))
    parser.add_argument("--target", default="edge-npu")
    parser.add_argument("--analyze", action="store_true", help="hwopt analyze in the place of hwopt optimize")
    parser.add_argument("--keep", default=None, help="a folder for the models and what is made of them")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
