"""Training: three boosters on the residual to the roofline, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xgboost

from hwopt.cost.bundle import Header
from hwopt.cost.dataset import Sample
from hwopt.cost.features import FEATURE_VERSION, Matrix, View, features
from hwopt.cost.model import CostModel, load_booster, roofline_hash
from hwopt.cost.rates import fit_rates
from hwopt.cost.raw import table
from hwopt.cost.reach import reach_of
from hwopt.cost.roofline import roofline
from hwopt.cost.uncertainty import calibrate, out_of_bag
from hwopt.signature import GRAPH_INPUT, GRAPH_OUTPUT, VIEW
from hwopt.target import Target

_LEAST_RESIDUALS = 30  # of one kind: below, the spread of all kinds together is used
_LEAST_SPREAD = 0.002
_FOLDS = 6  # each member leaves out another sixth of the samples

Column = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """Size and speed of training. Deeper and longer is more accurate, larger and slower."""

    depth: int = 8
    rounds: int = 300
    eta: float = 0.08
    subsample: float = 0.8
    columns: float = 0.5
    min_child_weight: float = 1.0
    members: int = 3
    seed: int = 0


@dataclass(frozen=True)
class Trained:
    """A cost model and the bytes of its boosters."""

    model: CostModel
    header: Header
    boosters: tuple[bytes, ...]


def usable(samples: Sequence[Sample]) -> list[Sample]:
    """The rows that a model can learn from: views are free by definition, and no time is no datum."""
    return [s for s in samples if s.signature.kind != VIEW and s.latency_us > 0]


def train(samples: Sequence[Sample], target: Target, settings: Settings, data_sha256: str) -> Trained:
    """Fits the members on log(cycles / roofline), squared error.

    Each member leaves out its own share of the measured subgraphs; their residuals there give
    the spread. Single-threaded and seeded: equal input gives equal bytes.
    """
    rows = usable(samples)
    view = _view(rows, target)
    matrix, base = features([s.signature for s in rows], target, view)
    residual = _log_cycles(rows, target) - base
    fold = folds_of(rows, settings.seed)
    raw, errors, kinds, left_outs = [], [], [], []
    for member in range(settings.members):
        kept = fold != member
        booster = _boost(matrix[kept], residual[kept], settings, settings.seed + member)
        left_out = np.flatnonzero(~kept)
        errors.append(residual[left_out] - booster.inplace_predict(matrix[left_out]))
        kinds += [rows[i].signature.kind for i in left_out]
        left_outs.append(left_out)
        raw.append(bytes(booster.save_raw("ubj")))
    header = Header(
        feature_version=FEATURE_VERSION,
        roofline=roofline_hash(target),
        streamed=view.streamed,
        context=view.context,
        rates=view.rates,
        data_sha256=data_sha256,
        rows=count_kinds(rows),
        spread=_spread_by_kind(np.concatenate(errors), kinds),
        member_weight=1.0,
        sizes=tuple(map(len, raw)),
        calibration=calibrate(out_of_bag(rows, left_outs, errors, view.context)).to_json(),
        reach=reach_of(
            [s.signature for s in rows], table([s.signature for s in rows]), view.context
        ).to_json(),
    )
    boosters = [load_booster(data) for data in raw]
    return Trained(CostModel(target, header, boosters), header, tuple(raw))


def _log_cycles(rows: Sequence[Sample], target: Target) -> Column:
    return np.asarray(np.log([row.latency_us * target.clock_mhz for row in rows]))


def _view(rows: Sequence[Sample], target: Target) -> View:
    """How to look at rows: with the roofline that leaves less to explain, and fitted rates."""
    numbers = table([row.signature for row in rows])
    log_cycles = _log_cycles(rows, target)
    bounds = {streamed: roofline(numbers, target, streamed) for streamed in (False, True)}
    left = {streamed: np.var(log_cycles - np.log(b.cycles)) for streamed, b in bounds.items()}
    streamed = bool(left[True] < left[False])
    return View(streamed, _has_context(rows), fit_rates(numbers, bounds[streamed], target, log_cycles))


def _has_context(rows: Sequence[Sample]) -> bool:
    """Whether most rows were measured between neighbours rather than alone."""
    ends = (GRAPH_INPUT, GRAPH_OUTPUT)
    alone = sum(set(row.signature.producers + row.signature.consumers) <= set(ends) for row in rows)
    return alone < len(rows) / 2


def folds_of(rows: Sequence[Sample], seed: int) -> npt.NDArray[np.int64]:
    """A fold for every row; rows that were measured as one stay together."""
    names = sorted({row.sample for row in rows})
    order = np.random.default_rng(seed).permutation(len(names))
    fold = {name: int(order[i]) % _FOLDS for i, name in enumerate(names)}
    return np.array([fold[row.sample] for row in rows], np.int64)


def _boost(matrix: Matrix, residual: Column, settings: Settings, seed: int) -> xgboost.Booster:
    data = xgboost.DMatrix(matrix, label=residual, nthread=1)
    return xgboost.train(booster_parameters(settings, seed), data, num_boost_round=settings.rounds)


def booster_parameters(settings: Settings, seed: int) -> dict[str, str | int | float]:
    """What XGBoost is told for one member."""
    return {
        "objective": "reg:squarederror",
        "tree_method": "hist",
        "max_bin": 256,
        "max_depth": settings.depth,
        "eta": settings.eta,
        "subsample": settings.subsample,
        "colsample_bytree": settings.columns,
        "min_child_weight": settings.min_child_weight,
        "nthread": 1,
        "seed": seed,
    }


def count_kinds(rows: Sequence[Sample]) -> dict[str, int]:
    """How many rows there are of each kind."""
    kinds = [row.signature.kind for row in rows]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def _spread_by_kind(errors: Column, kinds: Sequence[str]) -> dict[str, float]:
    """Root mean square of out-of-bag residuals per kind, without the last percent of outliers."""
    words = np.array(kinds)
    overall = _spread(errors)
    result = {}
    for kind in sorted(set(kinds)):
        own = errors[words == kind]
        result[kind] = round(_spread(own) if len(own) >= _LEAST_RESIDUALS else overall, 6)
    return result


def _spread(errors: Column) -> float:
    if not len(errors):
        return _LEAST_SPREAD
    clipped = np.minimum(np.abs(errors), np.quantile(np.abs(errors), 0.99))
    return max(float(np.sqrt(np.mean(clipped**2))), _LEAST_SPREAD)
