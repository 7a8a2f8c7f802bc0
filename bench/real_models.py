"""Real pretrained models through the EXACT passes, on every target that ships.

    python -m bench.real_models [-o DIR] [--model NAME ...] [--target NAME ...]

Fetches the models from public Python packages (models/fetch.py), optimises each without
calibration data, and compares the written file with the original at two input shapes. Prints a
Markdown table. Exit code 1 where a model failed or an output differs by more than 1e-4 of its
largest value beyond the model's own noise.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import hwopt
from bench.columns import milliseconds, oracle_columns
from hwopt.errors import HwoptError
from hwopt.ir import load_model
from hwopt.report.schema import Report
from hwopt.verify import Difference, differences
from models.fetch import MODELS, FetchedModel, fetch

TARGETS = ("edge-npu", "ethos-u55-256")


@dataclass(frozen=True)
class Row:
    """One model on one target. differences: the worst output at each of two input shapes."""

    model: str
    target: str
    report: Report
    worst: tuple[Difference, ...]
    seconds: float


def main() -> int:
    """Runs everything that was asked for; 0 where all of it holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("-o", "--output", type=Path, default=Path("out/real_models"))
    parser.add_argument("--model", action="append", choices=sorted(MODELS))
    parser.add_argument("--target", action="append", choices=TARGETS)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    rows, failed = [], False
    for name in arguments.model or sorted(MODELS):
        path = fetch(name, arguments.output)
        for target in arguments.target or TARGETS:
            try:
                rows.append(run(MODELS[name], path, target, arguments.output))
            except HwoptError as error:
                print(f"{name} on {target}: {error}", file=sys.stderr)
                failed = True
    print(table(rows))
    return int(failed or any(not d.exact for row in rows for d in row.worst))


def run(model: FetchedModel, path: Path, target: str, folder: Path) -> Row:
    """One optimisation, and the written file against the original."""
    start = time.perf_counter()
    shapes = dict(model.input_shapes)
    out = folder / f"{model.name}.{target}.onnx"
    result = hwopt.optimize(path, target=target, output=out, input_shapes=shapes, force=True)
    seconds = time.perf_counter() - start
    original, written = load_model(path), load_model(result.files[0])
    worst = []
    for given in (shapes, {name: other_shape(shape) for name, shape in shapes.items()}):
        found = differences(original, written, given, seed=3)
        if isinstance(found, str) and given is not shapes:
            continue  # not every model runs at another size
        assert not isinstance(found, str), found
        worst.append(max(found, key=lambda d: d.max_rel))
    return Row(model.name, target, result.report, tuple(worst), seconds)


def other_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Another size of an image: half as wide; other inputs stay as they are."""
    return (*shape[:3], shape[3] // 2) if len(shape) == 4 else shape


def table(rows: list[Row]) -> str:
    """Markdown."""
    head = (
        "| model | target | nodes | folds | predicted ms | oracle ms | change | largest difference "
        "| without a price before → after | s |\n|---|---|---|---|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(_line(row) for row in rows)


def _line(row: Row) -> str:
    report = row.report
    after = report.after
    folds = sum(choice.kind == "canonical" and choice.chosen != "keep" for choice in report.choices)
    before_ms = milliseconds(report.before.latency_us, 3)
    after_ms = milliseconds(getattr(after, "latency_us", None), 3)
    oracle, change = oracle_columns(report, 3)
    worst = ", ".join(f"{d.max_rel:.1e}" for d in row.worst)
    unpriced = f"{_ops(report.before.unpriced)} → {_ops(getattr(after, 'unpriced', ()))}"
    cells = [
        row.model, row.target, f"{report.before.nodes} → {getattr(after, 'nodes', '-')}", str(folds),
        f"{before_ms} → {after_ms}", oracle, change, worst, unpriced, f"{row.seconds:.0f}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def _ops(unpriced: object) -> str:
    """Operators without a price, counted by type."""
    names = [item.op for item in unpriced] if isinstance(unpriced, tuple) else []
    counted = [f"{names.count(name)} {name}" for name in sorted(set(names))]
    return ", ".join(counted) or "none"


if __name__ == "__main__":
    sys.exit(main())
