"""Rank correlations with bootstrap intervals, as a Markdown table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.stats import kendalltau, spearmanr

Floats = npt.NDArray[np.float64]
Statistic = Callable[[Floats, Floats, Floats], float]

DRAWINGS: Final = 300
ALIKE: Final = 1.25  # two latencies are alike up to this ratio
SEED: Final = 0


@dataclass(frozen=True)
class Correlation:
    """A rank correlation and the middle 95% of it over bootstrap samples of the networks."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.2f} ({self.low:+.2f} to {self.high:+.2f})"


def spearman(score: Floats, accuracy: Floats, latency: Floats) -> float:
    """Spearman's rho."""
    del latency
    return _rho(score, accuracy)


def _rho(score: Floats, accuracy: Floats) -> float:
    return float(spearmanr(score, accuracy).statistic)


def kendall(score: Floats, accuracy: Floats, latency: Floats) -> float:
    """Kendall's tau."""
    del latency
    return float(kendalltau(score, accuracy).statistic)


def alike(score: Floats, accuracy: Floats, latency: Floats) -> float:
    """Kendall's tau over the pairs of networks whose latencies are alike: what a search has to decide."""
    one, other = np.triu_indices(len(score), 1)
    near = np.maximum(latency[one], latency[other]) <= ALIKE * np.minimum(latency[one], latency[other])
    decided = near & (accuracy[one] != accuracy[other])  # a network drawn twice is no pair
    one, other = one[decided], other[decided]
    agreeing = np.sign(score[one] - score[other]) * np.sign(accuracy[one] - accuracy[other])
    return float(agreeing.mean()) if len(agreeing) else float("nan")


STATISTICS: Final[Mapping[str, Statistic]] = {
    "Spearman": spearman,
    "Kendall": kendall,
    f"Kendall, latency within {100 * (ALIKE - 1):.0f}%": alike,
}


def correlation(statistic: Statistic, score: Floats, accuracy: Floats, latency: Floats) -> Correlation:
    """The statistic over all networks, and its percentile interval."""
    dice = np.random.default_rng(SEED)
    drawn = [dice.integers(len(score), size=len(score)) for _ in range(DRAWINGS)]
    values = [statistic(score[s], accuracy[s], latency[s]) for s in drawn]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return Correlation(statistic(score, accuracy, latency), float(low), float(high))


def better(score: Floats, than: Floats, accuracy: Floats) -> float:
    """The share of bootstrap samples of the networks in which a score has the larger Spearman's rho."""
    dice = np.random.default_rng(SEED)
    wins = []
    for _ in range(DRAWINGS):
        some = dice.integers(len(score), size=len(score))
        wins.append(_rho(score[some], accuracy[some]) > _rho(than[some], accuracy[some]))
    return float(np.mean(wins))


def table(columns: Mapping[str, Sequence[float]], accuracy: Floats, latency: Floats) -> str:
    """One row per score; columns: the statistics, and how sure it is that the first score is worse."""
    rival = next(iter(columns))
    head = ["score", *STATISTICS, f"better than {rival}"]
    rows = [head, ["---"] * len(head)]
    for name, values in columns.items():
        score = np.asarray(values, np.float64)
        found = [correlation(statistic, score, accuracy, latency) for statistic in STATISTICS.values()]
        against = better(score, np.asarray(columns[rival], np.float64), accuracy)
        rows.append([name, *(str(one) for one in found), "" if name == rival else f"{100 * against:.0f}%"])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
