"""What a repair holds in memory, with few and with many calibration images.

    HWOPT_DATA=DIR python -m bench.repair_memory [--images N ...] [--blocks N] [--augment N] [--judge]

Fuses the first inverted bottlenecks of EfficientNet-Lite0 and refits them on all samples; with --judge both
models are also run on all of them. Numbers of images beyond those in DIR/imagenet/calib are made up with
random crops of those, mirrored every other time, through a Python generator. Each number is run in a process
of its own; a Markdown table says its largest resident memory. Exit code 1 where that is 4 GB or more.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import count, islice
from multiprocessing import get_context
from pathlib import Path

import onnx_ir as ir

from hwopt.calibration.data import Calibration, load_calibration
from hwopt.calibration.stream import calibration_of
from hwopt.calibration.variants import augmented
from hwopt.choice import Risk, Value
from hwopt.damage.harm import WRITTEN_EFFORT
from hwopt.damage.measure import measured
from hwopt.find import canonicalise, find_choices, with_places
from hwopt.ir import load_model
from hwopt.nodes import Array
from hwopt.registry import load_target, select_passes
from hwopt.repair.reference import Reference
from hwopt.repair.sequence import repair
from hwopt.rewrite import rewrite

IMAGES = (250, 5_000)
BLOCKS = 3
MARK = 4e9  # bytes
FOLDS = range(5)
SEED = 0


@dataclass(frozen=True)
class Row:
    """One run. gigabytes: after opening the data, after the repair, in all."""

    images: int
    recorded: int
    gigabytes: tuple[float, float, float]
    seconds: tuple[float, float, float]
    divergence: float | None


def main() -> int:
    """Runs each number of images; 0 where all stay below the mark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, action="append", help="numbers of calibration images")
    parser.add_argument("--blocks", type=int, default=BLOCKS)
    parser.add_argument("--augment", type=int, default=0)
    parser.add_argument("--judge", action="store_true")
    arguments = parser.parse_args()
    data = Path(os.environ["HWOPT_DATA"])
    rows = []
    for images in arguments.images or IMAGES:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
            blocks, augment, judge = arguments.blocks, arguments.augment, arguments.judge
            rows.append(alone.submit(run, data, images, blocks, augment, judge).result())
        print(table(rows[-1:]), file=sys.stderr)
    print(table(rows))
    return int(any(row.gigabytes[-1] * 1e9 >= MARK for row in rows))


def run(data: Path, images: int, blocks: int, augment: int, judge: bool) -> Row:
    """Opens the data, repairs, perhaps judges, and notes memory and time after each."""
    start = time.perf_counter()
    model = with_places(load_model(data / "efficientnet_lite0.onnx"))
    target = load_target("edge-npu")
    base = canonicalise(model, select_passes((), ()), target).model
    reference = Reference(base, augmented(calibration(data, base, images), augment, SEED))
    opened, first = peak(), time.perf_counter()
    changed = rewrite(base, fused(base, blocks))
    fitted = repair(reference, changed, FOLDS, seed=SEED, effort=WRITTEN_EFFORT)
    repaired, second = peak(), time.perf_counter()
    divergence = measured(reference, fitted).divergence if judge else None
    seconds = (first - start, second - first, time.perf_counter() - second)
    return Row(images, len(reference.recorded), (opened, repaired, peak()), seconds, divergence)


def calibration(data: Path, model: ir.Model, images: int) -> Calibration:
    """The first images of the folder; where it has too few, as many variants of them as it takes."""
    folder = load_calibration(data / "imagenet" / "calib", model)
    return calibration_of(islice(varied(folder), images), model)


def varied(folder: Calibration) -> Iterator[dict[str, Array]]:
    """The images, then round after round of variants of all of them."""
    for number in count():
        source = augmented(folder, 1, SEED + number)
        for sample in range(len(folder)):
            yield dict(source.batch([sample if number == 0 else source.variant(sample, 0)]))


def fused(base: ir.Model, blocks: int) -> list[Value]:
    """The first blocks, each as one dense convolution of its full kernel and a projection."""
    passes = select_passes(("fuse_ibn",), ())
    choices, _ = find_choices(base, passes, load_target("edge-npu"), frozenset({Risk.LOSSY}))
    return [choice.values[0] for choice in choices[:blocks]]


def peak() -> float:
    """Largest resident memory of this process so far, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def table(rows: list[Row]) -> str:
    """Markdown."""
    head = (
        "| images | recorded | GB: data opened | repaired | judged | seconds: open | repair | judge | KL |\n"
        "|---|---|---|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(
        f"| {row.images:,} | {row.recorded} | "
        + " | ".join(f"{value:.2f}" for value in row.gigabytes)
        + " | "
        + " | ".join(f"{value:.0f}" for value in row.seconds)
        + (" | - |" if row.divergence is None else f" | {row.divergence:.4f} |")
        for row in rows
    )


if __name__ == "__main__":
    sys.exit(main())
