"""How good a cost model is on networks that it has never seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from hwopt.cost.dataset import Sample
from hwopt.cost.training import Settings, train, usable
from hwopt.signature import Signature
from hwopt.target import Target

OPERATOR_FAMILY = "operators"  # as the sampler calls operators of random shapes
WHOLE = "whole-"  # as the sampler names networks that are measured completely

Column = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Accuracy:
    """Relative errors of one kind of unit, in percent, and how honest the spread was.

    bias: mean signed error. within_5, within_10: share of units. covered: share whose error is
        within two predicted standard deviations (95% if the spread is right).
    """

    units: int
    mape: float
    bias: float
    within_5: float
    within_10: float
    covered: float


@dataclass(frozen=True)
class Outcome:
    """One measured figure beside its prediction, in microseconds."""

    sample: Sample
    predicted: float
    spread: float


@dataclass(frozen=True)
class Evaluation:
    """Accuracy on what was left out of training, where no operator of the same shape was trained on.

    how: what was left out. groups, kinds: fused operator groups. subgraphs: sums over what was
    measured as one. networks: None where the data has no network that was measured as a whole.
    """

    how: str
    groups: Accuracy
    kinds: tuple[tuple[str, Accuracy], ...]
    subgraphs: Accuracy
    networks: Accuracy | None


def cross_validate(
    samples: Sequence[Sample], target: Target, settings: Settings, folds: int = 4, judged: int | None = None
) -> Evaluation:
    """Judges a recipe family by family, with one training for each fold.

    judged: how many of the folds are tried; None for all. Data of fewer than two families is
    judged on a random fifth of its subgraphs.
    """
    rows = usable(samples)
    held = family_folds(rows, folds)[:judged]
    how = "families of networks" if judged is None or judged >= folds else "a part of the families"
    if len({row.family for row in rows} - {OPERATOR_FAMILY}) < 2:
        how, fifth = "a random fifth of the subgraphs", random_fifth(rows)
        outcomes = predict_held_out(rows, [row.sample in fifth for row in rows], target, settings)
    else:
        outcomes = [
            outcome
            for fold in held
            for outcome in predict_held_out(rows, [row.family in fold for row in rows], target, settings)
        ]
    return evaluation(how, outcomes)


def evaluation(how: str, outcomes: Sequence[Outcome]) -> Evaluation:
    """Accuracy of predictions, taken together in every way that the card shows."""
    whole = [o for o in outcomes if _is_whole(o.sample)]
    parts = [o for o in outcomes if not _is_whole(o.sample)]
    kinds = sorted({o.sample.signature.kind for o in outcomes})
    return Evaluation(
        how=how,
        groups=_accuracy([[o] for o in outcomes]),
        kinds=tuple((k, _accuracy([[o] for o in outcomes if o.sample.signature.kind == k])) for k in kinds),
        subgraphs=by_unit(parts, attrgetter("sample")),
        networks=by_unit(whole, attrgetter("network")) if whole else None,
    )


def predict_held_out(
    rows: Sequence[Sample], held: Sequence[bool], target: Target, settings: Settings
) -> list[Outcome]:
    """Trains without the rows held out and without any row of the same operator shape; predicts them."""
    test = [row for row, out in zip(rows, held, strict=True) if out]
    rest = [row for row, out in zip(rows, held, strict=True) if not out]
    model = train(without_shapes(rest, [row.signature for row in test]), target, settings, "").model
    estimates = model.predict([row.signature for row in test])
    return [Outcome(row, e.value, e.spread) for row, e in zip(test, estimates, strict=True)]


def without_shapes(rows: Iterable[Sample], signatures: Iterable[Signature]) -> list[Sample]:
    """The rows that share no operator shape with any of the signatures."""
    shapes = {signature.shape_key for signature in signatures}
    return [row for row in rows if row.signature.shape_key not in shapes]


def random_fifth(rows: Sequence[Sample]) -> frozenset[str]:
    """Names of a fixed random fifth of the measured subgraphs."""
    names = sorted({row.sample for row in rows})
    chosen = np.random.default_rng(0).permutation(len(names))[: max(len(names) // 5, 1)]
    return frozenset(names[i] for i in chosen)


def by_unit(outcomes: Iterable[Outcome], unit: Callable[[Sample], str]) -> Accuracy:
    """Accuracy of the sums over the groups of each unit."""
    found: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault(unit(outcome.sample), []).append(outcome)
    return _accuracy([found[name] for name in sorted(found)])


def _is_whole(sample: Sample) -> bool:
    """Whether the group belongs to a network that was measured completely."""
    return sample.network.startswith(WHOLE)


def family_folds(rows: Sequence[Sample], folds: int) -> list[frozenset[str]]:
    """Families dealt out so that folds have about equally many rows.

    Operators of random shapes are no family: they are in every training set.
    """
    families = [row.family for row in rows if row.family != OPERATOR_FAMILY]
    by_size = sorted(set(families), key=lambda family: (-families.count(family), family))
    dealt: list[list[str]] = [[] for _ in range(min(folds, len(by_size)))]
    for family in by_size:
        smallest = min(dealt, key=lambda fold: sum(families.count(name) for name in fold))
        smallest.append(family)
    return [frozenset(fold) for fold in dealt]


def _accuracy(units: Sequence[Sequence[Outcome]]) -> Accuracy:
    if not units:
        return Accuracy(0, 0.0, 0.0, 0.0, 0.0, 0.0)
    measured = np.array([sum(o.sample.latency_us for o in unit) for unit in units])
    predicted = np.array([sum(o.predicted for o in unit) for unit in units])
    spread = np.array([sqrt(sum(o.spread**2 for o in unit)) for unit in units])
    error = predicted / measured - 1.0
    return Accuracy(
        units=len(units),
        mape=float(100 * np.abs(error).mean()),
        bias=float(100 * error.mean()),
        within_5=_share(np.abs(error) <= 0.05),
        within_10=_share(np.abs(error) <= 0.10),
        covered=_share(np.abs(predicted - measured) <= 2 * spread),
    )


def _share(hits: npt.NDArray[np.bool_]) -> float:
    return float(100 * hits.mean())
