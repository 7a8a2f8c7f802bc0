"""The main job on EfficientNet-Lite0, both targets, judged on images that nothing was fitted on.

    HWOPT_DATA=DIR python -m bench.main_job [--target NAME ...] [--max-drop 0.03] [-o DIR]

For each target: EXACT rewrites alone, then with calibration data. Prints a Markdown table:
latency predicted and by the oracle, before and after; the cross-fitted drop on the calibration
images; drop, agreement and mean KL on the evaluation images, with the paired standard error.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

import hwopt
from hwopt.calibration import load_calibration
from hwopt.damage import Damage, measured
from hwopt.estimate import Estimate
from hwopt.ir import load_model
from hwopt.repair.reference import Reference
from hwopt.report.schema import Figure, OracleProof, Report, Verification

TARGETS = ("edge-npu", "ethos-u55-256")


@dataclass(frozen=True)
class Row:
    """One run: its report, and what the written model does on the evaluation images."""

    target: str
    mode: str
    report: Report
    evaluation: Damage
    seconds: float


def main() -> int:
    """Runs everything that was asked for and prints the table."""
    arguments = _arguments()
    data = Path(os.environ["HWOPT_DATA"])
    arguments.output.mkdir(parents=True, exist_ok=True)
    model = data / "efficientnet_lite0.onnx"
    base = load_model(model)
    judge = Reference(base, load_calibration(data / "imagenet" / "eval", base))
    rows = []
    for target in arguments.target or TARGETS:
        for mode in arguments.mode:
            rows.append(run(model, data, target, mode, arguments, judge))
            print(table(rows), file=sys.stderr)
    print(table(rows))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--target", action="append", choices=TARGETS)
    parser.add_argument("--mode", action="append", choices=["exact", "lossy"])
    parser.add_argument("--max-drop", type=float, default=0.03)
    parser.add_argument("-o", "--output", type=Path, default=Path("out/main_job"))
    arguments = parser.parse_args()
    arguments.mode = arguments.mode or ["exact", "lossy"]
    return arguments


def run(
    model: Path, data: Path, target: str, mode: str, arguments: argparse.Namespace, judge: Reference
) -> Row:
    """One optimisation, written to a file, and the written file's outputs on the evaluation images."""
    start = time.perf_counter()
    lossy = {"calib": data / "imagenet" / "calib", "max_drop": arguments.max_drop} if mode == "lossy" else {}
    out = arguments.output / f"lite0.{target}.{mode}.onnx"
    result = hwopt.optimize(model, target=target, output=out, force=True, **lossy)
    seconds = time.perf_counter() - start
    written: ir.Model = load_model(result.files[0])
    return Row(target, mode, result.report, measured(judge, written), seconds)


def table(rows: list[Row]) -> str:
    """Markdown."""
    head = (
        "| target | rewrites | predicted ms | oracle ms | oracle change | drop on calibration (cross-fitted) "
        "| drop on eval ± s.e. | agreement | KL | minutes |\n|---|---|---|---|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(_line(row) for row in rows)


def _line(row: Row) -> str:
    report, found = row.report, row.evaluation
    before, after = _oracle(report)
    drop = "-" if found.drop is None else f"{100 * found.drop.value:+.2f} ± {100 * found.drop.error:.2f}"
    predicted = f"{_ms(report.before.latency_us)} → {_ms(getattr(report.after, 'latency_us', None))}"
    cells = [
        row.target, row.mode, predicted, f"{before / 1e3:.3f} → {after / 1e3:.3f}",
        f"{100 * (after / before - 1):+.1f}%", _calibration_drop(report), drop,
        f"{100 * (found.agreement or 0):.1f}%", f"{found.divergence:.4f}", f"{row.seconds / 60:.1f}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


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


def _calibration_drop(report: Report) -> str:
    if not isinstance(report.accuracy, tuple):
        return "-"
    top1 = next((row for row in report.accuracy if row.metric == "top1"), None)
    return "-" if top1 is None or not isinstance(top1.drop, float) else f"{100 * top1.drop:+.2f}"


if __name__ == "__main__":
    sys.exit(main())
