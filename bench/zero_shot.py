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

import onnx_ir as ir

from bench.zero_shot_variants import Variant, every_choice, parameters, variants
from hwopt.choice import Choice
from hwopt.find import canonicalise
from hwopt.harm import WRITTEN_EFFORT
from hwopt.repair.reference import Reference
from hwopt.repair.saliency import annotate
from hwopt.repair.sequence import repair
from hwopt.resolution import seen_by
from hwopt.rewrite import chosen_values, rewrite
from hwopt.settings import settings
from hwopt.work import Work, open_work
from models.figures.data import make
from models.figures.evaluate import SHIPPED

TARGET: Final = "edge-npu"
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


@dataclass(frozen=True)
class Lab:
    """The shipped model, opened for one target, with everything that may be changed in it."""

    work: Work
    base: ir.Model
    choices: Sequence[Choice]

    def written(self, variant: Variant) -> ir.Model:
        """The variant's structure; weights as the rewrite left them."""
        return rewrite(self.base, chosen_values(self.choices, variant.assignment))


def open_lab(calibration: Path | None) -> Lab:
    """With calibration images, channels are ordered by them as in a run."""
    options = settings(allow_interface_change=True, max_drop=None if calibration is None else 0.03)
    work = open_work(SHIPPED, TARGET, options, calibration)
    base = canonicalise(work.model, work.passes, work.target).model
    return Lab(work, base, every_choice(work, base))


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
        for variant in variants(lab.base, lab.choices):
            if not only or variant.name in only:
                yield variant, seed


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
    return 0


if __name__ == "__main__":
    sys.exit(main())
