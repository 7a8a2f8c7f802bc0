"""A race: the best plan that every strategy finds against how many plans it may look at.

    HWOPT_DATA=DIR python -m bench.search_race [--model lite0|figures|ppocr_det ...] [--target NAME ...]
                                               [--seeds 5] [--csv FILE] [--ppocr FILE]
    python -m bench.search_race --csv FILE --table
    python -m bench.search_race --csv FILE --plot FILE.svg

The problems are those of the pipeline's own steps: EfficientNet-Lite0 and the shipped network with their
calibration images under a limit of 3 points on the drop, as its first round takes it (damage added up).
PP-OCRv4's detector is searched for forms, kernels and widths without data: a width counts by the share
of channels that go, another form or kernel as a quarter, and two such units may be spent. Strategies
that draw lots are run with several seeds. Prints the share of the integer program's gain in
latency (100% is the proven optimum; `random` is the floor): the mean over seeds, in brackets the
worst. With --csv the rows are added to the file as they come.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from itertools import product
from pathlib import Path

import numpy as np

from bench.oracle_in_loop import ALLOWED, with_lossy, with_proxy
from hwopt.cost.learned import Learned
from hwopt.decide import first_guess
from hwopt.pricing.price import draft, make_scene
from hwopt.scope import Problem
from hwopt.search import Budget
from hwopt.search.problem import Task
from hwopt.search.strategies import DEFAULT, NAMES, strategy
from hwopt.settings import settings
from hwopt.steps import find, price_choices
from hwopt.work import open_work
from models.fetch import fetch
from models.figures.prepare import prepare

MODELS = ("lite0", "figures", "ppocr_det")
TARGETS = ("edge-npu", "ethos-u55-256")
PLANS = (100, 300, 1_000, 3_000, 5_000)
PLANNING = ("greedy",)  # looks first at no more than half of what it may, so each number is a run; no seeds
SEARCHED = tuple(name for name in reversed(NAMES) if name != DEFAULT)  # the floor first
DROP = 0.03
PAGE = {"x": (1, 3, 320, 320)}
FIGURES = Path(__file__).parent.parent / "models" / "figures" / "figures.onnx"
# Colour-blind safe: Okabe and Ito, "Color Universal Design", 2008.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
MARKERS = "osD^v"


@dataclass(frozen=True)
class Row:
    """One run. gain: of the latency of the unchanged model, as a share; best: what the program proves."""

    model: str
    target: str
    choices: int
    values: int
    strategy: str
    seed: int
    plans: int
    gain: float
    best: float
    seconds: float

    @property
    def share(self) -> float:
        """Of the best possible gain; 1 where there is none to be had."""
        return self.gain / self.best if self.best > 0 else 1.0


def main() -> int:
    """Runs the race, or shows one that was run."""
    arguments = _arguments()
    if arguments.csv is not None and (arguments.plot is not None or arguments.table):
        rows = read(arguments.csv)
        if arguments.plot is not None:
            plot(rows, arguments.plot)
        print(table(rows))
        return 0
    rows = []
    for model, target in product(arguments.model or MODELS, arguments.target or TARGETS):
        problem, budget = priced(model, target, arguments.ppocr)
        for row in race(model, target, problem, budget, arguments.seeds):
            rows.append(row)
            if arguments.csv is not None:
                append([row], arguments.csv)
        print(table(rows), file=sys.stderr, flush=True)
    print(table(rows))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", action="append", choices=MODELS)
    parser.add_argument("--target", action="append")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--plot", type=Path, help="draws what --csv holds, and runs nothing")
    parser.add_argument("--table", action="store_true", help="prints what --csv holds, and runs nothing")
    parser.add_argument("--ppocr", type=Path, help="the detector's file, where it lies here already")
    return parser.parse_args()


def priced(model: str, target: str, ppocr: Path | None) -> tuple[Problem, Budget]:
    """A network's problem, with the limit on damage that its race is run under."""
    if model == "lite0":
        data = Path(os.environ["HWOPT_DATA"])
        return with_data(data / "efficientnet_lite0.onnx", target, data / "imagenet" / "calib")
    with tempfile.TemporaryDirectory() as scratch:
        if model == "figures":
            return with_data(FIGURES, target, prepare(Path(scratch))[0])
        return without_data(ppocr or fetch(model, Path(scratch)), target)


def with_data(model: Path, target: str, calibration: Path) -> tuple[Problem, Budget]:
    """All rewrites, priced and refined by the pipeline's own steps, and the limit of its first round."""
    work = open_work(model, target, settings(max_drop=DROP), calibration)
    problem, _ = price_choices(work, find(work))
    assert work.limit is not None
    return problem, Budget(damage=first_guess(work.limit))


def without_data(model: Path, target: str) -> tuple[Problem, Budget]:
    """Forms, kernels and widths, with a stand-in for damage."""
    work = open_work(model, target, settings(input_shapes=PAGE, refine=0))
    found = with_lossy(work, find(work))
    drafts = draft(make_scene(found.base, work.assess(found.base).shapes, work.target), found.choices)
    return with_proxy(drafts.problem(Learned(work.cost_model))), Budget(damage=ALLOWED)


def race(model: str, target: str, problem: Problem, budget: Budget, seeds: int) -> Iterator[Row]:
    """Every strategy, every number of plans, every seed."""
    size = (len(problem.choices), sum(len(choice.values) for choice in problem.choices))
    best = run(problem, budget, DEFAULT, 0, PLANS[-1]).at(PLANS[-1])
    for name in SEARCHED:
        if name in PLANNING:
            runs = [(plans, 0, run(problem, budget, name, 0, plans)) for plans in PLANS]
        else:
            whole = [run(problem, budget, name, seed, PLANS[-1]) for seed in range(seeds)]
            runs = [(plans, seed, found) for plans in PLANS for seed, found in enumerate(whole)]
        for plans, seed, found in runs:
            yield Row(model, target, *size, name, seed, plans, found.at(plans), best, found.seconds)


@dataclass(frozen=True)
class Run:
    """One search. base: the unchanged model's latency; curve: the best one after so many plans."""

    base: float
    curve: Sequence[tuple[int, float]]
    seconds: float

    def at(self, plans: int) -> float:
        """The share of the latency that the best plan among the first so many saves."""
        found = [latency for number, latency in self.curve if number <= plans]
        return 1 - found[-1] / self.base if found else 0.0


def run(problem: Problem, budget: Budget, name: str, seed: int, plans: int) -> Run:
    """One search by one strategy, its plan held against the limits."""
    start = time.perf_counter()
    outcome = strategy(name)(Task(problem, budget, seed, evaluations=plans))
    seconds = time.perf_counter() - start
    base, after = problem.total({}), problem.total(outcome.assignment or {})
    assert base is not None
    assert after is not None
    assert not budget.violations(after), f"{name} broke a limit"
    found = after.latency_us.value
    if name == DEFAULT:
        return Run(base.latency_us.value, [(0, found)], seconds)
    assert outcome.evaluations <= plans, f"{name} looked at more plans than it may"
    # What is taken back at the end can only help; what it saves counts for nobody here.
    assert found <= outcome.curve[-1][1] * (1 + 1e-5), f"{name} has another plan than it says"
    return Run(base.latency_us.value, outcome.curve, seconds)


def append(rows: Sequence[Row], path: Path) -> None:
    """Adds rows to a file, under a head where it is new."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow([field.name for field in fields(Row)])
        for row in rows:
            writer.writerow([f"{cell:.6g}" if isinstance(cell, float) else cell for cell in astuple(row)])


def read(path: Path) -> list[Row]:
    """The rows of a file."""
    with path.open(newline="") as file:
        return [
            Row(
                r["model"], r["target"], int(r["choices"]), int(r["values"]), r["strategy"], int(r["seed"]),
                int(r["plans"]), float(r["gain"]), float(r["best"]), float(r["seconds"]),
            )
            for r in csv.DictReader(file)
        ]  # fmt: skip


def grouped(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """By network and target, in the order in which they were run."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.model, row.target), []).append(row)
    return groups


def table(rows: Sequence[Row]) -> str:
    """Markdown: a line for every network, target and strategy."""
    heads = [f"{plans:,}" for plans in PLANS]
    lines = [
        _line("network", "target", "choices / values", "best gain", "strategy", *heads, "s for the most")
    ]
    lines.append("|---" * (6 + len(PLANS)) + "|")
    for (model, target), mine in grouped(rows).items():
        for name in dict.fromkeys(row.strategy for row in mine):
            runs = [row for row in mine if row.strategy == name]
            cells = [_cell([row.share for row in runs if row.plans == plans]) for plans in PLANS]
            seconds = np.mean([row.seconds for row in runs if row.plans == PLANS[-1]])
            size, best = f"{mine[0].choices} / {mine[0].values}", f"{100 * mine[0].best:.1f}%"
            lines.append(_line(model, target, size, best, name, *cells, f"{seconds:.1f}"))
    return "\n".join(lines)


def _cell(shares: Sequence[float]) -> str:
    mean = f"{100 * float(np.mean(shares)):.1f}%"
    return mean if len(shares) == 1 else f"{mean} ({100 * min(shares):.1f})"


def _line(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def plot(rows: Sequence[Row], path: Path) -> None:
    """Share of the best possible gain against plans looked at: a panel for every network and target."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "hwopt", "svg.fonttype": "none", "font.size": 8})
    from matplotlib import pyplot

    groups = grouped(rows)
    wide = (len(groups) + 1) // 2
    figure, panels = pyplot.subplots(
        2, wide, figsize=(3.2 * wide, 5), sharex=True, sharey=True, squeeze=False
    )
    names = list(dict.fromkeys(row.strategy for row in rows))
    for panel, ((model, target), mine) in zip(panels.T.flat, groups.items(), strict=False):
        panel.axhline(100, color="black", linewidth=1)
        for name, colour, marker in zip(names, COLOURS, MARKERS, strict=False):
            shares = [[100 * r.share for r in mine if (r.strategy, r.plans) == (name, n)] for n in PLANS]
            if not all(shares):
                continue  # the race has not come to it yet
            panel.plot(PLANS, [np.mean(s) for s in shares], color=colour, marker=marker, label=name)
            panel.fill_between(
                PLANS, [min(s) for s in shares], [max(s) for s in shares], color=colour, alpha=0.2
            )
        panel.set(xscale="log", ylim=(0, 103), title=f"{model}, {target}")
        panel.grid(alpha=0.3)
    figure.supxlabel("plans looked at")
    figure.supylabel("% of the proven best gain in latency")
    panels[0, 0].legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    sys.exit(main())
