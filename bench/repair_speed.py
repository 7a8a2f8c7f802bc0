"""How long repair takes on EfficientNet-Lite0, in what memory, and whether it repeats itself to the byte.

    HWOPT_DATA=DIR python -m bench.repair_speed [--tune STEPS] [--images COUNT] [--damage COUNT]

For each case, run twice, each time in a process of its own: seconds of the repair, peak memory, and whether
the two written models are the same bytes. --images repairs on that many images, the shipped ones under many
shifts, to show what memory does. --damage prices so many values, evenly spread over all that passes offer.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np

from bench.lossy_lab import SEED, Lab, open_lab
from bench.lossy_rows import forms
from hwopt.calibration import Calibration, from_source
from hwopt.choice import Risk, Value
from hwopt.damage import price_damage
from hwopt.errors import RewriteFailed
from hwopt.harm import PLAN_EFFORT
from hwopt.ir import model_bytes
from hwopt.nodes import Array
from hwopt.repair.sequence import repair
from hwopt.rewrite import chosen_values, rewrite
from hwopt.tuning.tune import tuned

FUSED = (1, 2, 3, 4, 5)
LARGEST_SHIFT = 8  # pixels


@dataclass(frozen=True)
class Case:
    """What is repaired. steps: gradient steps; images: how many, 0 for the calibration images as they are."""

    title: str
    blocks: tuple[int, ...]
    steps: int = 0
    images: int = 0


@dataclass(frozen=True)
class Outcome:
    """Seconds of opening the data and of the repair, peak memory, and the SHA-256 of the model."""

    open_s: float
    repair_s: float
    peak_bytes: int
    sha256: str


class Shifted:
    """As many samples as wanted: those of another source, rolled by a few pixels."""

    def __init__(self, calibration: Calibration, count: int) -> None:
        self._calibration = calibration
        self._count = count

    def hashes(self) -> tuple[str, ...]:
        """One for every shift of every sample."""
        known = self._calibration.hashes
        names = [f"{known[i % len(known)]} {i // len(known)}" for i in range(self._count)]
        return tuple(hashlib.sha256(name.encode()).hexdigest() for name in names)

    def identity(self) -> str:
        """How many there are, over what."""
        return f"{self._calibration.fingerprint} shifted, {self._count} in all"

    def batch(self, indices: Sequence[int]) -> Mapping[str, Array]:
        """The samples, in the order asked for."""
        rows = [self._shifted(index) for index in indices]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    def _shifted(self, index: int) -> dict[str, Array]:
        copy, sample = divmod(index, len(self._calibration))
        shift = np.random.default_rng([SEED, copy]).integers(-LARGEST_SHIFT, LARGEST_SHIFT + 1, 2)
        by = tuple(int(pixels) for pixels in shift) if copy else (0, 0)
        return {
            name: np.roll(array, by, axis=(2, 3)) for name, array in self._calibration.batch([sample]).items()
        }


def many(count: int) -> Callable[[Calibration], Calibration]:
    """Calibration data turned into `count` samples without labels."""
    return lambda calibration: from_source(Shifted(calibration, count))


def main() -> int:
    """Prints the tables."""
    arguments = _arguments()
    cases = [Case(f"block {n} fused, closed form", (n,)) for n in (1, 4, 9)]
    cases.append(Case("blocks 1 to 5 fused, closed form", FUSED))
    if arguments.tune:
        cases.append(Case(f"blocks 1 to 5 fused, {arguments.tune} gradient steps", FUSED, arguments.tune))
    if arguments.images:
        title = f"blocks 1 to 5 fused, closed form, {arguments.images:,} images"
        cases.append(Case(title, FUSED, 0, arguments.images))
    print("| case | data s | repair s | again s | peak GB | same bytes |\n|---|---|---|---|---|---|")
    for case in cases:
        print(_line(case, _alone(case), _alone(case)), flush=True)
    if arguments.damage:
        print(damage_rate(arguments.damage))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tune", type=int, default=0)
    parser.add_argument("--images", type=int, default=0)
    parser.add_argument("--damage", type=int, default=0)
    return parser.parse_args()


def _line(case: Case, first: Outcome, second: Outcome) -> str:
    peak = max(first.peak_bytes, second.peak_bytes) / 1e9
    same = "yes" if first.sha256 == second.sha256 else "NO"
    cells = (
        case.title,
        f"{first.open_s:.0f}",
        f"{first.repair_s:.1f}",
        f"{second.repair_s:.1f}",
        f"{peak:.2f}",
    )
    return "| " + " | ".join((*cells, same)) + " |"


def _alone(case: Case) -> Outcome:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(run, case).result()


def run(case: Case) -> Outcome:
    """One repair with all calibration data, in this process."""
    start = time.perf_counter()
    lab = open_lab(many(case.images)) if case.images else open_lab()
    assert lab.reference.cuts
    picks = forms(lab, case.blocks, "fused")
    changed = rewrite(lab.base, chosen_values(list(lab.choices.values()), picks))
    opened = time.perf_counter()
    folds = range(len(lab.reference.calibration.folds))
    fitted = repair(lab.reference, changed, folds, seed=SEED, effort=PLAN_EFFORT)
    fitted = tuned(lab.reference, fitted, folds, seed=SEED, steps=case.steps)
    seconds = time.perf_counter() - opened
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Outcome(opened - start, seconds, peak, hashlib.sha256(model_bytes(fitted)).hexdigest())


def damage_rate(count: int) -> str:
    """Seconds per value of the cheap damage, by pass, for values evenly spread over all that are offered."""
    lab = open_lab()
    assert lab.reference.cuts
    lab.reference.outputs()
    offered = [v for choice in lab.choices.values() for v in choice.values if v.risk == Risk.LOSSY]
    spent: dict[str, list[float]] = {}
    for value in offered[:: -(-len(offered) // count)]:
        start = time.process_time()
        if _priced(lab, value):
            spent.setdefault(value.pass_name, []).append(time.process_time() - start)
    return _rates(spent, {name: sum(v.pass_name == name for v in offered) for name in spent})


def _priced(lab: Lab, value: Value) -> bool:
    try:
        price_damage(lab.reference, rewrite(lab.base, [value]), seed=SEED)
    except RewriteFailed:
        return False
    return True


def _rates(spent: Mapping[str, Sequence[float]], offered: Mapping[str, int]) -> str:
    """Markdown: CPU seconds by pass, and what all values that are offered would take."""
    lines = [
        "| pass | values offered | priced | CPU s each | worst | CPU min for all |",
        "|---|---|---|---|---|---|",
    ]
    minutes = 0.0
    for name, seconds in spent.items():
        mean = sum(seconds) / len(seconds)
        minutes += offered[name] * mean / 60
        cells = (name, offered[name], len(seconds), f"{mean:.1f}", f"{max(seconds):.1f}",
                 f"{offered[name] * mean / 60:.1f}")  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join([*lines, f"\n{sum(offered.values())} values in {minutes:.0f} CPU minutes"])


if __name__ == "__main__":
    sys.exit(main())
