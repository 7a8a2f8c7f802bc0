"""How wrong a prediction may be: spreads that keep what they promise, for groups and for sums.

Errors of groups that were held out of training are explained by what is known beforehand: how
much the members disagree, how far the shape is from any that was measured, and whether a word or
a size was never met. Errors of one model's groups are correlated: a share of the variance is
common to all groups, so a network's spread does not shrink as if its groups were independent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from hwopt.cost.dataset import Sample
from hwopt.cost.raw import table
from hwopt.cost.reach import Outside, reach_of

Column = npt.NDArray[np.float64]

SIGNS = ("disagreement", "distance", "strange", "beyond")
_PRIOR = np.array([0.8, 0.4, 0.4, 0.3])  # slopes as measured on the targets that ship
_PRIOR_WEIGHT = 10.0  # so many rows' worth; it decides where a fit has seen no case
_DEGREES = 4.0  # of Student's t: errors have far tails, and these must not decide the slopes
_TWO_SIGMA = 0.9545
_POOLED_ROWS = 50.0  # a kind with so many rows goes half by its own errors, half by all
_LEAST, _MOST = 0.001, 1.5  # of log latency
_USUAL_COMMON, _USUAL_WEIGHT = 0.1, 5.0  # share of variance that is common, where few units tell
_LEAST_GROUPS = 4  # of a unit that tells how errors add up
_NETWORK_GROUPS, _LEAST_NETWORKS = 20, 8  # of a unit that tells best; with so many of them, they alone do
_FAR_OUT = 3.0  # spreads: an error beyond counts as this much, or one unit would decide


@dataclass(frozen=True)
class Calibration:
    """From what is known of a prediction to its spread.

    level: per kind, log of the spread where all signs are 0; other: for kinds without errors.
    slopes: of SIGNS. common: share of a group's variance that all groups have in common.
    """

    level: Mapping[str, float] = field(default_factory=dict)
    other: float = -1.0
    slopes: tuple[float, ...] = (0.0,) * len(SIGNS)
    common: float = _USUAL_COMMON

    def spread(self, kinds: Sequence[str], signs: Column) -> Column:
        """One standard deviation of log latency per group; signs: [groups, SIGNS]."""
        level = np.array([self.level.get(kind, self.other) for kind in kinds])
        return np.asarray(np.clip(np.exp(level + signs @ np.array(self.slopes)), _LEAST, _MOST))

    def to_json(self) -> dict[str, object]:
        """JSON values; `from_json` reads them."""
        return {
            "level": dict(self.level),
            "other": self.other,
            "slopes": list(self.slopes),
            "common": self.common,
        }


@dataclass(frozen=True)
class Residual:
    """One held-out group: what was predicted and measured, in microseconds, and its signs.

    unit: what it was measured in and adds up with (a block, a network).
    """

    kind: str
    unit: str
    predicted_us: float
    measured_us: float
    signs: tuple[float, ...]


def from_json(table: Mapping[str, object]) -> Calibration:
    """The calibration written by `to_json`. Raises KeyError, TypeError or ValueError where it is none."""
    level, other, slopes, common = (table[name] for name in ("level", "other", "slopes", "common"))
    if not (isinstance(level, dict) and isinstance(slopes, list) and len(slopes) == len(SIGNS)):
        raise TypeError("not the calibration of a cost model")
    numbers = [float(slope) for slope in slopes]
    levels = {str(kind): float(value) for kind, value in level.items()}
    return Calibration(levels, float(str(other)), tuple(numbers), float(str(common)))


def signs_of(disagreement: Column, outside: Outside) -> Column:
    """The signs as a fit sees them, [groups, SIGNS].

    disagreement: standard deviation between the members, of log latency.
    """
    return np.column_stack(
        [
            np.log((disagreement + 0.003) / 0.01),
            np.log((outside.distance + 0.3) / 0.8),
            outside.strange.astype(np.float64),
            np.minimum(outside.excess, 4.0),
        ]
    )


def calibrate(residuals: Sequence[Residual]) -> Calibration:
    """The calibration that makes two spreads hold 95% of these errors, of groups and of sums.

    One spread holds 68% or more: errors of groups have farther tails than a normal distribution.
    Groups that were free (0 us) have no relative error; they count in sums.
    """
    timed = [r for r in residuals if r.predicted_us > 0 and r.measured_us > 0]
    if not timed:
        return Calibration()
    signs = np.array([r.signs for r in timed])
    kinds = np.array([r.kind for r in timed])
    errors = np.log([r.predicted_us / r.measured_us for r in timed])
    slopes, level = _scale(signs, kinds, errors)
    base = np.array([level[kind] for kind in kinds]) + signs @ slopes
    found, other = _levels(kinds, np.abs(errors) * np.exp(-base), level)
    rounded = tuple(round(float(slope), 4) for slope in slopes)
    alone = Calibration(found, other, rounded, 0.0)
    spreads = alone.spread([r.kind for r in residuals], np.array([r.signs for r in residuals]))
    return Calibration(found, other, rounded, _common(residuals, spreads))


def _scale(signs: Column, kinds: npt.NDArray[np.str_], errors: Column) -> tuple[Column, dict[str, float]]:
    """Slopes of the signs and a level per kind, by the likelihood of Student's t."""
    words = sorted(set(kinds.tolist()))
    one_hot = (kinds[:, None] == np.array(words)).astype(np.float64)
    matters = np.ptp(signs, axis=0) > 0  # a sign that never changes has no slope
    prior = np.where(matters, _PRIOR, 0.0)
    design = np.hstack([signs, one_hot])
    count = len(SIGNS)

    def loss(w: Column) -> tuple[float, Column]:
        logs = design @ w
        squares = (errors * np.exp(-logs)) ** 2
        tail = (_DEGREES + 1) / 2 * np.log1p(squares / _DEGREES)
        slope = design.T @ (1 - (_DEGREES + 1) * squares / (_DEGREES + squares))
        off, apart = w[:count] - prior, w[count:] - w[count:].mean()
        slope[:count] += _PRIOR_WEIGHT * off
        slope[count:] += 2 * apart
        return float((logs + tail).sum() + _PRIOR_WEIGHT / 2 * off @ off + apart @ apart), slope

    bounds = [(0.0, 3.0) if m else (0.0, 0.0) for m in matters] + [(-9.0, 1.0)] * len(words)
    start = np.concatenate([prior, np.full(len(words), -3.5)])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return found[:count], dict(zip(words, found[count:].tolist(), strict=True))


def _levels(
    kinds: npt.NDArray[np.str_], scaled: Column, level: Mapping[str, float]
) -> tuple[dict[str, float], float]:
    """Levels moved so that two spreads hold 95% of the scaled errors; few rows go along with all."""
    overall = _half_width(scaled)
    result = {}
    for kind, value in level.items():
        own = scaled[kinds == kind]
        weight = len(own) / (len(own) + _POOLED_ROWS)
        shift = weight * np.log(_half_width(own)) + (1 - weight) * np.log(overall)
        result[kind] = round(float(value + shift), 4)
    return result, max(result.values())


def _half_width(errors: Column) -> float:
    return max(float(np.quantile(errors, _TWO_SIGMA)) / 2, 1e-6)


def _common(residuals: Sequence[Residual], spread: Column) -> float:
    """The share of variance in common that makes errors of sums as large as they are.

    Whole networks and blocks of several groups tell; where there are few of them, the usual share.
    """
    units: dict[str, list[int]] = defaultdict(list)
    for number, residual in enumerate(residuals):
        units[residual.unit].append(number)
    members = [numbers for _, numbers in sorted(units.items())]
    networks = [numbers for numbers in members if len(numbers) >= _NETWORK_GROUPS]
    if len(networks) < _LEAST_NETWORKS:
        networks = [numbers for numbers in members if len(numbers) >= _LEAST_GROUPS]
    if not networks:
        return _USUAL_COMMON
    sums = [_sums(residuals, spread, numbers) for numbers in networks]
    error, own, together = (np.array(column) for column in zip(*sums, strict=True))
    share = _share(error, own, together)
    weight = len(sums) / (len(sums) + _USUAL_WEIGHT)
    return round(weight * share + (1 - weight) * _USUAL_COMMON, 4)


def _sums(
    residuals: Sequence[Residual], spread: Column, members: Sequence[int]
) -> tuple[float, float, float]:
    """(error of the sum)^2, its variance if errors were independent, and if they were one error.

    Equal predictions are those of equal subgraphs, which are wrong alike.
    """
    error = sum(residuals[i].predicted_us - residuals[i].measured_us for i in members)
    alike: dict[tuple[float, float], float] = defaultdict(float)
    for i in members:
        size = residuals[i].predicted_us * float(spread[i])
        alike[residuals[i].predicted_us, float(spread[i])] += size
    return error**2, sum(s * s for s in alike.values()), sum(alike.values()) ** 2


def _share(error: Column, own: Column, together: Column) -> float:
    """Bisection: the smallest share with which squared errors over variances are 1 on average."""
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        ratios = error / ((1 - middle) * own + middle * together)
        if np.minimum(ratios, _FAR_OUT**2).mean() > 1.0:
            low = middle
        else:
            high = middle
    return high


def out_of_bag(
    rows: Sequence[Sample], left_out: Sequence[npt.NDArray[np.int64]], errors: Sequence[Column], context: bool
) -> list[Residual]:
    """Residuals of each member where it was not trained: what a fit knows of itself without judging.

    left_out: per member, indices of rows; errors: measured minus predicted log latency there. One
    member's errors are larger than those of their mean, and nothing disagrees: a judged fit does
    better.
    """
    signatures = [row.signature for row in rows]
    numbers = table(signatures)
    found = []
    for member, (indices, error) in enumerate(zip(left_out, errors, strict=True)):
        kept = np.setdiff1d(np.arange(len(rows)), indices)
        reach = reach_of([signatures[i] for i in kept], _taken(numbers, kept), context)
        outside = reach.outside([signatures[i] for i in indices], _taken(numbers, indices))
        signs = signs_of(np.full(len(indices), 0.007), outside)
        found += [
            residual_of(rows[i], rows[i].latency_us * float(np.exp(-e)), tuple(s), f"{member} ")
            for i, e, s in zip(indices.tolist(), error, signs.tolist(), strict=True)
        ]
    return found


def residual_of(row: Sample, predicted_us: float, signs: tuple[float, ...], prefix: str = "") -> Residual:
    """A measured group and what was predicted of it; prefix: keeps units of several models apart."""
    return Residual(row.signature.kind, prefix + row.sample, predicted_us, row.latency_us, signs)


def _taken(rows: Mapping[str, Column], indices: npt.NDArray[np.int64]) -> dict[str, Column]:
    return {name: column[indices] for name, column in rows.items()}
