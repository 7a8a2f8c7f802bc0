"""One network made for one target and priced on others: what suits one accelerator does not suit the next.

    [HWOPT_DATA=DIR] python -m bench.cross_targets [--model NAME ...] [--target NAME ...] [--max-drop 0.02]
                                                   [--csv FILE] [-o DIR]

Each network is optimised for every target by `hwopt.optimize`, EfficientNet-Lite0 within a limit on the
cross-fitted drop, the shipped network and PP-OCR's text detector by EXACT rewrites alone. Every written
file, and the network with exact folds alone, is then priced on every target by that target's own oracle
(by the cost model where there is none for the whole network). The observation is that of Wu et al.,
"FBNet: Hardware-Aware Efficient ConvNet Design via Differentiable Neural Architecture Search", CVPR 2019,
section 4.3: searched for one phone and run on another, a network is slower than the one that was searched
for it. Prints a Markdown table per network, rows optimised for, columns priced on; the best of a column
is in bold.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import hwopt
from hwopt.errors import HwoptError
from hwopt.estimate import Estimate
from hwopt.pipeline import analyze
from hwopt.report.schema import OracleProof, Report, Verification
from models.fetch import MODELS, fetch

TARGETS = ("edge-npu", "ethos-u55-256")
KNOWN = ("edge-npu", "ethos-u55-256", "ethos-u65-512", "ethos-u85-1024", "cpu")
NETWORKS = ("figures", "ppocr_det", "lite0")
AS_IT_CAME, FOLDED = "as it came", "exact folds alone"
EQUAL = 5e-4  # figures that differ by less than this share are as good as one another


@dataclass(frozen=True)
class Network:
    """One network to optimise. calib: None for EXACT rewrites alone."""

    name: str
    file: Path
    calib: Path | None = None
    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """One file on one target. made_for: a target, or a row above them. passes: how often each was chosen."""

    network: str
    made_for: str
    priced_on: str
    latency_us: float
    source: str
    passes: str


def main() -> int:
    """Optimises, prices, prints."""
    arguments = _arguments()
    arguments.output.mkdir(parents=True, exist_ok=True)
    targets = arguments.target or TARGETS
    cells: list[Cell] = []
    for name in arguments.model or NETWORKS:
        cells += crossed(network(name, arguments.output), targets, arguments.max_drop, arguments.output)
        print(table(cells, name), flush=True)
    if arguments.csv is not None:
        write_csv(cells, arguments.csv)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", action="append", choices=NETWORKS)
    parser.add_argument("--target", action="append", choices=KNOWN)
    parser.add_argument("--max-drop", type=float, default=0.02)
    parser.add_argument("--csv", type=Path, help="also write the rows there")
    parser.add_argument("-o", "--output", type=Path, default=Path("out/cross_targets"))
    return parser.parse_args()


def network(name: str, folder: Path) -> Network:
    """The network of that name; fetched into the folder where it is a public package's."""
    if name == "figures":
        return Network(name, Path(__file__).parent.parent / "models" / "figures" / "figures.onnx")
    if name == "lite0":
        data = Path(os.environ["HWOPT_DATA"])
        return Network(name, data / "efficientnet_lite0.onnx", data / "imagenet" / "calib")
    return Network(name, fetch(name, folder), None, dict(MODELS[name].input_shapes))


def crossed(given: Network, targets: Sequence[str], max_drop: float, folder: Path) -> list[Cell]:
    """Every file on every target: the file that came in, with folds that suit everybody, made for one."""
    folded = folds(given, targets[0], folder / f"{given.name}.folded.onnx")
    files = {AS_IT_CAME: (given.file, "-"), FOLDED: (folded, "-")}
    for target in targets:
        print(f"{given.name} for {target}", file=sys.stderr, flush=True)
        files[target] = made(given, target, max_drop, folder / f"{given.name}.{target}.onnx")
    return [
        Cell(given.name, made_for, target, *priced(file, given, target), passes)
        for made_for, (file, passes) in files.items()
        for target in targets
    ]


def made(given: Network, target: str, max_drop: float, out: Path) -> tuple[Path, str]:
    """The network optimised for a target, and the passes that were chosen."""
    result = hwopt.optimize(
        given.file, target=target, output=out, force=True, input_shapes=given.input_shapes,
        calib=given.calib, max_drop=None if given.calib is None else max_drop,
    )  # fmt: skip
    return result.files[0], chosen_passes(result.report)


def folds(given: Network, target: str, out: Path) -> Path:
    """The network with BatchNormalization and the like folded: no choice of any target's."""
    shapes = given.input_shapes
    result = hwopt.optimize(
        given.file, target=target, output=out, force=True, input_shapes=shapes, passes=("canonicalize",)
    )
    return result.files[0]


def chosen_passes(report: Report) -> str:
    """How often each pass was chosen, the folds of canonicalising left out."""
    chosen = [choice for choice in report.choices if choice.chosen != "keep" and choice.kind != "canonical"]
    names = [name for c in chosen for value in c.values if value.name == c.chosen for name in value.passes]
    return ", ".join(f"{name} {names.count(name)}" for name in sorted(set(names))) or "none"


def priced(file: Path, given: Network, target: str) -> tuple[float, str]:
    """The oracle's latency of a file, else the predicted one, and which it is."""
    try:
        report = analyze(file, target=target, measure=True, input_shapes=given.input_shapes, refine=0)
    except HwoptError as error:
        raise SystemExit(f"{file} on {target}: {error}") from None
    asked = report.verification
    oracle = asked.oracle if isinstance(asked, Verification) else None
    figure = oracle.after.latency_us if isinstance(oracle, OracleProof) else report.before.latency_us
    assert isinstance(figure, Estimate), figure
    return figure.value, figure.source.value


def table(cells: Sequence[Cell], name: str) -> str:
    """Markdown: milliseconds, and the change against the file as it came."""
    mine = {(c.made_for, c.priced_on): c for c in cells if c.network == name}
    rows = list(dict.fromkeys(made_for for made_for, _ in mine))
    columns = list(dict.fromkeys(priced_on for _, priced_on in mine))
    lines = [_joined([f"{name}, made for", *(f"ms on {c}" for c in columns), "passes"])]
    lines.append("|" + "---|" * (len(columns) + 2))
    for row in rows:
        texts = [_text(mine, row, column, rows) for column in columns]
        lines.append(_joined([row, *texts, mine[row, columns[0]].passes]))
    return "\n".join(lines)


def _text(mine: Mapping[tuple[str, str], Cell], row: str, column: str, rows: Sequence[str]) -> str:
    here, before = mine[row, column].latency_us, mine[AS_IT_CAME, column].latency_us
    text = f"{here / 1e3:.3f} ({100 * (here / before - 1):+.1f}%)"
    best = min(mine[other, column].latency_us for other in rows)
    return f"**{text}**" if here <= best * (1 + EQUAL) else text


def _joined(texts: Sequence[str]) -> str:
    return "| " + " | ".join(texts) + " |"


def write_csv(cells: Sequence[Cell], file: Path) -> None:
    """One row per file and target."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["network", "made_for", "priced_on", "latency_us", "source", "passes"])
        for cell in cells:
            writer.writerow([
                cell.network, cell.made_for, cell.priced_on, f"{cell.latency_us:.6g}", cell.source,
                cell.passes,
            ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
