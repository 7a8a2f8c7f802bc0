"""How long repair takes on EfficientNet-Lite0, in what memory, and whether it repeats itself to the byte.

    HWOPT_DATA=DIR python -m bench.repair_speed [--tune STEPS] [--damage COUNT]

Each case is run twice, each time in a process of its own: seconds of the repair, peak memory, and whether the
two written models are the same bytes. --damage prices so many values, evenly spread over all that passes
offer. What memory does with thousands of images: bench.repair_memory.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from bench.lossy_lab import SEED, Lab, open_lab
from bench.lossy_rows import forms
from hwopt.choice import Risk, Value
from hwopt.damage.harm import WRITTEN_EFFORT
from hwopt.damage.measure import price_damage
from hwopt.errors import RewriteFailed
from hwopt.ir import model_bytes
from hwopt.repair.sequence import repair
from hwopt.rewrite import chosen_values, rewrite
from hwopt.tuning.tune import tuned

FUSED = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Case:
    """What is repaired. steps: gradient steps behind the closed form."""

    title: str
    blocks: tuple[int, ...]
    steps: int = 0


@dataclass(frozen=True)
class Outcome:
    """Seconds of opening the data and of the repair, peak memory, and the SHA-256 of the model."""

    open_s: float
    repair_s: float
    peak_bytes: int
    sha256: str


def main() -> int:
    """Prints the tables."""
    arguments = _arguments()
    cases = [Case(f"block {n} fused, closed form", (n,)) for n in (1, 4, 9)]
    cases.append(Case("blocks 1 to 5 fused, closed form", FUSED))
    if arguments.tune:
        cases.append(Case(f"blocks 1 to 5 fused, {arguments.tune} gradient steps", FUSED, arguments.tune))
    print("| case | data s | repair s | again s | peak GB | same bytes |\n|---|---|---|---|---|---|")
    for case in cases:
        print(_line(case, _alone(case), _alone(case)), flush=True)
    if arguments.damage:
        print(damage_rate(arguments.damage))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tune", type=int, default=0)
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
    lab = open_lab()
    assert lab.reference.cuts
    picks = forms(lab, case.blocks, "fused")
    changed = rewrite(lab.base, chosen_values(list(lab.choices.values()), picks))
    opened = time.perf_counter()
    folds = range(len(lab.reference.calibration.folds))
    fitted = repair(lab.reference, changed, folds, seed=SEED, effort=WRITTEN_EFFORT)
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
