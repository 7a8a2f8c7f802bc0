"""A limit is never broken: random budgets, each met on figures taken anew from the file, or refused.

    python -m bench.budgets [--model figures|lite0] [--count 200] [--samples 400] [--rewrites exact|lossy]
                            [--out FILE] [--csv FILE]
    python -m bench.budgets --table FILE [--csv FILE]

Draws budgets for each target: one to three limits on latency, memory, size, footprint and drop, absolute or
relative, from slack to impossible, and an objective; three in five with calibration data. Runs
`hwopt.optimize` and checks what came of it (bench/budget_checks.py). Lite0 needs HWOPT_DATA; --samples
takes the first so many calibration samples of the shipped model. Every run is appended to FILE as soon as
it is done (JSON, one object a line), and runs that are in it are not made again. Prints Markdown; exit
code 1 where a limit was broken, a refusal named no plan, or a plan was found that a refused run missed.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import hwopt
from bench.budget_cases import Case, absolute, draw
from bench.budget_checks import EXISTS, PROVEN, TOO_HARSH, Figures, challenge, figures, held, sources
from hwopt.errors import BudgetNotMet
from hwopt.pipeline import Result
from hwopt.report.schema import Outcome
from hwopt.settings import settings
from hwopt.work import open_work
from models.figures.prepare import prepare

TARGETS = ("edge-npu", "ethos-u55-256")
MET, UNCHANGED, REFUSED, BROKEN, UNNAMED, FAILED = (
    "met", "met, unchanged", "refused", "BROKEN", "refused, no plan named", "failed",
)  # fmt: skip
FAULTS = (BROKEN, UNNAMED, FAILED)
CLOSEST = ("the closest plan has", "the mildest plan that meets the other limits")
COLUMNS = (
    "model", "target", "rewrites", "budgets", "met", "met by the input", "refused", "proven",
    "mildest plans break it", "a plan existed", "broken or failed", "seconds a run",
)  # fmt: skip


@dataclass(frozen=True)
class Record:
    """One run. figures: every limit as it was found in the file. said: the message of a refusal.

    challenged: what came of looking for a plan that a refused run should have found, "" for others.
    """

    case: Case
    outcome: str
    figures: str
    said: str
    challenged: str
    detail: str
    seconds: float


@dataclass(frozen=True)
class Place:
    """Where a model and its calibration data are."""

    model: Path
    calib: Path


def main() -> int:
    """Runs what is missing, prints the table, writes the CSV."""
    arguments = _arguments()
    if arguments.table is None:
        _run_all(arguments)
    records = read(arguments.table or arguments.out)
    print(table(records))
    for record in records:
        if is_fault(record):
            print(f"- {record.case}: {record.outcome} {record.figures} {record.said} {record.detail}")
    if arguments.csv is not None:
        write_csv(records, arguments.csv)
    return int(any(is_fault(record) for record in records))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=["figures", "lite0"], default="figures")
    parser.add_argument("--target", action="append", choices=TARGETS)
    parser.add_argument("--count", type=int, default=200, help="budgets, dealt out to the targets")
    parser.add_argument("--samples", type=int, default=400, help="calibration samples of the shipped model")
    parser.add_argument(
        "--rewrites", choices=["exact", "lossy"], help="only the budgets without, or with data"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/budgets/rows.jsonl"))
    parser.add_argument("--csv", type=Path, help="also write the rows there")
    parser.add_argument("--table", type=Path, help="print this file and run nothing")
    return parser.parse_args()


def _run_all(arguments: argparse.Namespace) -> None:
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    place = place_of(arguments.model, arguments.out.parent, arguments.samples)
    targets = arguments.target or TARGETS
    inputs = {target: figures(place.model, target) for target in targets}
    done = {(r.case.model, r.case.target, r.case.number) for r in read(arguments.out)}
    for number in range(arguments.count):
        target = targets[number % len(targets)]
        if (arguments.model, target, number) in done:
            continue
        case = draw(arguments.model, target, inputs[target].limited(), arguments.seed, number)
        if arguments.rewrites not in (None, rewrites(case)):
            continue
        record = attempt(case, place, inputs[target])
        with arguments.out.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(record)) + "\n")
        print(
            f"{number} {case.target} {record.outcome} {record.challenged} {record.seconds:.0f} s",
            file=sys.stderr,
        )


def rewrites(case: Case) -> str:
    """The riskiest rewrites that the case may be given."""
    return "lossy" if case.data else "exact"


def place_of(model: str, folder: Path, samples: int) -> Place:
    """The model and its data; the shipped one's are made in the folder."""
    if model == "lite0":
        data = Path(os.environ["HWOPT_DATA"])
        return Place(data / "efficientnet_lite0.onnx", data / "imagenet" / "calib")
    calib = folder / f"calib-{samples}.npz"
    if not calib.exists():
        with np.load(prepare(folder)[0]) as every:
            np.savez(calib, allow_pickle=False, **{name: every[name][:samples] for name in every.files})
    return Place(Path(__file__).parent.parent / "models" / "figures" / "figures.onnx", calib)


def attempt(case: Case, place: Place, before: Figures) -> Record:
    """One run, and what its file or its refusal is worth."""
    start = time.perf_counter()
    with TemporaryDirectory() as folder:
        record = _judged(case, place, before, Path(folder, "out.onnx"))
    return replace(record, seconds=round(time.perf_counter() - start, 1))


def _judged(case: Case, place: Place, before: Figures, out: Path) -> Record:
    empty = Record(case, FAILED, "", "", "", "", 0.0)
    try:
        result = hwopt.optimize(place.model, target=case.target, output=out, **_options(case, place.calib))
    except BudgetNotMet as error:
        return _refused(replace(empty, said=str(error)), place, before, out)
    except Exception as error:  # a fault is a row, too: the others are still to be run
        return replace(empty, said=f"{type(error).__name__}: {error}")
    return _met(empty, result, before)


def _options(case: Case, calib: Path) -> dict[str, Any]:
    """What the case asks of `hwopt.optimize`."""
    data = {"calib": calib} if case.data else {}
    return {"minimize": case.minimize, **case.limits, **data}


def _met(empty: Record, result: Result, before: Figures) -> Record:
    """Every limit against the file that was written."""
    case, report = empty.case, result.report
    limits = {name: absolute(name, limit, before.limited()) for name, limit in case.limits.items()}
    rows = held(limits, report, figures(result.files[0], case.target))
    if not all(row.met for row in rows):
        outcome = BROKEN
    else:
        outcome = UNCHANGED if report.outcome == Outcome.UNCHANGED else MET
    return replace(empty, outcome=outcome, figures=sources(rows))


def _refused(empty: Record, place: Place, before: Figures, out: Path) -> Record:
    """A refusal names the closest plan, leaves no file, and is challenged."""
    case = empty.case
    if out.exists() or not any(words in empty.said for words in CLOSEST):
        return replace(empty, outcome=UNNAMED)
    if kept_by_input(case, before):
        return replace(empty, outcome=REFUSED, challenged=EXISTS, detail="the input keeps every limit")
    options = _options(case, place.calib)
    calib = options.pop("calib", None)
    verdict, detail = challenge(open_work(place.model, case.target, settings(**options), calib))
    return replace(empty, outcome=REFUSED, challenged=verdict, detail=detail)


def kept_by_input(case: Case, before: Figures) -> bool:
    """Whether the model that came in keeps every limit: to give it back is a plan, too."""
    own = before.limited()
    return all(own[name] <= absolute(name, limit, own) for name, limit in case.limits.items() if name in own)


def is_fault(record: Record) -> bool:
    """Whether this run breaks a promise."""
    return record.outcome in FAULTS or record.challenged == EXISTS


def read(file: Path) -> list[Record]:
    """The runs in a file; none where there is no file."""
    if not file.exists():
        return []
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    return [Record(**{**row, "case": Case(**row["case"])}) for row in rows]


def table(records: Sequence[Record]) -> str:
    """Markdown: counts by model, target, and whether there were calibration data."""
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.case.model, record.case.target, rewrites(record.case)), []).append(record)
    lines = [_line(key, groups[key]) for key in sorted(groups)]
    return "\n".join([_joined(COLUMNS), "|" + "---|" * len(COLUMNS), *lines])


def _line(key: tuple[str, str, str], records: Sequence[Record]) -> str:
    outcomes = Counter(record.outcome for record in records)
    challenged = Counter(record.challenged for record in records)
    seconds = sorted(record.seconds for record in records)[len(records) // 2]
    cells = (
        *key, len(records), outcomes[MET], outcomes[UNCHANGED],
        outcomes[REFUSED], challenged[PROVEN], challenged[TOO_HARSH], challenged[EXISTS],
        sum(outcomes[fault] for fault in FAULTS), f"{seconds:.0f}",
    )  # fmt: skip
    return _joined([str(cell) for cell in cells])


def _joined(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def write_csv(records: Sequence[Record], file: Path) -> None:
    """One row per run."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([name for name, _ in CELLS])
        writer.writerows([[cell(record) for _, cell in CELLS] for record in records])


def _limits(limits: Mapping[str, str | float]) -> str:
    return " ".join(f"--{name.replace('_', '-')} {limit}" for name, limit in limits.items())


CELLS: tuple[tuple[str, Callable[[Record], object]], ...] = (
    ("number", lambda r: r.case.number),
    ("model", lambda r: r.case.model),
    ("target", lambda r: r.case.target),
    ("rewrites", lambda r: rewrites(r.case)),
    ("minimize", lambda r: r.case.minimize),
    ("limits", lambda r: _limits(r.case.limits)),
    ("outcome", lambda r: r.outcome),
    ("figures_of_the_file", lambda r: r.figures),
    ("said", lambda r: r.said),
    ("challenged", lambda r: r.challenged),
    ("detail", lambda r: r.detail),
    ("seconds", lambda r: r.seconds),
)

if __name__ == "__main__":
    sys.exit(main())
