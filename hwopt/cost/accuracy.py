"""How good a cost model is on networks that it has never seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from hwopt.cost.dataset import Sample
from hwopt.cost.training import Settings, train, usable
from hwopt.cost.uncertainty import Calibration, calibrate, residual_of
from hwopt.estimate import Estimate, Source, total
from hwopt.signature import Signature
from hwopt.target import Target

OPERATOR_FAMILY = "operators"  # as the sampler calls operators of random shapes
WHOLE = "whole-"  # as the sampler names networks that are measured completely

Column = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Accuracy:
    """Relative errors of one kind of unit, in percent, and how honest the spread was.

    bias: mean signed error. within_5, within_10: share of units. covered: share whose error is
        within two predicted standard deviations (95% if the spread is right), covered_1: within one.
    """

    units: int
    mape: float
    bias: float
    within_5: float
    within_10: float
    covered: float
    covered_1: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """One measured figure beside its prediction, in microseconds; signs: of how wrong it may be."""

    sample: Sample
    predicted: float
    spread: float
    common: float = 0.0
    extrapolated: bool = False
    signs: tuple[float, ...] = ()

    @property
    def estimate(self) -> Estimate:
        """The prediction."""
        return Estimate(self.predicted, self.spread, Source.PREDICTED, self.common, self.extrapolated)


@dataclass(frozen=True)
class Evaluation:
    """Accuracy on what was left out of training, where no operator of the same shape was trained on.

    how: what was left out. groups, kinds: fused operator groups. subgraphs: sums over what was
    measured as one. networks: None where the data has no network that was measured as a whole.
    extrapolated: the groups that were flagged. calibration: of spreads by all these errors; the
    spreads that are judged are those of a calibration that has not seen the unit.
    """

    how: str
    groups: Accuracy
    kinds: tuple[tuple[str, Accuracy], ...]
    subgraphs: Accuracy
    networks: Accuracy | None
    extrapolated: Accuracy | None = None
    calibration: Calibration | None = None


def cross_validate(
    samples: Sequence[Sample],
    target: Target,
    settings: Settings,
    folds: int = 4,
    judged: int | None = None,
    progress: Callable[[int], None] = lambda trained: None,
) -> Evaluation:
    """Judges a recipe family by family, with one training for each fold.

    judged: how many of the folds are tried; None for all. progress: is told how many trainings are done.
    Data of fewer than two families is judged on a random fifth of its subgraphs.
    """
    rows = usable(samples)
    held = family_folds(rows, folds)[:judged]
    how = "families of networks" if judged is None or judged >= folds else "a part of the families"
    if len({row.family for row in rows} - {OPERATOR_FAMILY}) < 2:
        how, fifth = "a random fifth of the subgraphs", random_fifth(rows)
        parts = [predict_held_out(rows, [row.sample in fifth for row in rows], target, settings)]
    else:
        parts = []
        for fold in held:
            parts.append(predict_held_out(rows, [row.family in fold for row in rows], target, settings))
            progress(len(parts))
    found = evaluation(how, [outcome for part in crosswise(parts) for outcome in part])
    return replace(found, calibration=calibrated([outcome for part in parts for outcome in part]))


def calibrated(outcomes: Iterable[Outcome]) -> Calibration:
    """The calibration of spreads by the errors of these predictions."""
    return calibrate([residual_of(o.sample, o.predicted, o.signs) for o in outcomes])


def crosswise(parts: Sequence[Sequence[Outcome]]) -> list[list[Outcome]]:
    """The same outcomes with the spreads of a calibration on the other parts.

    A single part is cut into halves by the names of its subgraphs first.
    """
    if len(parts) == 1:
        names = sorted({o.sample.sample for o in parts[0]})
        first = set(names[::2])
        parts = [[o for o in parts[0] if (o.sample.sample in first) == half] for half in (True, False)]
    found = []
    for number, part in enumerate(parts):
        others = [o for i, other in enumerate(parts) if i != number for o in other]
        found.append(_respread(part, calibrated(others)) if others else list(part))
    return found


def _respread(outcomes: Sequence[Outcome], calibration: Calibration) -> list[Outcome]:
    """The outcomes with the spreads that a calibration gives them."""
    if not outcomes:
        return []
    kinds = [o.sample.signature.kind for o in outcomes]
    spreads = calibration.spread(kinds, np.array([o.signs for o in outcomes])).tolist()
    share = sqrt(calibration.common)
    return [
        replace(o, spread=o.predicted * spread, common=o.predicted * spread * share)
        for o, spread in zip(outcomes, spreads, strict=True)
    ]


def evaluation(how: str, outcomes: Sequence[Outcome]) -> Evaluation:
    """Accuracy of predictions, taken together in every way that the card shows."""
    whole = [o for o in outcomes if _is_whole(o.sample)]
    parts = [o for o in outcomes if not _is_whole(o.sample)]
    kinds = sorted({o.sample.signature.kind for o in outcomes})
    flagged = [[o] for o in outcomes if o.extrapolated]
    return Evaluation(
        how=how,
        groups=_accuracy([[o] for o in outcomes]),
        kinds=tuple((k, _accuracy([[o] for o in outcomes if o.sample.signature.kind == k])) for k in kinds),
        subgraphs=by_unit(parts, attrgetter("sample")),
        networks=by_unit(whole, attrgetter("network")) if whole else None,
        extrapolated=_accuracy(flagged) if flagged else None,
    )


def predict_held_out(
    rows: Sequence[Sample], held: Sequence[bool], target: Target, settings: Settings
) -> list[Outcome]:
    """Trains without the rows held out and without any row of the same operator shape; predicts them."""
    test = [row for row, out in zip(rows, held, strict=True) if out]
    rest = [row for row, out in zip(rows, held, strict=True) if not out]
    model = train(without_shapes(rest, [row.signature for row in test]), target, settings, "").model
    signatures = [row.signature for row in test]
    if not signatures:
        return []
    return [
        Outcome(row, e.value, e.spread, e.common, e.extrapolated, tuple(signs))
        for row, e, signs in zip(
            test, model.predict(signatures), model.signs(signatures).tolist(), strict=True
        )
    ]


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
    """Relative errors of sums; what was free has none."""
    units = [unit for unit in units if sum(o.sample.latency_us for o in unit) > 0]
    if not units:
        return Accuracy(0, 0.0, 0.0, 0.0, 0.0, 0.0)
    measured = np.array([sum(o.sample.latency_us for o in unit) for unit in units])
    predicted = np.array([sum(o.predicted for o in unit) for unit in units])
    spread = np.array([total(o.estimate for o in unit).spread for unit in units])
    error = predicted / measured - 1.0
    return Accuracy(
        units=len(units),
        mape=float(100 * np.abs(error).mean()),
        bias=float(100 * error.mean()),
        within_5=_share(np.abs(error) <= 0.05),
        within_10=_share(np.abs(error) <= 0.10),
        covered=_share(np.abs(predicted - measured) <= 2 * spread),
        covered_1=_share(np.abs(predicted - measured) <= spread),
    )


def _share(hits: npt.NDArray[np.bool_]) -> float:
    return float(100 * hits.mean())
