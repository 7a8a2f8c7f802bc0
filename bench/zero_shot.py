"""How well zero-shot scores order networks by the accuracy that training gives them.

    python -m bench.zero_shot train DIR [--out FILE] [--seeds N,...] [--only NAME;...]
    python -m bench.zero_shot score [FILE]

`train` makes variants of the shipped model out of our passes' values, repairs them on calibration images
(as every candidate is), trains them and judges them on images that nothing else has seen; one object a
line is appended to FILE, and what is in it already is left out. DIR: made by `models.figures.prepare`.
`score` prints the Markdown table of rank correlations.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx_ir as ir

from bench.zero_shot_table import table
from bench.zero_shot_variants import Lab, Variant, open_lab, parameters, variants
from hwopt.damage.harm import WRITTEN_EFFORT
from hwopt.nodes import Array
from hwopt.repair.reference import Reference
from hwopt.repair.saliency import annotate
from hwopt.repair.sequence import repair
from hwopt.resolution import image_inputs, resized, seen_by
from hwopt.zero_shot.probe import Weights
from hwopt.zero_shot.score import SAMPLES, scores
from models.figures.data import Images, make

RESULTS: Final = Path("docs/data/zero_shot.jsonl")
JUDGED: Final = 1200
JUDGE_SEED: Final = 7  # images that nothing else in the project is made from


@dataclass(frozen=True)
class Record:
    """One variant after training.

    repaired: its accuracy before, on the same images; divergence: then, of its outputs from the
    shipped model's (Kullback-Leibler, nats), on training images. accuracy, loss: after training.
    cpu_s: of repair and training.
    """

    name: str
    assignment: dict[str, str]
    seed: int
    images: int
    repaired: float
    divergence: float
    accuracy: float
    loss: float
    params: int
    macs: int
    latency_us: float
    cpu_s: float


def read_records(path: Path) -> list[Record]:
    """All records of a file; none where there is no file."""
    if not path.exists():
        return []
    return [Record(**json.loads(line)) for line in path.read_text("utf-8").splitlines() if line]


def train(folder: Path, out: Path, seeds: Sequence[int], only: Sequence[str]) -> None:
    """Every variant that is not in `out` yet with every seed, in turn."""
    from bench.zero_shot_train import Recipe, Truth

    lab = open_lab(folder / "calib.npz")
    assert lab.work.calibration is not None
    reference = Reference(lab.base, lab.work.calibration)
    annotate(reference, lab.work.settings.seed, lab.work.settings.ranking)
    recipe = Recipe()
    truth = Truth.of(lab.base, make("train", recipe.images), make("eval", JUDGED, seed=JUDGE_SEED))
    done = {(record.name, record.seed) for record in read_records(out)}
    for variant, seed in _wanted(lab, seeds, only):
        if (variant.name, seed) in done:
            continue
        started = time.process_time()
        model = lab.written(variant)
        after = lab.work.assess(model)
        fitted = repair(seen_by(reference, model), model, range(5), seed=0, effort=WRITTEN_EFFORT)
        figures = truth.of_model(fitted, recipe, seed)
        record = Record(
            variant.name, dict(variant.assignment), seed, recipe.images, *figures,
            params=parameters(model), macs=after.macs, latency_us=after.latency_us.value,
            cpu_s=round(time.process_time() - started, 1),
        )  # fmt: skip
        with out.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(record)) + "\n")
        print(record.name, record.seed, record.repaired, record.accuracy, record.cpu_s, flush=True)


def _wanted(lab: Lab, seeds: Sequence[int], only: Sequence[str]) -> Iterator[tuple[Variant, int]]:
    for seed in seeds:
        for variant in variants(lab):
            if not only or variant.name in only:
                yield variant, seed


def report(path: Path) -> str:
    """The table of rank correlations, and what it stands on."""
    lab, everything = open_lab(), read_records(path)
    records = [record for record in everything if record.seed == 0]
    accuracy = np.array([record.accuracy for record in records])
    latency = np.array([record.latency_us for record in records])
    columns = {**_baselines(records), **_scores(lab, records)}
    lines = [
        f"{len(records)} networks, accuracy {100 * accuracy.min():.1f} to {100 * accuracy.max():.1f}%, "
        f"predicted latency on {lab.work.target.name} {latency.min():.0f} to {latency.max():.0f} us; "
        f"{_noise(everything)}",
        table(columns, accuracy, latency),
    ]
    return "\n\n".join(lines)


def _baselines(records: Sequence[Record]) -> dict[str, list[float]]:
    """What needs no score; less divergence is more accuracy, so it counts with a minus."""
    return {
        "parameters": [float(r.params) for r in records],
        "MACs": [float(r.macs) for r in records],
        "predicted latency": [r.latency_us for r in records],
        "divergence after repair (needs calibration data)": [-r.divergence for r in records],
        "accuracy after repair (needs labels)": [r.repaired for r in records],
    }


def _scores(lab: Lab, records: Sequence[Record]) -> dict[str, list[float]]:
    images, _ = make("calib", SAMPLES)
    columns: dict[str, list[float]] = {}
    for record in records:
        model = lab.written(Variant(record.name, record.assignment))
        for how, weights, given in (
            ("drawn weights, noise", Weights.DRAWN, None),
            ("drawn weights, images", Weights.DRAWN, images),
            ("kept weights, images", Weights.KEPT, images),
        ):
            found = scores(model, None if given is None else _seen_by(model, given), weights)
            for name, score in asdict(found).items():
                columns.setdefault(f"{name} ({how})", []).append(score)
    return columns


def _seen_by(model: ir.Model, images: Images) -> Array:
    image = next(iter(image_inputs(model)))
    return resized(images.astype(np.float32), image.axes, image.size)


def _noise(records: Sequence[Record]) -> str:
    """What another seed of the training changes, where some networks were trained with several."""
    by_name: dict[str, list[float]] = {}
    for record in records:
        by_name.setdefault(record.name, []).append(record.accuracy)
    spreads = [float(np.std(found, ddof=1)) for found in by_name.values() if len(found) > 1]
    if not spreads:
        return "one seed each"
    return f"standard deviation over seeds {100 * max(spreads):.2f} points ({len(spreads)} networks)"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.zero_shot")
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train")
    training.add_argument("folder", type=Path, metavar="DIR")
    training.add_argument("--out", type=Path, default=RESULTS, metavar="FILE")
    training.add_argument("--seeds", default="0", metavar="N,...")
    training.add_argument("--only", default="", metavar="NAME;...")
    scoring = commands.add_parser("score")
    scoring.add_argument("file", type=Path, nargs="?", default=RESULTS, metavar="FILE")
    options = parser.parse_args()
    if options.command == "train":
        seeds = [int(seed) for seed in options.seeds.split(",")]
        train(options.folder, options.out, seeds, [name for name in options.only.split(";") if name])
    else:
        print(report(options.file))
    return 0


if __name__ == "__main__":
    sys.exit(main())
