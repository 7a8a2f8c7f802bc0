"""Planted bugs, found by `hwopt bisect`: a wrong number, a crash, a pair that is wrong together only.

    [HWOPT_DATA=DIR] python -m bench.bisect [--model FILE ...] [--target NAME] [--accuracy] [-o DIR]

Each bug is a value of a plug-in pass (tests/planted.py) that splits the bias off every convolution of a
network: at one named convolution it writes a wrong bias, or raises; or two of them are right alone and wrong
together. The command runs as a process, as a user runs it, with a plan of all N values, and must name the
convolution. Prints a Markdown table: what was planted where, N, the checks that were made beside the bound
for a single culprit, ceil(log2 N) + 2, wall-clock seconds, the nodes of the smallest failing model beside
those of the network, and whether the line that reproduces it, run as it is printed, finds the bug again. Ends
with exit code 1 where a bug was not found.

With `--accuracy` there is one more row, without a bug: the shipped network loses a few channels at six places
and half of them at one, and `--max-drop 0.02` on its calibration images must name that one.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log2
from pathlib import Path
from tempfile import TemporaryDirectory

from hwopt.choice import in_order
from hwopt.ir import load_model
from hwopt.nodes import convs, label
from hwopt.settings import settings
from hwopt.steps import find, plan_of
from hwopt.work import open_work
from models.figures.prepare import prepare
from tests.planted import Which, plan_of_all, planted, plugged_in

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "models" / "figures" / "figures.onnx"
COLUMNS = ("network", "bug", "at", "steps", "checks", "bound", "seconds", "nodes left", "reproduced")
LIMIT = "0.02"
OTHERS = 6
Bug = Mapping[str, Which | tuple[Which, Which]]


@dataclass(frozen=True)
class Trial:
    """A bug in a network. culprit: the convolution whose value must be named; partner: of a pair."""

    network: Path
    kind: str
    bug: Bug
    culprit: str
    partner: str | None = None


@dataclass(frozen=True)
class Row:
    """What the command said of a trial, and how long it took."""

    trial: Trial
    steps: int
    checks: int
    seconds: float
    nodes: int
    of_nodes: int
    found: bool
    reproduced: bool

    @property
    def bound(self) -> int | None:
        """For a single culprit; a pair takes delta debugging besides."""
        return None if self.trial.partner else ceil(log2(self.steps)) + 2

    @property
    def good(self) -> bool:
        """Whether the bug was found within what is promised."""
        few = self.bound is None or self.checks <= self.bound
        # A limit on accuracy belongs to the whole model, and takes repairs.
        small = not self.trial.bug or (self.nodes < 10 and self.seconds < 120)
        return self.found and self.reproduced and few and small

    def cells(self) -> list[str]:
        """In the order of COLUMNS."""
        where = " and ".join(filter(None, [self.trial.partner, self.trial.culprit]))
        return [
            self.trial.network.stem, self.trial.kind, where if self.found else f"{where}: NOT FOUND",
            str(self.steps), str(self.checks), str(self.bound or "-"), f"{self.seconds:.1f}",
            f"{self.nodes} of {self.of_nodes}", "yes" if self.reproduced else "NO",
        ]  # fmt: skip


def trials(network: Path) -> Iterator[Trial]:
    """Bugs at the beginning, in the middle and near the end; and a pair of neighbours."""
    names = [label(conv.node) for conv in convs(load_model(network))]
    middle = len(names) // 2
    for number in (0, middle, len(names) - 2):
        yield Trial(network, "wrong number", {"wrong": names[number]}, names[number])
    yield Trial(network, "crash", {"raising": names[middle]}, names[middle])
    pair = (names[middle - 1], names[middle])
    yield Trial(network, "pair", {"pair": pair}, pair[1], pair[0])


def tried(trial: Trial, target: str, folder: Path) -> Row:
    """Runs the command on a plan with the bug in it."""
    environment = plugged_in(folder, **trial.bug)
    plan = plan_of_all(trial.network, target, planted(**trial.bug))  # type: ignore[arg-type]
    (folder / "plan.json").write_text(plan.text(), "utf-8")
    return commanded(trial, target, folder, [], environment)


def commanded(
    trial: Trial, target: str, folder: Path, options: Sequence[str], environment: Mapping[str, str]
) -> Row:
    """Runs the command on the folder's plan.json, and then the line that it prints."""
    told = [str(trial.network), "--plan", str(folder / "plan.json"), "--target", target, *options]
    begin = time.perf_counter()
    code, text = hwopt(["bisect", *told, "-o", str(folder / "case"), "--json"], environment)
    seconds = time.perf_counter() - begin
    found = json.loads(text)
    if code != 1:
        raise SystemExit(f"hwopt bisect ended with exit code {code}: {text}")
    line = shlex.split(found["case"]["reproduction"])[1:]
    again, _ = hwopt([*line, "--no-case"] if line[:1] == ["bisect"] else line, environment)
    return Row(
        trial, found["steps"], found["checks"], seconds, found["case"]["nodes"],
        load_model(trial.network).graph.num_nodes(), _right(found, trial), again == 1,
    )  # fmt: skip


def accuracy_trial(target: str, folder: Path) -> Row:
    """Names the step that costs too much accuracy, among others that cost little."""
    prepare(folder)
    data = folder / "calib.npz"
    work = open_work(FIGURES, target, settings(refine=0), data)
    found = find(work)
    pruned = [
        sorted((v for v in choice.values if v.pass_name == "prune_channels"), key=lambda v: v.strength or 0.0)
        for choice in sorted(found.choices, key=lambda choice: choice.id)
    ]
    groups = [values for values in pruned if len(values) > 1]
    heavy = min(groups, key=lambda values: int(str(values[0].parameters["from"])))
    mild = [values[0] for values in groups if values is not heavy][:OTHERS]
    plan = plan_of(work, [*found.folds, *in_order([heavy[-1], *mild])], 0)
    (folder / "plan.json").write_text(plan.text(), "utf-8")
    trial = Trial(FIGURES, f"half of the channels ({LIMIT})", {}, heavy[-1].choice)
    told = ["--calib", str(data), "--max-drop", LIMIT]
    return commanded(trial, target, folder, told, {"PYTHONPATH": str(ROOT)})


def _right(found: Mapping[str, object], trial: Trial) -> bool:
    """Whether the culprit is the one that was planted, and its company, too."""
    culprit, others = found["culprit"], found["together_with"]
    assert isinstance(culprit, dict)
    assert isinstance(others, list)
    partners = [other["nodes"][0] for other in others]
    wanted = [] if trial.partner is None else [trial.partner]
    return trial.culprit in (culprit["nodes"][0], culprit["choice"]) and partners == wanted


def hwopt(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """The command as a process: its exit code, and what it prints on standard output."""
    command = [sys.executable, "-m", "hwopt.cli", *arguments]
    env = {**os.environ, **environment}
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stdout


def networks(given: Sequence[Path]) -> list[Path]:
    """Those that were named; else the shipped one, and EfficientNet-Lite0 where there is one."""
    if given:
        return list(given)
    data = os.environ.get("HWOPT_DATA")
    lite0 = [] if data is None else [Path(data) / "efficientnet_lite0.onnx"]
    return [FIGURES, *lite0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table, row by row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, action="append", default=[])
    parser.add_argument("--target", default="edge-npu")
    parser.add_argument("--accuracy", action="store_true", help="a row with calibration data, too")
    parser.add_argument("-o", "--output", type=Path, help="keep plans and cases there")
    given = parser.parse_args(arguments)
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    good = True
    with TemporaryDirectory() as scratch:
        for row in rows(given, given.output or Path(scratch)):
            good &= row.good
            print(f"| {' | '.join(row.cells())} |", flush=True)
    return 0 if good else 1


def rows(given: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """One trial after the other, each in a folder of its own."""
    for number, trial in enumerate(t for network in networks(given.model) for t in trials(network)):
        place = folder / f"{number}-{trial.network.stem}"
        place.mkdir(parents=True)
        yield tried(trial, given.target, place)
    if given.accuracy:
        place = folder / "accuracy"
        place.mkdir(parents=True)
        yield accuracy_trial(given.target, place)


if __name__ == "__main__":
    sys.exit(main())
