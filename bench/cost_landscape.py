"""Draws the landscape of a target: cost against channels, predicted and as its oracle sees it.

    python -m bench.cost_landscape --target edge-npu --measure
    python -m bench.cost_landscape --target edge-npu

`--measure` asks the oracle first (minutes at most; answers are cached) and keeps its points in
landscape.csv; without it the points that are there are drawn again, with the present cost model.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from hwopt.cost.card import CARD_FILE, LANDSCAPE, SIZES, read_card, sizes_section, with_section
from hwopt.cost.landscape import FILE_NAME, MEASURED, Point, measure, predict, read_points, write_points
from hwopt.cost.loading import load_cost_model
from hwopt.cost.plots_landscape import landscape_plot
from hwopt.oracles.cache import Cache
from hwopt.registry import load_target, make_oracle
from hwopt.target import Target

PLOT = "landscape.svg"


def main() -> None:
    """Measures where asked, draws, and renews the card's section."""
    options = _options()
    target = load_target(options.target)
    path = target.folder / FILE_NAME
    oracle = make_oracle(target)
    if options.measure:
        with Cache(options.cache) as cache:
            write_points(path, measure(oracle, cache, progress=_tell))
    known, model = read_points(path), load_cost_model(target)
    predicted = predict(target, model)
    plot = landscape_plot(predicted, known, target.channel_multiples, oracle.source)
    (target.folder / PLOT).write_bytes(plot)
    body = _section(target, known, predict(target, model, MEASURED))
    card = with_section(read_card(target.folder, target.title), LANDSCAPE, body)
    card = with_section(card, SIZES, sizes_section(target.folder))
    (target.folder / CARD_FILE).write_text(card, "utf-8")
    print(body)


def _section(target: Target, known: list[Point], predicted: list[Point]) -> str:
    prices = {(p.operator, p.size, p.channels): p.latency_us for p in predicted}
    pairs = [(p.latency_us, prices[p.operator, p.size, p.channels]) for p in known]
    error = np.array([abs(said / real - 1) for real, said in pairs])
    multiples = ", ".join(map(str, target.channel_multiples))
    return (
        "Latency of single operators against their channels (as many in as out), with the numbers of "
        f"channels marked that `target.toml` lists (multiples of {multiples}). Line: predicted by the cost "
        f"model; dots: {len(known)} points from the oracle, `{FILE_NAME}`; mean absolute error at the dots "
        f"{100 * error.mean():.1f}%, median {100 * np.median(error):.1f}%.\n\n"
        f"![Cost against channels, curated points marked]({PLOT})"
    )


def _tell(done: int, total: int) -> None:
    if done % 25 == 0 or done == total:
        print(f"{done}/{total} points", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", required=True, help="name or folder of a target")
    parser.add_argument("--measure", action="store_true", help="ask the oracle and keep its points")
    parser.add_argument("--cache", type=Path, help="default: $HWOPT_CACHE, else the user's cache folder")
    return parser.parse_args()


if __name__ == "__main__":
    main()
