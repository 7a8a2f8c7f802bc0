"""What every lossy rewrite costs EfficientNet-Lite0, repaired on calibration images and judged on others.

    HWOPT_DATA=DIR python -m bench.lossy [--rows NAME,...] [--tune STEPS] [--augment N]
                                         [--judge calib|eval] [--held-out FOLD,...] [--out FILE]
    python -m bench.lossy --table FILE

By default weights are fitted on four calibration folds and judged on the first one; --held-out 0,1,2,3,4
fits once without each fold and judges on all of them. `--judge eval` fits on all calibration images and
judges on the evaluation images, once per row. Every row that is run, in a process of its own, is appended to
FILE (JSON, one object a line); --table prints such a file as Markdown, the marks beside the figures.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import onnx_ir as ir

from bench.lossy_lab import SEED, Lab, open_judge, open_lab
from bench.lossy_rows import ROWS, row_named
from bench.lossy_table import Record, read_records, table
from hwopt.calibration_variants import augmented
from hwopt.damage import Damage, compare, measured, outputs_of
from hwopt.harm import PLAN_EFFORT
from hwopt.repair.reference import Reference
from hwopt.repair.sequence import repair
from hwopt.rewrite import chosen_values, rewrite
from hwopt.tuning.tune import tuned


@dataclass(frozen=True)
class How:
    """How rows are repaired and judged.

    tune: gradient steps per weight set; augment: altered copies per calibration image; held_out:
    calibration folds to judge on, () for the evaluation images.
    """

    tune: int
    augment: int
    held_out: tuple[int, ...]


def main() -> int:
    """Runs the rows that were asked for, or prints the table of those that were run."""
    arguments = _arguments()
    if arguments.table is not None:
        print(table(read_records(arguments.table)))
        return 0
    how = How(
        arguments.tune, arguments.augment, () if arguments.judge == "eval" else _folds(arguments.held_out)
    )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    for name in arguments.rows.split(",") if arguments.rows else [row.name for row in ROWS]:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
            record = alone.submit(run, row_named(name).name, how).result()
        with arguments.out.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(record)) + "\n")
        print(table([record]), file=sys.stderr)
    print(table(read_records(arguments.out)))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--rows", default="", help="names, with commas between: " + ", ".join(r.name for r in ROWS)
    )
    parser.add_argument("--tune", type=int, default=0, help="gradient steps per weight set")
    parser.add_argument("--augment", type=int, default=0, help="augmented copies per calibration image")
    parser.add_argument("--judge", choices=["calib", "eval"], default="calib")
    parser.add_argument("--held-out", default="0", help="calibration folds to judge on")
    parser.add_argument("--out", type=Path, default=Path("out/lossy/rows.jsonl"))
    parser.add_argument("--table", type=Path, help="print this file and run nothing")
    return parser.parse_args()


def _folds(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def run(name: str, how: How) -> Record:
    """One row: its values chosen, written, repaired and judged."""
    row = row_named(name)
    start = time.perf_counter()
    lab = open_lab(partial(augmented, copies=how.augment, seed=SEED))
    assert lab.reference.cuts  # what every repair reads is recorded before the clock of the repair starts
    opened = time.perf_counter()
    picks = row.picks(lab)
    chosen = time.perf_counter()
    changed = rewrite(lab.base, chosen_values(list(lab.choices.values()), picks))
    found, repairs = _judged(lab, changed, how)
    count, base = lab.count(changed), lab.count(lab.base)
    assert found.drop is not None
    return Record(
        row=name, tune=how.tune, augment=how.augment, held_out=how.held_out, samples=found.samples,
        kl=found.divergence, agreement=_known(found.agreement), before=_known(found.before),
        after=_known(found.after), drop=found.drop.value, error=found.drop.error,
        params=count.params / base.params,
        macs=count.macs / base.macs, zeros=count.zeros, open_s=opened - start, choose_s=chosen - opened,
        repair_s=sum(repairs) / len(repairs), peak_bytes=_peak_bytes(), picks=dict(picks),
    )  # fmt: skip


def _judged(lab: Lab, changed: ir.Model, how: How) -> tuple[Damage, list[float]]:
    """The damage where it is to be judged, and the seconds of every repair."""
    folds = range(len(lab.reference.calibration.folds))
    if not how.held_out:
        fitted, seconds = _fitted(lab, changed, list(folds), how)
        return measured(Reference(lab.base, open_judge(lab)), fitted), [seconds]
    outputs, repairs = [], []
    for held_out in how.held_out:
        fitted, seconds = _fitted(lab, changed, [fold for fold in folds if fold != held_out], how)
        outputs.append(outputs_of(lab.reference, fitted, lab.reference.calibration.folds[held_out]))
        repairs.append(seconds)
    judges = [lab.reference.calibration.folds[fold] for fold in how.held_out]
    return compare(lab.reference, outputs, judges, None), repairs


def _fitted(lab: Lab, changed: ir.Model, folds: list[int], how: How) -> tuple[ir.Model, float]:
    """The changed model repaired on these folds, and the seconds that it took."""
    start = time.perf_counter()
    fitted = repaired(lab, changed, folds, how.tune)
    return fitted, time.perf_counter() - start


def repaired(lab: Lab, changed: ir.Model, folds: Sequence[int], steps: int) -> ir.Model:
    """A changed model with its weights fitted as those of a chosen plan are, then tuned by gradient steps."""
    fitted = repair(lab.reference, changed, folds, seed=SEED, effort=PLAN_EFFORT)
    return tuned(lab.reference, fitted, folds, seed=SEED, steps=steps)


def _known(figure: float | None) -> float:
    """The figure, which classifiers with labels have."""
    assert figure is not None
    return figure


def _peak_bytes() -> int:
    """Most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())
