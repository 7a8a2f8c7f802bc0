"""PP-OCRv4's text detector made faster: text regions found before and after, on pages rendered here.

    python -m bench.text_detection [--model FILE] [--target NAME ...] [--cut PERCENT ...] [-o DIR]
                                   [--tune STEPS] [--augment N]

For every target, `hwopt.optimize` first does what is EXACT. Then, for every cut, it looks for the plan of
least damage that is that much faster, with calibration pages as data: than the input, where EXACT rewrites
alone do not reach that, and than the EXACT result. The written files are judged on pages of other seeds.
Prints a Markdown table with a row for every run, those that could not be met included. Exit code 1 where a
run failed for any other reason. The model comes from models/fetch.py unless a file is given.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import hwopt
from bench.columns import milliseconds, oracle_columns
from bench.text_images import SIDE, inputs_of, render, samples
from bench.text_regions import counts, f_score
from hwopt.calibration.data import Calibration
from hwopt.calibration.stream import calibration_of
from hwopt.errors import BudgetNotMet, HwoptError
from hwopt.estimate import Estimate
from hwopt.ir import load_model
from hwopt.report.schema import Missing, OracleProof, Report, Verification
from hwopt.runtime import Session
from models.fetch import fetch

MODEL = "ppocr_det"
TARGETS = ("edge-npu", "ethos-u55-256")
CUTS = (10, 20, 30)
SHAPES = {"x": (1, 3, SIDE, SIDE)}
CALIBRATION = range(10_000, 10_040)
EVALUATION = range(20_000, 20_200)
ANY_DAMAGE = 10.0  # relative error: no limit, the damage is what is minimised
RESAMPLES = 2_000
Table = npt.NDArray[np.int64]  # [pages, 3]: matched, found, true regions


@dataclass(frozen=True)
class Row:
    """One run. report: None where it could not be met, and then `reason` says why."""

    target: str
    asked: str
    report: Report | None
    reason: str
    counted: Table | None
    seconds: float


@dataclass(frozen=True)
class Bench:
    """What all runs have in common. before: regions of the input on the evaluation pages."""

    model: Path
    calibration: Calibration
    before: Table
    output: Path
    tune: int
    augment: int

    def run(self, target: str, name: str, asked: str, optimized: Callable[[Path], hwopt.Result]) -> Row:
        """One optimisation, and the file that it wrote on the evaluation pages."""
        start = time.perf_counter()
        try:
            result = optimized(self.output / f"{MODEL}.{target}.{name}.onnx")
        except BudgetNotMet as error:
            return Row(target, asked, None, f"not met: {error}", None, time.perf_counter() - start)
        except HwoptError as error:
            return Row(target, asked, None, f"FAILED: {error}", None, time.perf_counter() - start)
        seconds = time.perf_counter() - start
        return Row(target, asked, result.report, "", regions_of_model(result.files[0]), seconds)

    def exact(self, target: str) -> Row:
        """What is had without touching the function."""

        def optimized(out: Path) -> hwopt.Result:
            return hwopt.optimize(self.model, target=target, output=out, input_shapes=SHAPES, force=True)

        return self.run(target, "exact", "EXACT rewrites", optimized)

    def lossy(self, target: str, name: str, asked: str, limit_us: float) -> Row:
        """The plan of least damage that keeps a limit on the latency."""

        def optimized(out: Path) -> hwopt.Result:
            return hwopt.optimize(
                self.model, target=target, output=out, input_shapes=SHAPES, force=True,
                calib=self.calibration, metric=f_score, minimize="damage", max_latency=limit_us,
                max_divergence=ANY_DAMAGE, tune=self.tune, augment=self.augment,
            )  # fmt: skip

        return self.run(target, name, asked, optimized)


def main() -> int:
    """Runs everything that was asked for; 0 where every run ended as it may."""
    arguments = _arguments()
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.model or fetch(MODEL, arguments.output)
    calibration = calibration_of(samples(CALIBRATION), load_model(path))
    bench = Bench(
        path, calibration, regions_of_model(path), arguments.output, arguments.tune, arguments.augment
    )
    rows: list[Row] = []
    for target in arguments.target or TARGETS:
        for row in runs(bench, target, arguments.cut or CUTS):
            rows.append(row)
            print(table([row], bench.before), file=sys.stderr, flush=True)
    print(table(rows, bench.before))
    return int(any(row.reason.startswith("FAILED") for row in rows))


def runs(bench: Bench, target: str, cuts: Sequence[int]) -> Iterator[Row]:
    """All runs on one target."""
    exact = bench.exact(target)
    yield exact
    if exact.report is None:
        return
    first, reached = latencies(exact.report)
    for cut in cuts:
        asked, limit = f"−{cut}% of the input", first * (1 - cut / 100)
        if reached <= limit:
            yield Row(target, asked, None, "met by EXACT rewrites alone", None, 0.0)
        else:
            yield bench.lossy(target, str(cut), asked, limit)
    for cut in cuts:
        yield bench.lossy(target, f"exact-{cut}", f"−{cut}% of EXACT", reached * (1 - cut / 100))


def latencies(report: Report) -> tuple[float, float]:
    """Microseconds before and after, the oracle's where it has both."""
    checked = report.verification
    if isinstance(checked, Verification) and isinstance(checked.oracle, OracleProof):
        before, after = checked.oracle.before.latency_us, checked.oracle.after.latency_us
        if isinstance(before, Estimate) and isinstance(after, Estimate):
            return before.value, after.value
    before, after = report.before.latency_us, getattr(report.after, "latency_us", report.before.latency_us)
    assert isinstance(before, Estimate), "every operator of this model has a price on these targets"
    assert isinstance(after, Estimate)
    return before.value, after.value


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, help="the ONNX file, where it lies here already")
    parser.add_argument("--target", action="append", choices=TARGETS)
    parser.add_argument("--cut", action="append", type=int, help="percent of the latency")
    parser.add_argument("-o", "--output", type=Path, default=Path("out/text_detection"))
    parser.add_argument("--tune", type=int, default=0)
    parser.add_argument("--augment", type=int, default=0)
    return parser.parse_args()


def regions_of_model(path: Path) -> Table:
    """Matched, found and true regions of every evaluation page."""
    session = Session(load_model(path), 1)
    found = []
    for seed in EVALUATION:
        maps = next(iter(session.run({session.inputs[0].name: inputs_of(render(seed))[None]}).values()))
        found.append(counts(maps, [seed]))
    return np.array(found, dtype=np.int64)


def score(counted: Table) -> float:
    """The F-score over all pages."""
    matched, found, true = counted.sum(axis=0)
    return float(2 * matched / max(found + true, 1))


def drop_error(before: Table, after: Table) -> float:
    """The standard error of the drop: pages drawn with replacement (Efron, Ann. Statist. 7(1), 1979)."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(before), (RESAMPLES, len(before)))
    return float(np.std([score(before[rows]) - score(after[rows]) for rows in drawn]))


def table(rows: list[Row], before: Table) -> str:
    """Markdown."""
    head = (
        "| target | asked | predicted ms | oracle ms | change | relative error | F on calibration folds "
        "| F-score before → after | drop | what changed | s |\n" + "|---" * 11 + "|\n"
    )
    return head + "\n".join(_line(row, before) for row in rows)


def _line(row: Row, before: Table) -> str:
    if row.report is None or row.counted is None:
        return f"| {row.target} | {row.asked} | {row.reason} | | | | | | | | {row.seconds:.0f} |"
    report = row.report
    after = milliseconds(getattr(report.after, "latency_us", None), 2)
    predicted = f"{milliseconds(report.before.latency_us, 2)} → {after}"
    drop, error = score(before) - score(row.counted), drop_error(before, row.counted)
    cells = [
        row.target, row.asked, predicted, *oracle_columns(report, 2),
        _accuracy(report, "relative_error", "{after:.3f}"),
        _accuracy(report, "f_score", "{before:.3f} → {after:.3f}"),
        f"{score(before):.3f} → {score(row.counted):.3f}", f"{drop:+.3f} ± {error:.3f}",
        _changed(report), f"{row.seconds:.0f}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def _accuracy(report: Report, metric: str, form: str) -> str:
    """What the report says of the plan's accuracy by one metric, cross-fitted on calibration pages."""
    rows = () if isinstance(report.accuracy, Missing) else report.accuracy
    found = [row for row in rows if metric in row.metric]
    return form.format(before=found[0].before, after=found[0].after) if found else "-"


def _changed(report: Report) -> str:
    """The chosen values, counted by what made them."""
    names = [
        f"{'+'.join(value.passes)} {value.risk}"
        for choice in report.choices
        for value in choice.values
        if value.name == choice.chosen and choice.chosen != "keep" and choice.kind != "canonical"
    ]
    return ", ".join(f"{names.count(name)} {name}" for name in sorted(set(names))) or "nothing"


if __name__ == "__main__":
    sys.exit(main())
