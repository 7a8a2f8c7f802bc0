"""PP-OCRv4's text detector made faster: text regions found before and after, on pages rendered here.

    python -m bench.text_detection [--model FILE] [--target NAME ...] [--cut PERCENT ...] [-o DIR]
                                   [--tune STEPS] [--augment N]

For every target and cut, `hwopt.optimize` looks for the plan of least damage that is that much faster, with
calibration pages as data; the written file is then judged on pages of other seeds. Prints a Markdown table
with a row for every run, those that could not be met included. Exit code 1 where a run failed for any
other reason. The model comes from models/fetch.py unless a file is given.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import hwopt
from bench.text_images import SIDE, inputs_of, render, samples
from bench.text_regions import counts, f_score
from hwopt.calibration import Calibration
from hwopt.calibration_stream import calibration_of
from hwopt.errors import BudgetNotMet, HwoptError
from hwopt.estimate import Estimate
from hwopt.ir import load_model
from hwopt.report.schema import Missing, OracleProof, Report, Verification
from hwopt.runtime import Session
from models.fetch import fetch

MODEL = "ppocr_det"
TARGETS = ("edge-npu", "ethos-u55-256")
CUTS = (10, 20, 30)
CALIBRATION = range(10_000, 10_040)
EVALUATION = range(20_000, 20_200)
ANY_DAMAGE = 10.0  # relative error: no limit, the damage is what is minimised
RESAMPLES = 2_000
Table = npt.NDArray[np.int64]  # [pages, 3]: matched, found, true regions


@dataclass(frozen=True)
class Row:
    """One run. report: None where it could not be met, and then `reason` says why."""

    target: str
    cut: int
    report: Report | None
    reason: str
    counted: Table | None
    seconds: float


def main() -> int:
    """Runs everything that was asked for; 0 where every run ended as it may."""
    arguments = _arguments()
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.model or fetch(MODEL, arguments.output)
    before = regions_of_model(path)
    calibration = calibration_of(samples(CALIBRATION), load_model(path))
    rows, failed = [], False
    for target in arguments.target or TARGETS:
        for cut in arguments.cut or CUTS:
            out = arguments.output / f"{MODEL}.{target}.{cut}.onnx"
            try:
                rows.append(run(path, target, cut, calibration, out, arguments))
            except HwoptError as error:
                rows.append(Row(target, cut, None, str(error), None, 0.0))
                failed = True
            print(table(rows[-1:], before), file=sys.stderr)
    print(table(rows, before))
    return int(failed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, help="the ONNX file, where it lies here already")
    parser.add_argument("--target", action="append", choices=TARGETS)
    parser.add_argument("--cut", action="append", type=int, help="percent of the latency")
    parser.add_argument("-o", "--output", type=Path, default=Path("out/text_detection"))
    parser.add_argument("--tune", type=int, default=0)
    parser.add_argument("--augment", type=int, default=0)
    return parser.parse_args()


def run(
    path: Path, target: str, cut: int, calibration: Calibration, out: Path, how: argparse.Namespace
) -> Row:
    """One optimisation, and the written file on the evaluation pages."""
    start = time.perf_counter()
    try:
        result = hwopt.optimize(
            path, target=target, output=out, calib=calibration, input_shapes={"x": (1, 3, SIDE, SIDE)},
            minimize="damage", max_latency=f"-{cut}%", max_divergence=ANY_DAMAGE, metric=f_score,
            tune=how.tune, augment=how.augment, force=True,
        )  # fmt: skip
    except BudgetNotMet as error:
        return Row(target, cut, None, str(error), None, time.perf_counter() - start)
    seconds = time.perf_counter() - start
    return Row(target, cut, result.report, "", regions_of_model(result.files[0]), seconds)


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
    asked = f"−{row.cut}%"
    if row.report is None or row.counted is None:
        return f"| {row.target} | {asked} | not met: {row.reason} | | | | | | | | {row.seconds:.0f} |"
    report = row.report
    predicted = f"{_ms(report.before.latency_us)} → {_ms(getattr(report.after, 'latency_us', None))}"
    drop, error = score(before) - score(row.counted), drop_error(before, row.counted)
    cells = [
        row.target, asked, predicted, *_oracle(report),
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


def _oracle(report: Report) -> tuple[str, str]:
    checked = report.verification
    if not isinstance(checked, Verification) or not isinstance(checked.oracle, OracleProof):
        return "-", "-"
    before, after = checked.oracle.before.latency_us, checked.oracle.after.latency_us
    if not isinstance(before, Estimate) or not isinstance(after, Estimate) or before.value == 0:
        return "-", "-"
    return f"{_ms(before)} → {_ms(after)}", f"{100 * (after.value / before.value - 1):+.1f}%"


def _ms(figure: object) -> str:
    return f"{figure.value / 1e3:.2f}" if isinstance(figure, Estimate) else "-"


if __name__ == "__main__":
    sys.exit(main())
