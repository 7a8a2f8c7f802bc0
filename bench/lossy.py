"""What every lossy rewrite costs EfficientNet-Lite0, repaired on calibration images and judged on others.

    HWOPT_DATA=DIR python -m bench.lossy [--rows NAME,...] [--tune STEPS,...] [--augment N] [--picks FILE]
                                         [--judge calib|eval] [--held-out FOLD,...] [--out FILE]
    python -m bench.lossy --table FILE

By default weights are fitted on four calibration folds and judged on the first one; --held-out 0,1,2,3,4
fits once without each fold and judges on all of them. `--judge eval` fits on all calibration images and
judges on the evaluation images, once per row. --tune 0,400 judges the closed form and, from there, 400
gradient steps. Every row that is run, in a process of its own, is appended to FILE (JSON, one object a line);
--table prints such a file as Markdown, the marks beside the figures. --picks takes the values that a row is
made of from such a file, where an earlier run chose them on calibration data, instead of choosing anew.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import onnx_ir as ir

from bench.lossy_lab import SEED, Count, Lab, open_judge, open_lab
from bench.lossy_rows import ROWS, Picks, row_named
from bench.lossy_table import Record, read_records, table
from hwopt.calibration.variants import augmented
from hwopt.damage.harm import WRITTEN_EFFORT
from hwopt.damage.measure import Damage, compare, measured, outputs_of
from hwopt.nodes import Array
from hwopt.repair.reference import Reference
from hwopt.repair.sequence import repair
from hwopt.rewrite import chosen_values, rewrite
from hwopt.tuning.tune import tuned


@dataclass(frozen=True)
class How:
    """How rows are repaired and judged.

    tune: gradient steps per weight set, one record for each; augment: altered copies per calibration
    image; held_out: calibration folds to judge on, () for the evaluation images.
    """

    tune: tuple[int, ...]
    augment: int
    held_out: tuple[int, ...]


@dataclass(frozen=True)
class Fit:
    """One way to fit the weights of a row: how they fared on samples held out, and the seconds of a fit."""

    steps: int
    damage: Damage
    seconds: float


def main() -> int:
    """Runs the rows that were asked for, or prints the table of those that were run."""
    arguments = _arguments()
    if arguments.table is not None:
        print(table(read_records(arguments.table)))
        return 0
    held_out = () if arguments.judge == "eval" else _numbers(arguments.held_out)
    how = How(_numbers(arguments.tune), arguments.augment, held_out)
    known = {} if arguments.picks is None else {r.row: r.picks for r in read_records(arguments.picks)}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    for row in [row_named(name) for name in arguments.rows.split(",")] if arguments.rows else ROWS:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
            records = alone.submit(run, row.name, how, known.get(row.name)).result()
        with arguments.out.open("a", encoding="utf-8") as stream:
            stream.writelines(json.dumps(asdict(record)) + "\n" for record in records)
        print(table(records), file=sys.stderr)
    print(table(read_records(arguments.out)))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--rows", default="", help="names, with commas between: " + ", ".join(r.name for r in ROWS)
    )
    parser.add_argument("--tune", default="0", help="gradient steps; with commas between: one after another")
    parser.add_argument("--augment", type=int, default=0, help="augmented copies per calibration image")
    parser.add_argument("--judge", choices=["calib", "eval"], default="calib")
    parser.add_argument("--held-out", default="0", help="calibration folds to judge on")
    parser.add_argument("--out", type=Path, default=Path("out/lossy/rows.jsonl"))
    parser.add_argument("--picks", type=Path, help="rows that were run before: their values are taken again")
    parser.add_argument("--table", type=Path, help="print this file and run nothing")
    return parser.parse_args()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def run(name: str, how: How, known: Picks | None) -> list[Record]:
    """One row: its values chosen, unless they are known, written, repaired and judged."""
    start = time.perf_counter()
    lab = open_lab(partial(augmented, copies=how.augment, seed=SEED))
    assert lab.reference.cuts  # what every repair reads is recorded before the clock of the repair starts
    opened = time.perf_counter()
    picks = row_named(name).picks(lab) if known is None else known
    chosen = time.perf_counter()
    changed = rewrite(lab.base, chosen_values(list(lab.choices.values()), picks))
    fits = _judged(lab, changed, how)
    count, base = lab.count(changed), lab.count(lab.base)
    shares = Count(count.params / base.params, count.macs / base.macs, count.zeros)
    return [_record(name, how, picks, fit, shares, (opened - start, chosen - opened)) for fit in fits]


def _record(
    name: str, how: How, picks: Picks, fit: Fit, shares: Count, seconds: tuple[float, float]
) -> Record:
    found = fit.damage
    assert found.drop is not None
    return Record(
        row=name, tune=fit.steps, augment=how.augment, held_out=how.held_out, samples=found.samples,
        kl=found.divergence, agreement=_known(found.agreement), before=_known(found.before),
        after=_known(found.after), drop=found.drop.value, error=found.drop.error, params=shares.params,
        macs=shares.macs, zeros=shares.zeros, open_s=seconds[0], choose_s=seconds[1], repair_s=fit.seconds,
        peak_bytes=_peak_bytes(), picks=dict(picks),
    )  # fmt: skip


def _judged(lab: Lab, changed: ir.Model, how: How) -> list[Fit]:
    """The damage where it is to be judged, for every number of gradient steps."""
    folds = range(len(lab.reference.calibration.folds))
    if not how.held_out:
        judge = Reference(lab.base, open_judge(lab))
        fits = _fitted(lab, changed, list(folds), how)
        return [
            Fit(steps, measured(judge, model), spent)
            for steps, (model, spent) in zip(how.tune, fits, strict=True)
        ]
    judges = [lab.reference.judged[fold] for fold in how.held_out]
    outputs: list[list[Mapping[str, Array]]] = [[] for _ in how.tune]
    seconds = [0.0 for _ in how.tune]
    for held_out, samples in zip(how.held_out, judges, strict=True):
        fits = _fitted(lab, changed, [fold for fold in folds if fold != held_out], how)
        for number, (model, spent) in enumerate(fits):
            outputs[number].append(outputs_of(lab.reference, model, samples))
            seconds[number] += spent / len(judges)
    return [
        Fit(steps, compare(lab.reference, found, judges, None), spent)
        for steps, found, spent in zip(how.tune, outputs, seconds, strict=True)
    ]


def _fitted(lab: Lab, changed: ir.Model, folds: Sequence[int], how: How) -> list[tuple[ir.Model, float]]:
    """The changed model fitted on these folds with each number of steps, and the seconds of it all."""
    start = time.perf_counter()
    closed = repair(lab.reference, changed, folds, seed=SEED, effort=WRITTEN_EFFORT)
    repaired = time.perf_counter() - start
    found = []
    for steps in how.tune:
        start = time.perf_counter()
        model = tuned(lab.reference, closed, folds, seed=SEED, steps=steps)
        found.append((model, repaired + time.perf_counter() - start))
    return found


def _known(figure: float | None) -> float:
    """The figure, which classifiers with labels have."""
    assert figure is not None
    return figure


def _peak_bytes() -> int:
    """Most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())
