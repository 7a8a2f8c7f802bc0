"""How time and memory of an EXACT run grow with the nodes of a graph.

    python -m bench.scaling [--family NAME ...] [--nodes N ...] [--target T] [--analyze] [--keep DIR]

Makes graphs of each family (`bench.scaling_nets`), runs the command line on each in a process of its own, all
files included, nothing asked of an oracle, and prints Markdown: seconds of the whole process (wall and CPU),
of each stage, largest resident memory, sizes of the report's files. Below, for each family, how CPU seconds
grow: the exponent p of `start + c * nodes ** p` that fits all sizes best (least squares of the logarithms,
with a run on ten nodes, so that seconds which hardly differ from a start's weigh little), and the exponent
from the last size but one to the last, a start taken off: what is quadratic shows there first. Beside each,
the exponent that n log n has by the same measure, which is the bound. Exit code 1 where one is more than
TOLERANCE above its bound, or a run on at most 10,000 nodes takes a minute or more of wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from scipy.optimize import nnls

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
    """Prints how the seconds of a family grow; whether it keeps to the marks."""
    late = [r for r in runs if r.nodes <= MARK_NODES * 1.01 and r.wall_s >= MARK_S]
    for run in late:
        print(f"\n{family}: {run.nodes} nodes took {run.wall_s:.0f} s")
    if len(runs) < 2:
        return not late
    nodes = np.array([run.nodes for run in (start, *runs)], np.float64)
    seconds = np.array([run.cpu_s for run in (start, *runs)])
    linearithmic = start.cpu_s + (seconds[-1] - start.cpu_s) * _share(nodes * np.log(nodes))
    whole, bound = exponent(nodes, seconds), exponent(nodes, linearithmic)
    last, last_bound = (slope(nodes[-2:], s[-2:] - start.cpu_s) for s in (seconds, linearithmic))
    print(
        f"\n{family}: exponent {whole:.2f} of all sizes (n log n: {bound:.2f}), {last:.2f} from "
        f"{nodes[-2]:.0f} to {nodes[-1]:.0f} nodes (n log n: {last_bound:.2f}); "
        f"a start takes {start.cpu_s:.1f} s",
        flush=True,
    )
    return not late and whole <= bound + TOLERANCE and last <= last_bound + TOLERANCE


def _share(work: np.ndarray) -> np.ndarray:
    """From 0 for the smallest to 1 for the largest."""
    return np.asarray((work - work[0]) / (work[-1] - work[0]))


def exponent(nodes: np.ndarray, seconds: np.ndarray) -> float:
    """The p of a + c * nodes ** p that fits best by the squares of relative errors.

    For each p the best a and c that are not negative are a linear problem.
    """
    powers = np.linspace(0.5, 2.5, 401)
    return float(min(powers, key=lambda p: _misfit(nodes, seconds, p)))


def _misfit(nodes: np.ndarray, seconds: np.ndarray, power: float) -> float:
    terms = np.stack([np.ones_like(nodes), (nodes / nodes[-1]) ** power], axis=1) / seconds[:, None]
    return float(nnls(terms, np.ones_like(seconds))[1])


def slope(nodes: np.ndarray, seconds: np.ndarray) -> float:
    """The exponent p of the power law c * nodes ** p through two sizes."""
    (one, two), (few, many) = np.maximum(seconds, 0.01), nodes
    return float(np.log(two / one) / np.log(many / few))


def _run(family: str, nodes: int, asked: argparse.Namespace) -> Run:
    with TemporaryDirectory() as temporary:
        folder = Path(temporary if asked.keep is None else asked.keep)
        model = folder / f"{family}{nodes}.onnx"
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # a run's peak begins with its parent's
            count = pool.submit(_made, family, nodes, model).result()
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


def _made(family: str, nodes: int, path: Path) -> int:
    """Writes a model of so many nodes, or some more; how many they are."""
    model = FAMILIES[family](nodes)
    onnx.save(model, path)
    return len(model.graph.node)


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
