"""The tables that say how good a target's prices are: kept as JSON beside the card, shown in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hwopt.cost.card import table
from hwopt.cost.judging import KindScores, NetworkScores, RewriteScores
from hwopt.errors import BadInput

RESULTS_FILE = "accuracy.json"
OURS = "hwopt"
PLOTS = {
    "networks.svg": "Predicted against held-out latency of whole networks",
    "rewrites.svg": "Predicted against held-out effects of single rewrites",
    "kinds.svg": "Mean absolute error by kind of operator",
    "calibration.svg": "What the stated spread promises, and what it holds",
}


@dataclass(frozen=True)
class Entry:
    """One predictor judged on all of the held-out truth.

    recipe: "as shipped", "without the limit" ... for our own; "" for peers. refine: groups of
    each network that were measured exactly.
    """

    predictor: str
    recipe: str
    refine: int
    networks: NetworkScores
    rewrites: RewriteScores

    @property
    def key(self) -> tuple[str, str, int]:
        return self.predictor, self.recipe, self.refine


@dataclass(frozen=True)
class RealNetwork:
    """A trained network: the oracle's latency, and ours with its spread, in microseconds."""

    name: str
    latency_us: float
    predicted_us: float
    spread_us: float


@dataclass(frozen=True)
class Results:
    """Everything that bench.cost_accuracy found for one target.

    about: one sentence for each recipe (its settings and size). data: SHA-256 of the measurements
    that were trained on. measured: whether effects count by their noise.
    """

    data: str = ""
    folds: int = 0
    measured: bool = False
    about: tuple[tuple[str, str], ...] = ()
    entries: tuple[Entry, ...] = ()
    kinds: tuple[KindScores, ...] = ()
    real: tuple[RealNetwork, ...] = ()

    def updated(self, newer: Results) -> Results:
        """The newer results; older entries that they do not replace stay, if of the same data."""
        if self.data != newer.data:
            return newer
        keys = {entry.key for entry in newer.entries}
        kept = tuple(entry for entry in self.entries if entry.key not in keys)
        about = {**dict(self.about), **dict(newer.about)}
        return replace(
            newer,
            about=tuple(about.items()),
            entries=kept + newer.entries,
            kinds=newer.kinds or self.kinds,
            real=newer.real or self.real,
        )


def read_results(folder: Path) -> Results:
    """The results beside the card; empty ones where there are none. Raises BadInput for a broken file."""
    path = folder / RESULTS_FILE
    if not path.exists():
        return Results()
    try:
        return _parse(json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInput(f"{path}: not results of bench.cost_accuracy ({error}); delete it") from None


def _parse(found: dict[str, Any]) -> Results:
    entries = tuple(
        Entry(
            **{
                **entry,
                "networks": NetworkScores(**entry["networks"]),
                "rewrites": RewriteScores(**entry["rewrites"]),
            }
        )
        for entry in found["entries"]
    )
    kinds = tuple(KindScores(**kind) for kind in found["kinds"])
    about = tuple((str(name), str(text)) for name, text in found["about"])
    real = tuple(RealNetwork(**network) for network in found["real"])
    return Results(
        str(found["data"]), int(found["folds"]), bool(found["measured"]), about, entries, kinds, real
    )


def write_results(folder: Path, results: Results) -> None:
    """Writes the results, figures rounded to four digits behind the point."""
    text = json.dumps(_rounded(asdict(results)), indent=1)
    (folder / RESULTS_FILE).write_text(text + "\n", "utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value


def accuracy_section(results: Results, plots: Sequence[str]) -> str:
    """The card's section: our own tables with and without refining, by kind, and plots.

    plots: names of the plot files that stand beside the card.
    """
    ours = [entry for entry in results.entries if entry.predictor == OURS]
    said = "beyond three times its noise" if results.measured else "of 0.5% of the model or more"
    parts = [
        f"Made by `python -m bench.cost_accuracy` from `held_out.csv.xz`, with {results.folds} trainings, "
        "each without a part of the network families and without every row that shares an operator shape "
        "with the networks and rewrites it is judged on. `--refine K`: the K most uncertain operator "
        "groups of each network, or among those that a rewrite changes, get the oracle's figure. "
        f"Right sign: of the effects {said}.",
        "\n".join(f"- {name}: {text}" for name, text in results.about),
        table(("recipe", "refine", *_NETWORK_HEAD), ((e.recipe, str(e.refine), *_network(e)) for e in ours)),
        table(("recipe", "refine", *_REWRITE_HEAD), ((e.recipe, str(e.refine), *_rewrite(e)) for e in ours)),
    ]
    if results.real:
        parts.append("Trained networks among them, with their own weights, nothing refined:")
        parts.append(table(_REAL_HEAD, (_real(network) for network in results.real)))
    if results.kinds:
        parts.append("Operator groups inside these networks, nothing refined:")
        parts.append(table(_KIND_HEAD, (_kind(kind) for kind in results.kinds)))
    parts += [f"![{title}]({name})" for name, title in PLOTS.items() if name in plots]
    return "\n\n".join(part for part in parts if part)


def peers_section(results: Results) -> str:
    """The card's section: everything without refining, on the same rows and folds."""
    entries = [entry for entry in results.entries if entry.refine == 0]
    ranked = sorted(entries, key=lambda entry: entry.networks.mape)
    rows = [
        (e.predictor if not e.recipe else f"**{e.predictor}** ({e.recipe})", *_network(e)[1:4],
         f"{e.networks.spearman:.4f}", f"{e.rewrites.right_sign:.1f}", f"{e.rewrites.effect_error:.2f}",
         f"{e.rewrites.best_found:.0f}", f"{e.rewrites.regret:.2f}")
        for e in ranked
    ]  # fmt: skip
    head = (
        "predictor", "MAPE %", "bias %", "within 5 %", "Spearman", "right sign %", "effect error %",
        "best found %", "regret %",
    )  # fmt: skip
    return "Fitted on the same rows of the same folds, judged on the same networks and rewrites.\n\n" + table(
        head, rows
    )


_NETWORK_HEAD = (
    "networks", "MAPE %", "bias %", "within 5 %", "within 10 %", "worst %", "Spearman", "within 1 spread %",
    "within 2 spreads %",
)  # fmt: skip
_REWRITE_HEAD = (
    "rewrites", "counted", "right sign %", "mean error, % of model", "Spearman", "best variant found %",
    "regret, % of model",
)  # fmt: skip
_REAL_HEAD = ("network", "oracle, ms", "predicted, ms", "spread, ms", "error %")
_KIND_HEAD = ("kind", "groups", "MAPE %", "bias %", "within 5 %", "within 10 %", "within 2 spreads %")


def _network(entry: Entry) -> tuple[str, ...]:
    s = entry.networks
    return (
        str(s.number), f"{s.mape:.2f}", f"{s.bias:+.2f}", f"{s.within_5:.1f}", f"{s.within_10:.1f}",
        f"{s.worst:.1f}", f"{s.spearman:.4f}", f"{s.covered_1:.0f}", f"{s.covered_2:.0f}",
    )  # fmt: skip


def _rewrite(entry: Entry) -> tuple[str, ...]:
    s = entry.rewrites
    return (
        str(s.number), str(s.moving), f"{s.right_sign:.1f}", f"{s.effect_error:.3f}", f"{s.spearman:.4f}",
        f"{s.best_found:.0f}", f"{s.regret:.3f}",
    )  # fmt: skip


def _kind(k: KindScores) -> tuple[str, ...]:
    figures = (k.mape, k.bias, k.within_5, k.within_10, k.covered_2)
    return (k.kind, str(k.number), *(f"{figure:.2f}" for figure in figures))


def _real(n: RealNetwork) -> tuple[str, ...]:
    error = 100 * (n.predicted_us / n.latency_us - 1)
    milliseconds = (f"{us / 1e3:.3f}" for us in (n.latency_us, n.predicted_us, n.spread_us))
    return (n.name, *milliseconds, f"{error:+.1f}")
