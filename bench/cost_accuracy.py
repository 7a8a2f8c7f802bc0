"""How good a target's prices are on held-out networks and single rewrites, beside simpler predictors.

    python -m bench.cost_accuracy --target ethos-u55-256 --card
    python -m bench.cost_accuracy --target edge-npu --judged 1 --rounds 50
    python -m bench.cost_accuracy --target cpu --recipe "without the limit" --depth 12 --no-peers --card

For each part of the network families one cost model is trained without them and without every
row that shares an operator shape with their held-out networks and rewrites
(targets/NAME/held_out.csv.xz, made by bench.cost_truth); it prices both. Prints Markdown;
`--card` also keeps the tables (accuracy.json), draws the plots and renews the card's sections.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.cost_peers import TREES, peers
from hwopt.cost.accuracy import family_folds, without_shapes
from hwopt.cost.bundle import pack
from hwopt.cost.card import ACCURACY, CARD_FILE, PEERS, SIZES, read_card, sizes_section, with_section
from hwopt.cost.card_accuracy import (
    OURS,
    PLOTS,
    Entry,
    RealNetwork,
    Results,
    accuracy_section,
    peers_section,
    read_results,
    write_results,
)
from hwopt.cost.dataset import FILE_NAME, Sample, read_with_hash
from hwopt.cost.heldout import FILE_NAME as TRUTH_FILE
from hwopt.cost.heldout import HeldOut, read_held_out
from hwopt.cost.judging import Judged, judge, kind_scores, network_scores, rewrite_scores
from hwopt.cost.plots import calibration_plot, kinds_plot, networks_plot, rewrites_plot
from hwopt.cost.training import Settings, train, usable
from hwopt.errors import BadInput
from hwopt.registry import load_target, make_oracle
from hwopt.target import Target

Found = dict[tuple[str, int], Judged]  # (predictor, refine)


def main() -> None:
    """Judges one target and prints its tables."""
    options = _options()
    target = load_target(options.target)
    samples, data = read_with_hash(target.folder / FILE_NAME)
    truth = read_held_out(options.truth or target.folder / TRUTH_FILE)
    settings = _settings(options)
    found, size = run(usable(samples), truth, target, settings, options)
    about = (
        f"{settings.members} members of depth {settings.depth} and {settings.rounds} rounds (eta "
        f"{settings.eta}), about {size / 1e6:.1f} MB; trained on {len(usable(samples))} rows less "
        "what is held out"
    )
    results = Results(
        data=data,
        folds=options.folds if options.judged is None else options.judged,
        measured=any(item.noise_us > 0 for item in truth.rewrites),
        about=((options.recipe, about),),
        entries=tuple(_entry(name, refine, judged, options) for (name, refine), judged in found.items()),
        kinds=tuple(kind_scores(found[OURS, 0].groups)) if options.recipe == RECIPE else (),
        real=_real(found[OURS, 0]) if options.recipe == RECIPE else (),
    )
    if options.card:
        results = read_results(target.folder).updated(results)
        write_results(target.folder, results)
        write_card(target, results, found[OURS, 0] if options.recipe == RECIPE else None)
    drawn = [name for name in PLOTS if (target.folder / name).exists()]
    print(accuracy_section(results, drawn), peers_section(results), sep="\n\n")


def run(
    rows: Sequence[Sample],
    truth: HeldOut,
    target: Target,
    settings: Settings,
    options: argparse.Namespace,
) -> tuple[Found, int]:
    """Predictions of every predictor over all folds, and the bytes of one of our models."""
    found: Found = {}
    size = 0
    for number, families in enumerate(truth_folds(rows, truth, options.folds)[: options.judged]):
        held = truth.of(families)
        kept = without_shapes((row for row in rows if row.family not in families), held.signatures)
        started = time.monotonic()
        trained = train(kept, target, settings, "")
        seconds = time.monotonic() - started
        size = size or len(pack(trained.header, trained.boosters))
        for refine in options.refine:
            _add(found, (OURS, refine), judge(held, trained.model, refine))
        if options.peers:
            for name, peer in peers(kept, target, options.trees).items():
                _add(found, (name, 0), judge(held, peer))
        print(
            f"fold {number + 1}: {len(kept)} rows trained on in {seconds:.0f} s; {len(held.networks)} "
            f"networks, {len(held.rewrites)} rewrites of {', '.join(sorted(families))}",
            flush=True,
        )
    return found, size


def truth_folds(rows: Sequence[Sample], truth: HeldOut, folds: int) -> list[frozenset[str]]:
    """The families of the training rows dealt into folds; families of the truth alone join the first."""
    dealt = family_folds(rows, folds)
    strangers = {network.family for network in truth.networks}.difference(*dealt)
    return [dealt[0] | strangers, *dealt[1:]]


def _add(found: Found, key: tuple[str, int], judged: Judged) -> None:
    found[key] = found.get(key, Judged()) + judged


def _entry(name: str, refine: int, judged: Judged, options: argparse.Namespace) -> Entry:
    recipe = options.recipe if name == OURS else ""
    return Entry(name, recipe, refine, network_scores(judged.networks), rewrite_scores(judged.rewrites))


def _real(judged: Judged) -> tuple[RealNetwork, ...]:
    return tuple(
        RealNetwork(
            item.network.name.removeprefix("real-"),
            item.network.latency_us,
            item.predicted.value,
            item.predicted.spread,
        )
        for item in judged.networks
        if item.network.name.startswith("real-")
    )


def write_card(target: Target, results: Results, judged: Judged | None) -> None:
    """Renews the card's sections; the plots only where predictions of the shipped recipe are given."""
    folder = target.folder
    if judged is not None:
        for name, data in _plots(judged, results, _word(target)).items():
            (folder / name).write_bytes(data)
    plots = [name for name in PLOTS if (folder / name).exists()]
    card = with_section(read_card(folder, target.title), ACCURACY, accuracy_section(results, plots))
    card = with_section(card, PEERS, peers_section(results))
    card = with_section(card, SIZES, sizes_section(folder))
    (folder / CARD_FILE).write_text(card, "utf-8")


def _plots(judged: Judged, results: Results, word: str) -> dict[str, bytes]:
    return {
        "networks.svg": networks_plot(judged.networks, word),
        "rewrites.svg": rewrites_plot(judged.rewrites, word),
        "kinds.svg": kinds_plot(results.kinds),
        "calibration.svg": calibration_plot(judged),
    }


def _word(target: Target) -> str:
    """What the oracle's figures are called."""
    try:
        return make_oracle(target).source
    except BadInput:
        return "by the oracle"


def _settings(options: argparse.Namespace) -> Settings:
    named = {name: getattr(options, name) for name in _TUNABLE if getattr(options, name) is not None}
    return replace(Settings(), **named)


RECIPE = "as shipped"
_TUNABLE = {"depth": int, "rounds": int, "eta": float, "members": int, "min_child_weight": float}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", required=True, help="name or folder of a target")
    parser.add_argument(
        "--refine", type=lambda text: [int(k) for k in text.split(",")], default=[0, 3], help="default: 0,3"
    )
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--judged", type=int, help="only the first so many folds")
    parser.add_argument("--recipe", default=RECIPE, help="what the tables call these settings")
    for name, kind in _TUNABLE.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help="default: as fits do")
    parser.add_argument("--no-peers", dest="peers", action="store_false")
    parser.add_argument("--trees", type=int, default=TREES, help="of each random forest")
    parser.add_argument("--truth", type=Path, help="default: held_out.csv.xz in the target's folder")
    parser.add_argument("--card", action="store_true", help="write accuracy.json, plots and card.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
