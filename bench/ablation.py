"""The ablation of accelerator-made networks on one that was not: narrower channels, fused blocks, and both.

    HWOPT_DATA=DIR python -m bench.ablation [--target edge-npu] [--max-drop 0.03] [--row NAME ...]
                                            [--model FILE --calib PATH] [--csv FILE] [-o DIR]

EfficientNet-Lite0, all of whose blocks are inverted bottlenecks (IBN), with the one pass or the other, or
both: each row is a run of `hwopt.optimize` that keeps a limit on the cross-fitted drop; rows of a fixed
depth multiplier (x0.9, x0.8, x0.75) are pinned by hints and judged whatever they cost; "x0.5" rows are what
only training can mend: the candidate of a run with a limit on latency that cannot be met without
(--allow-retrain). Prints latency predicted and by the oracle, multiply-adds, footprint, drop, how many
blocks were fused, and then every block's answer with the report's reason.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import hwopt
from bench.budget_checks import Figures, figures
from hwopt.errors import BudgetNotMet
from hwopt.estimate import Estimate
from hwopt.pipeline import Result, analyze
from hwopt.report.schema import ChoiceRow, Missing, Report

NETWORK = "efficientnet_lite0.onnx"
FUSE, NARROW, FOLDS = "fuse_ibn", "depth_multiplier", "canonicalize"
PIN = 'schema_version = 1\n[pin]\n"width:model" = "{ratio}"\n'
NEEDS_TRAINING = "needs training"
COLUMNS = (
    "network", "predicted ms", "oracle ms", "oracle change", "MACs", "footprint", "drop, points", "mean KL",
    "blocks fused", "channels",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One network. drop, divergence: cross-fitted; None where only training can tell, or nothing was lost."""

    name: str
    after: Figures
    macs: float
    drop: float | None
    divergence: float | None
    fused: int
    channels: str
    training: bool = False


@dataclass(frozen=True)
class Lab:
    """What every row is made of."""

    model: Path
    calib: Path
    target: str
    max_drop: float
    folder: Path

    def run(self, name: str, passes: Sequence[str], **options: Any) -> Result:
        """One optimisation by exact folds and these passes, written beside the others."""
        return hwopt.optimize(
            self.model,
            target=self.target,
            output=self.file(name),
            calib=self.calib,
            force=True,
            passes=(FOLDS, *passes),
            **options,
        )

    def file(self, name: str) -> Path:
        """Where a row's network is written."""
        return self.folder / f"{re.sub('[^a-z0-9]+', '_', name.lower())}.onnx"


def main() -> int:
    """Makes every row, prints the table and the reasons."""
    arguments = _arguments()
    arguments.output.mkdir(parents=True, exist_ok=True)
    lab = Lab(*_network(arguments), arguments.target, arguments.max_drop, arguments.output)
    rows, reports = [baseline(lab)], []
    for name in arguments.row or ROWS:
        row, report = ROWS[name](lab, name)
        rows.append(row)
        reports += [report] if report is not None and row.fused else []
        print(table(rows), file=sys.stderr, flush=True)
    print(table(rows))
    if reports:
        print("\n" + reasons(reports[-1]))
    if arguments.csv is not None:
        write_csv(rows, arguments.csv)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", default="edge-npu")
    parser.add_argument("--max-drop", type=float, default=0.03)
    parser.add_argument("--model", type=Path, help="another network, with --calib")
    parser.add_argument("--calib", type=Path)
    parser.add_argument("--row", action="append", choices=list(ROWS))
    parser.add_argument("--csv", type=Path, help="also write the rows there")
    parser.add_argument("-o", "--output", type=Path, default=Path("out/ablation"))
    return parser.parse_args()


def _network(arguments: argparse.Namespace) -> tuple[Path, Path]:
    """The network and its calibration data: those that were named, else EfficientNet-Lite0's."""
    if arguments.model is not None and arguments.calib is not None:
        return arguments.model, arguments.calib
    data = Path(os.environ["HWOPT_DATA"])
    return data / NETWORK, data / "imagenet" / "calib"


def baseline(lab: Lab) -> Row:
    """The network that came in."""
    return Row("baseline", figures(lab.model, lab.target), macs_of(lab.model, lab.target), None, None, 0, "-")


def macs_of(file: Path, target: str) -> float:
    """Multiply-adds of a file."""
    macs = analyze(file, target=target, refine=0).before.macs
    return float("nan") if isinstance(macs, Missing) else macs


def limited(lab: Lab, name: str, passes: Sequence[str]) -> tuple[Row, Report]:
    """The best plan of these passes within the limit on the drop."""
    result = lab.run(name, passes, max_drop=lab.max_drop)
    return row_of(lab, name, result), result.report


def multiplied(lab: Lab, name: str, ratio: str, passes: Sequence[str]) -> tuple[Row, Report]:
    """One depth multiplier for the whole network, pinned, whatever it costs."""
    hints = lab.folder / f"{ratio}.toml"
    hints.write_text(PIN.format(ratio=ratio), "utf-8")
    result = lab.run(name, passes, max_drop=1.0, hints=hints)
    return row_of(lab, name, result), result.report


def row_of(lab: Lab, name: str, result: Result) -> Row:
    """Figures of the written file, and what the report says of its accuracy."""
    report = result.report
    chosen = [choice for choice in report.choices if choice.chosen != "keep"]
    channels = [choice.chosen for choice in chosen if choice.kind == "model"]
    return Row(
        name, figures(result.files[0], lab.target), macs_of(result.files[0], lab.target),
        _drop(report, "top1"), _drop(report, "kl"), len([c for c in chosen if is_fused(c)]),
        ", ".join(channels) or "-",
    )  # fmt: skip


def is_fused(choice: ChoiceRow) -> bool:
    """Whether a block was fused."""
    return any(FUSE in value.passes for value in choice.values if value.name == choice.chosen)


def _drop(report: Report, metric: str) -> float | None:
    if isinstance(report.accuracy, Missing):
        return None
    rows = [row for row in report.accuracy if (row.metric, row.precision) == (metric, "fp32")]
    return rows[0].drop if rows and isinstance(rows[0].drop, float) else None


def candidate(lab: Lab, name: str, limit: str, passes: Sequence[str]) -> tuple[Row, None]:
    """What only training can mend: the candidate of a run whose limit on latency cannot be met without."""
    try:
        lab.run(name, passes, max_drop=lab.max_drop, max_latency=limit, allow_retrain=True)
    except BudgetNotMet as error:
        return trained_row(lab, name, str(error)), None
    raise SystemExit(f"{name}: {limit} can be met without training: ask for more")


def trained_row(lab: Lab, name: str, said: str) -> Row:
    """The row of a candidate, from the file that the refusal speaks of."""
    file = lab.file(name).with_suffix(".candidate.onnx")
    facts = file.with_suffix(".json")
    if not facts.exists():
        raise SystemExit(f"{name}: {said}")
    found = json.loads(facts.read_text("utf-8"))
    fused = sum(value.startswith("fused") for value in found["steps"].values())
    channels = ", ".join(found["retrained"].values())
    after, macs = figures(file, lab.target), macs_of(file, lab.target)
    return Row(name, after, macs, None, None, fused, channels, training=True)


def reasons(report: Report) -> str:
    """Every block that could be fused: what was chosen, and why, as the report says it."""
    lines = ["| block | chosen | its fastest fused form alone, us | reason |", "|---|---|---|---|"]
    for choice in report.choices:
        if any(FUSE in value.passes for value in choice.values):
            lines.append(f"| {_place(choice)} | {choice.chosen} | {_gain(choice)} | {choice.reason} |")
    return "\n".join(lines)


def _place(choice: ChoiceRow) -> str:
    return choice.nodes[0] if choice.nodes else choice.id


def _gain(choice: ChoiceRow) -> str:
    """What the fastest fused form changes by itself."""
    keep = [v.latency_us for v in choice.values if v.name == "keep"]
    fused = [v.latency_us for v in choice.values if FUSE in v.passes]
    known = [figure.value for figure in fused if isinstance(figure, Estimate)]
    if not known or not isinstance(keep[0], Estimate):
        return "-"
    return f"{min(known) - keep[0].value:+.1f}"


def table(rows: Sequence[Row]) -> str:
    """Markdown; changes against the first row."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    return "\n".join([*lines, *(_line(row, rows[0]) for row in rows)])


def _line(row: Row, first: Row) -> str:
    now, before = row.after, first.after
    drop = NEEDS_TRAINING if row.training else "0" if row.drop is None else f"{100 * row.drop:+.2f}"
    divergence = "-" if row.divergence is None else f"{row.divergence:.4f}"
    cells = (
        row.name, f"{now.predicted_us / 1e3:.3f}", _ms(now.oracle_us),
        _change(now.latency_us, before.latency_us),
        f"{row.macs / 1e6:.0f} M ({_change(row.macs, first.macs)})",
        _change(now.limited()["max_footprint"], before.limited()["max_footprint"]),
        drop, divergence, str(row.fused), row.channels,
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def _ms(figure: float | None) -> str:
    return "-" if figure is None else f"{figure / 1e3:.3f}"


def _change(after: float, before: float) -> str:
    return f"{100 * (after / before - 1):+.1f}%"


def write_csv(rows: Sequence[Row], file: Path) -> None:
    """One row per network."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([
            "network", "predicted_us", "oracle_us", "macs", "peak_bytes", "weight_bytes", "drop", "kl",
            "fused", "channels", "needs_training",
        ])  # fmt: skip
        for row in rows:
            now = row.after
            writer.writerow([
                row.name, f"{now.predicted_us:.6g}", "" if now.oracle_us is None else f"{now.oracle_us:.6g}",
                int(row.macs), int(now.peak_bytes), int(now.weight_bytes), _text(row.drop),
                _text(row.divergence), row.fused, row.channels, int(row.training),
            ])  # fmt: skip


def _text(figure: float | None) -> str:
    return "" if figure is None else f"{figure:.6g}"


Made = tuple[Row, Report | None]
ROWS: dict[str, Callable[[Lab, str], Made]] = {
    "depth multiplier only": partial(limited, passes=(NARROW,)),
    "depth multiplier x0.9": partial(multiplied, ratio="x0.9", passes=(NARROW,)),
    "depth multiplier x0.8": partial(multiplied, ratio="x0.8", passes=(NARROW,)),
    "depth multiplier x0.75": partial(multiplied, ratio="x0.75", passes=(NARROW,)),
    "depth multiplier x0.5": partial(candidate, limit="-35%", passes=(NARROW,)),
    "fused IBN only": partial(limited, passes=(FUSE,)),
    "both": partial(limited, passes=(FUSE, NARROW)),
    "both, x0.5": partial(candidate, limit="-50%", passes=(FUSE, NARROW)),
}

if __name__ == "__main__":
    sys.exit(main())
