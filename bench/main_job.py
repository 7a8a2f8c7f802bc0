"""The main job on EfficientNet-Lite0, judged on images that nothing was fitted on.

    HWOPT_DATA=DIR python -m bench.main_job [--target NAME ...] [--mode MODE ...] [--max-drop 0.01 ...]
                                            [--tune STEPS] [--augment N] [--passes A,B] [--search NAME]
                                            [--judge eval] [-o DIR]

For each target: EXACT rewrites alone, with calibration data at each limit on the drop (all lossy rewrites
together, or `--passes` alone; a limit of 1 is none), and the same written in int8. Prints a Markdown table:
latency predicted and by the oracle, before and after; the passes that were chosen; the cross-fitted drop on
the calibration images at the precision that is written and at int8 beside it; with `--judge eval` drop,
agreement and mean KL on the evaluation images, with the paired standard error.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

import hwopt
from hwopt.calibration.data import load_calibration
from hwopt.damage.measure import Damage, measured
from hwopt.errors import BudgetNotMet
from hwopt.estimate import Estimate
from hwopt.ir import load_model
from hwopt.plan import Plan
from hwopt.quantize.write import judged_form
from hwopt.repair.reference import Reference
from hwopt.report.schema import Figure, OracleProof, Report, Verification
from hwopt.search.strategies import DEFAULT as DEFAULT_SEARCH

TARGETS = ("edge-npu", "ethos-u55-256")
EXACT, LOSSY, INT8 = "exact", "lossy", "int8"
COLUMNS = (
    "target", "rewrites", "limit", "predicted ms", "oracle ms", "oracle change", "passes chosen",
    "drop on calibration (cross-fitted)", "at int8", "drop on eval ± s.e.", "agreement", "KL",
    "drop on eval at int8", "minutes",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One run that is asked for. max_drop: as a share; None for EXACT rewrites alone."""

    target: str
    mode: str
    max_drop: float | None

    @property
    def file_name(self) -> str:
        limit = "" if self.max_drop is None else f".{100 * self.max_drop:g}"
        return f"lite0.{self.target}.{self.mode}{limit}.onnx"


@dataclass(frozen=True)
class Row:
    """One run: its report, and what the written model does on the evaluation images, where it is asked.

    int8: what its int8 form does there; the same for a model that was written in int8.
    """

    job: Job
    report: Report
    plan: Plan
    evaluation: Damage | None
    int8: Damage | None
    seconds: float


@dataclass(frozen=True)
class Refused:
    """One run whose limits could not be met, and why: nothing was written."""

    job: Job
    reason: str
    seconds: float


class Judge:
    """The evaluation images, seen through the model that came in."""

    def __init__(self, data: Path) -> None:
        base = load_model(data / "efficientnet_lite0.onnx")
        self._reference = Reference(base, load_calibration(data / "imagenet" / "eval", base))
        self._calibration = load_calibration(data / "imagenet" / "calib", base)

    def of(self, written: ir.Model) -> Damage:
        """What the written model does on the evaluation images."""
        return measured(self._reference, written)

    def of_int8(self, written: ir.Model) -> Damage:
        """What its int8 form does there; ranges come from the calibration images."""
        samples = range(len(self._calibration))
        return measured(self._reference, judged_form(written, self._calibration, samples))


def main() -> int:
    """Runs everything that was asked for and prints the table."""
    arguments = _arguments()
    data = Path(os.environ["HWOPT_DATA"])
    arguments.output.mkdir(parents=True, exist_ok=True)
    judge = Judge(data) if arguments.judge == "eval" else None
    rows: list[Row | Refused] = []
    for job in jobs(
        arguments.target or TARGETS, arguments.mode or (EXACT, LOSSY), arguments.max_drop or [0.03]
    ):
        rows.append(attempt(job, data, arguments, judge))
        print(table(rows), file=sys.stderr)
    print(table(rows))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", action="append", choices=TARGETS)
    parser.add_argument("--mode", action="append", choices=[EXACT, LOSSY, INT8])
    parser.add_argument("--max-drop", action="append", type=float)
    parser.add_argument("--tune", type=int, default=0)
    parser.add_argument("--augment", type=int, default=0)
    parser.add_argument("--passes", default="")
    parser.add_argument("--search", default=DEFAULT_SEARCH)
    parser.add_argument("--judge", choices=["none", "eval"], default="none")
    parser.add_argument("-o", "--output", type=Path, default=Path("out/main_job"))
    return parser.parse_args()


def jobs(targets: Sequence[str], modes: Sequence[str], drops: Sequence[float]) -> list[Job]:
    """Every run: EXACT rewrites know no limit on the drop."""
    return [
        Job(target, mode, drop)
        for target in targets
        for mode in modes
        for drop in (drops if mode != EXACT else [None])
    ]


def attempt(job: Job, data: Path, arguments: argparse.Namespace, judge: Judge | None) -> Row | Refused:
    """One run; a budget that cannot be met is a result too."""
    start = time.perf_counter()
    try:
        return run(job, data, arguments, judge)
    except BudgetNotMet as error:
        return Refused(job, str(error), time.perf_counter() - start)


def run(job: Job, data: Path, arguments: argparse.Namespace, judge: Judge | None) -> Row:
    """One optimisation, written to a file, and the written file's outputs on the evaluation images."""
    start = time.perf_counter()
    result = hwopt.optimize(
        data / "efficientnet_lite0.onnx",
        target=job.target,
        output=arguments.output / job.file_name,
        force=True,
        calib=data / "imagenet" / "calib" if job.max_drop is not None else None,
        max_drop=job.max_drop,
        quantize=INT8 if job.mode == INT8 else None,
        tune=arguments.tune if job.max_drop is not None else 0,
        augment=arguments.augment if job.max_drop is not None else 0,
        passes=tuple(filter(None, arguments.passes.split(","))),
        search=arguments.search,
    )
    seconds = time.perf_counter() - start
    if judge is None:
        return Row(job, result.report, result.plan, None, None, seconds)
    written = load_model(result.files[0])
    found = judge.of(written)
    int8 = found if job.mode == INT8 else judge.of_int8(written)
    return Row(job, result.report, result.plan, found, int8, seconds)


def table(rows: Sequence[Row | Refused]) -> str:
    """Markdown."""
    head = [_joined(COLUMNS), "|" + "---|" * len(COLUMNS)]
    lines = [_line(row) if isinstance(row, Row) else _refusal(row) for row in rows]
    return "\n".join([*head, *lines])


def _refusal(row: Refused) -> str:
    known = (row.job.target, row.job.mode, _points(row.job.max_drop), row.reason)
    missing = ["-"] * (len(COLUMNS) - len(known) - 1)
    return _joined((*known, *missing, f"{row.seconds / 60:.1f}"))


def _joined(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"


def _line(row: Row) -> str:
    report = row.report
    before, after = _oracle(report)
    precision = "int8" if row.job.mode == INT8 else "fp32"
    return _joined((
        row.job.target, row.job.mode, _points(row.job.max_drop),
        f"{_ms(report.before.latency_us)} → {_ms(getattr(report.after, 'latency_us', None))}",
        f"{before / 1e3:.3f} → {after / 1e3:.3f}", f"{100 * (after / before - 1):+.1f}%", _passes(row.plan),
        _calibration_drop(report, precision), _calibration_drop(report, INT8), *_evaluated(row.evaluation),
        _drop(row.int8),
        f"{row.seconds / 60:.1f}",
    ))  # fmt: skip


def _points(drop: float | None) -> str:
    if drop is None:
        return "-"
    if drop >= 1:
        return "none"
    return "1 point" if drop == 0.01 else f"{100 * drop:g} points"


def _evaluated(found: Damage | None) -> tuple[str, str, str]:
    """Drop, agreement and divergence on the evaluation images."""
    if found is None:
        return "-", "-", "-"
    return _drop(found), f"{100 * (found.agreement or 0):.1f}%", f"{found.divergence:.4f}"


def _drop(found: Damage | None) -> str:
    """The drop in points with its paired standard error."""
    if found is None or found.drop is None:
        return "-"
    return f"{100 * found.drop.value:+.2f} ± {100 * found.drop.error:.2f}"


def _passes(plan: Plan) -> str:
    """How often each pass was chosen, the folds of canonicalising left out."""
    counts = Counter(step.pass_name for step in plan.steps if step.pass_name != "canonicalize")
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


def _oracle(report: Report) -> tuple[float, float]:
    """The oracle's latency before and after, in microseconds; NaN where it had no figure."""
    checked = report.verification
    if not isinstance(checked, Verification) or not isinstance(checked.oracle, OracleProof):
        return float("nan"), float("nan")
    before, after = checked.oracle.before.latency_us, checked.oracle.after.latency_us
    return _us(before), _us(after)


def _us(figure: Figure) -> float:
    return figure.value if isinstance(figure, Estimate) else float("nan")


def _ms(figure: object) -> str:
    return f"{figure.value / 1e3:.3f}" if isinstance(figure, Estimate) else "-"


def _calibration_drop(report: Report, precision: str) -> str:
    """The cross-fitted drop of the result at a precision, against the fp32 input."""
    if not isinstance(report.accuracy, tuple):
        return "-"
    rows = [row for row in report.accuracy if row.metric == "top1" and row.precision == precision]
    found = [row for row in rows if precision != INT8 or "the fp32 input" in row.how]
    drop = found[0].drop if found else None
    return f"{100 * drop:+.2f}" if isinstance(drop, float) else "-"


if __name__ == "__main__":
    sys.exit(main())
