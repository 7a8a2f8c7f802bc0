"""Measures a target: the campaigns behind targets/*/measurements.csv.xz.

    python -m bench.campaign --target ethos-u55-256 --samples 4000 --whole 45
    python -m bench.campaign --target edge-npu --samples 2500 --whole 10 --layers
    taskset -c 1 python -m bench.campaign --target cpu --samples 3000 --whole 76 --whole-seeds 6

Answers are cached ($HWOPT_CACHE), so a second, larger run pays only for what is new. `--layers`
cuts every sample but the whole networks into single layers and measures each shape once: right
for oracles that price layers alone. What really measures wants a core that is otherwise idle.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from hwopt.cost.dataset import FILE_NAME
from hwopt.cost.measure import measure_campaign
from hwopt.cost.sampling import Sample, distinct_layers, samples, whole_networks
from hwopt.oracles.cache import Cache
from hwopt.registry import load_target, make_oracle
from hwopt.target import Target


def main() -> None:
    """Runs one campaign and prints what became of it."""
    options = _options()
    target = load_target(options.target)
    out = options.out or target.folder / FILE_NAME
    started = time.monotonic()

    def tell(done: int, rows: int) -> None:
        print(f"{time.monotonic() - started:7.0f} s  {done} samples, {rows} rows", flush=True)

    with Cache(options.cache) as cache:
        campaign = measure_campaign(target, make_oracle(target), _samples(options, target), out, cache, tell)
    print(f"{out}: {sum(campaign.rows.values())} rows of {campaign.samples} samples, {campaign.data_sha256}")
    for title, table in (("rows", campaign.rows), ("dropped", campaign.dropped)):
        for name, count in table.items():
            print(f"  {title:8} {count:6}  {name}")


def _samples(options: argparse.Namespace, target: Target) -> Iterator[Sample]:
    drawn = samples(options.seed, 0, options.samples)
    seeds = range(options.seed, options.seed + options.whole_seeds)
    whole = chain.from_iterable(whole_networks(seed, options.whole) for seed in seeds)
    if not options.layers:
        return chain(drawn, whole)
    ops = frozenset(op for engine in target.engines for op in engine.ops)
    return chain(distinct_layers(drawn, ops), whole)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", required=True, help="name or folder of a target")
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--whole", type=int, default=0, help="number of whole networks, held out by fits")
    parser.add_argument("--whole-seeds", type=int, default=1, help="whole networks of so many seeds in a row")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--layers", action="store_true", help="one job per distinct layer")
    parser.add_argument("--out", type=Path, help="default: measurements.csv.xz in the target's folder")
    parser.add_argument("--cache", type=Path, help="default: $HWOPT_CACHE, else the user's cache folder")
    return parser.parse_args()


if __name__ == "__main__":
    main()
