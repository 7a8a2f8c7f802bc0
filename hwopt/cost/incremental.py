"""Adding measurements to a fitted model without starting from nothing.

Boosting goes on where it stopped: a few more rounds on all rows, the new ones counted more than
once, with the base and the rates as they were. The result is as large as a few more rounds, and
knows the new rows' surroundings; the spreads' calibration stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xgboost

from hwopt.cost.bundle import Bundle, Header, pack, unpack
from hwopt.cost.dataset import FILE_NAME, Sample, read_with_hash
from hwopt.cost.features import features_of
from hwopt.cost.fit import pin_model
from hwopt.cost.loading import check_fits
from hwopt.cost.model import CostModel, load_booster, view_of
from hwopt.cost.raw import table
from hwopt.cost.reach import reach_of
from hwopt.cost.training import Settings, Trained, booster_parameters, count_kinds, folds_of, usable
from hwopt.errors import BadInput
from hwopt.target import Target, read_target

ROUNDS = 60
NEW_WEIGHT = 3.0
LARGEST_SHARE = 0.3  # of new rows: beyond, a fit from the start is worth its time


@dataclass(frozen=True)
class Refitted:
    """What an incremental fit wrote. new: how many rows it had not seen."""

    path: Path
    bytes: int
    sha256: str
    new: int


def refit_folder(folder: Path, settings: Settings | None = None, rounds: int = ROUNDS) -> Refitted:
    """Adds the rows that were appended to FOLDER's measurements since the last fit, and pins the result.

    What `hwopt targets fit NAME --incremental` does; the card is left alone. Raises BadInput where
    there is no pinned model, nothing was added, more than a third was added, or rows that the
    model was fitted on are not there any more: then a fit from the start is needed.
    """
    target = read_target(folder)
    if target.cost_model is None:
        raise BadInput(f"target {target.name} has no cost model yet: run `hwopt targets fit {target.name}`")
    path = folder / target.cost_model.file
    bundle = unpack(path, target.cost_model.sha256)
    check_fits(bundle, target)
    samples, data_sha256 = read_with_hash(folder / FILE_NAME)
    old, new = split(bundle.header, usable(samples), folder / FILE_NAME)
    trained = refit(bundle, old, new, target, settings or Settings(), data_sha256, rounds)
    packed = pack(trained.header, trained.boosters)
    sha256 = hashlib.sha256(packed).hexdigest()
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(packed)
    temporary.replace(path)
    pin_model(folder / "target.toml", sha256, data_sha256)
    return Refitted(path, len(packed), sha256, len(new))


def split(header: Header, rows: Sequence[Sample], data: Path) -> tuple[list[Sample], list[Sample]]:
    """The rows that a model was fitted on, and those that came behind them.

    Raises BadInput where an incremental fit makes no sense.
    """
    known = sum(header.rows.values())
    old, new = list(rows[:known]), list(rows[known:])
    if count_kinds(old) != dict(header.rows):
        raise BadInput(
            f"{data}: rows were taken away or changed since the last fit; fit without --incremental"
        )
    if not new:
        raise BadInput(f"{data}: nothing was measured since the last fit")
    if len(new) > LARGEST_SHARE * len(rows):
        raise BadInput(f"{data}: {len(new)} of {len(rows)} rows are new; fit without --incremental")
    return old, new


def refit(
    bundle: Bundle,
    old: Sequence[Sample],
    new: Sequence[Sample],
    target: Target,
    settings: Settings,
    data_sha256: str = "",
    rounds: int = ROUNDS,
) -> Trained:
    """The bundle's members, boosted on for some rounds on old and new rows.

    Each member still leaves out its own share of the old rows, so the members go on disagreeing
    where little was measured. Deterministic.
    """
    rows = [*old, *new]
    signatures = [row.signature for row in rows]
    numbers = table(signatures)
    header = bundle.header
    extras = dict(
        zip(header.extras, bundle.boosters[len(bundle.boosters) - len(header.extras) :], strict=True)
    )
    stream = load_booster(extras["stream"]) if "stream" in extras else None
    matrix, base = features_of(numbers, target, view_of(header, stream))
    took = np.array([row.latency_us > 0 for row in rows])
    residual = np.log([max(row.latency_us * target.clock_mhz, 1e-9) for row in rows]) - base
    weights = np.concatenate([np.ones(len(old)), np.full(len(new), NEW_WEIGHT)])
    fold = np.concatenate([folds_of(old, settings.seed), np.full(len(new), -1)])
    raw = []
    members = len(bundle.boosters) - len(header.extras)
    for member, data in enumerate(bundle.boosters[:members]):
        kept = (fold != member) & took
        matrices = xgboost.DMatrix(matrix[kept], label=residual[kept], weight=weights[kept], nthread=1)
        parameters = booster_parameters(settings, settings.seed + 1000 + member)
        booster = xgboost.train(parameters, matrices, num_boost_round=rounds, xgb_model=load_booster(data))
        raw.append(bytes(booster.save_raw("ubj")))
    raw += bundle.boosters[members:]
    header = replace(
        header,
        data_sha256=data_sha256,
        rows=count_kinds(rows),
        sizes=tuple(map(len, raw)),
        reach=reach_of(signatures, numbers, header.context).to_json(),
    )
    return Trained(CostModel(target, header, [load_booster(data) for data in raw]), header, tuple(raw))
