"""Mutates small models by a seed and counts what becomes of them:

    python -m bench.fuzz --mutations 5000 --seed 0               load, normalise, find
    python -m bench.fuzz --mutations 300 --seed 0 --whole        the whole `optimize`, promises checked

Every mutation must be refused with one line (exit code 2 on the command line) or come out right. The table
has one line per seed model; anything else is listed under it, kept in `--keep`, and makes the exit code 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from bench.fuzz_mutate import mutated
from bench.fuzz_run import BUG, REFUSED, VALID, Outcome, Tools, looked_at, optimised, placed
from bench.fuzz_seeds import Seed, seeds

Row = tuple[Seed, str, bytes, Outcome]


def outcomes(count: int, seed: int, whole: bool, models: Sequence[Seed] | None = None) -> Iterator[Row]:
    """What becomes of so many mutations, dealt to the seed models in turn.

    Mutation i depends on `seed` and i alone.
    """
    tools, chosen = Tools.loaded(), list(seeds() if models is None else models)
    with tempfile.TemporaryDirectory(prefix="fuzz.") as name:
        for index in range(count):
            model = chosen[index % len(chosen)]
            kind, data = mutated(model, np.random.default_rng([seed, index]))
            folder, out = Path(name) / str(index) / "in", Path(name) / str(index) / "out"
            folder.mkdir(parents=True)
            out.mkdir()
            path = placed(model, data, folder)
            yield model, kind, data, optimised(path, out, tools) if whole else looked_at(path, tools)


def table(rows: Sequence[Row]) -> str:
    """Counts by seed model, then by kind of mutation."""
    counts = Counter((row[0].name, row[3].result) for row in rows)
    counts += Counter((f"({row[1]})", row[3].result) for row in rows)
    counts += Counter(("all", row[3].result) for row in rows)
    columns = (REFUSED, VALID, BUG)
    lines = [f"{'':<12}" + "".join(f"{column:>9}" for column in columns)]
    for name in dict.fromkeys(name for name, _ in counts):
        lines.append(f"{name:<12}" + "".join(f"{counts[name, column]:>9}" for column in columns))
    return "\n".join(lines)


def main() -> int:
    """Runs what the command line asks for; 1 where a mutation was neither refused nor right."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mutations", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--whole", action="store_true", help="the whole optimize instead of load to find")
    parser.add_argument("--keep", type=Path, help="a folder for the models that broke something")
    options = parser.parse_args()
    started = time.monotonic()
    rows = list(outcomes(options.mutations, options.seed, options.whole))
    print(table(rows))
    print(f"{len(rows)} mutations, seed {options.seed}, {time.monotonic() - started:.0f} s")
    bugs = [(index, row) for index, row in enumerate(rows) if row[3].result == BUG]
    for text, count in Counter(row[3].detail for _, row in bugs).most_common():
        print(f"{count:>6}  {text}")
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
        for index, (model, kind, data, _) in bugs:
            (options.keep / f"{options.seed}-{index}-{model.name}-{kind}.onnx").write_bytes(data)
    return 1 if bugs else 0


if __name__ == "__main__":
    sys.exit(main())
