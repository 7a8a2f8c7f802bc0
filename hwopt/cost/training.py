"""Training: three boosters on the residual to the roofline, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xgboost

from hwopt.cost.bundle import Header
from hwopt.cost.dataset import Sample
from hwopt.cost.features import FEATURE_VERSION, Matrix, features
from hwopt.cost.free import classes, fit_free, free_kinds
from hwopt.cost.model import CostModel, load_booster, roofline_hash
from hwopt.cost.raw import table
from hwopt.cost.reach import reach_of
from hwopt.cost.uncertainty import calibrate, out_of_bag
from hwopt.cost.viewing import choose_view
from hwopt.signature import VIEW, WEIGHTED_KINDS
from hwopt.target import Target

_LEAST_RESIDUALS = 30  # of one kind: below, the spread of all kinds together is used
_LEAST_SPREAD = 0.002
_FOLDS = 6  # each member leaves out another sixth of the samples

Column = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """Size and speed of training. Deeper and longer is more accurate, larger and slower."""

    depth: int = 11
    rounds: int = 350
    eta: float = 0.07
    subsample: float = 0.8
    columns: float = 0.5
    min_child_weight: float = 2.0
    members: int = 3
    seed: int = 0


@dataclass(frozen=True)
class Trained:
    """A cost model and the bytes of its boosters."""

    model: CostModel
    header: Header
    boosters: tuple[bytes, ...]


def usable(samples: Sequence[Sample]) -> list[Sample]:
    """The rows that a model can learn from: all but views, which are free by definition.

    A latency of 0 is a datum where an operator can run inside its neighbour; one with weights of its
    own cannot: a compiler that has no time for it threw it away.
    """
    return [s for s in samples if s.signature.kind != VIEW and (s.latency_us > 0 or _may_be_free(s))]


def _may_be_free(sample: Sample) -> bool:
    return sample.latency_us == 0 and sample.signature.kind not in WEIGHTED_KINDS


def train(samples: Sequence[Sample], target: Target, settings: Settings, data_sha256: str) -> Trained:
    """Fits the members on log(cycles / roofline), squared error, and who runs for free beside them.

    Each member leaves out its own share of the measured subgraphs; their residuals there give
    the spread. Single-threaded and seeded: equal input gives equal bytes.
    """
    everything = usable(samples)
    rows = [s for s in everything if s.latency_us > 0]
    view = choose_view(rows, target)
    matrix, base = features([s.signature for s in everything], target, view)
    cycles = np.array([s.latency_us * target.clock_mhz for s in everything])
    words = classes([s.signature for s in everything])
    free = fit_free(matrix, words, cycles)
    extras = {name: bytes(b.save_raw("ubj")) for name, b in (("stream", view.stream), ("free", free)) if b}
    took = cycles > 0
    matrix, residual = matrix[took], np.log(cycles[took]) - base[took]
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
    raw += extras.values()
    header = Header(
        feature_version=FEATURE_VERSION,
        roofline=roofline_hash(target),
        streamed=view.streamed,
        context=view.context,
        rates=view.rates,
        data_sha256=data_sha256,
        rows=count_kinds(everything),
        spread=_spread_by_kind(np.concatenate(errors), kinds),
        member_weight=1.0,
        sizes=tuple(map(len, raw)),
        extras=tuple(extras),
        tiling=view.tiling,
        free_kinds=free_kinds(words, cycles),
        calibration=calibrate(out_of_bag(rows, left_outs, errors, view.context)).to_json(),
        reach=reach_of(
            [s.signature for s in everything], table([s.signature for s in everything]), view.context
        ).to_json(),
    )
    boosters = [load_booster(data) for data in raw]
    return Trained(CostModel(target, header, boosters), header, tuple(raw))


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
