"""Loading cost models: the pinned one in this process, any other in a process of its own.

XGBoost's reader trusts its input: a file with one wrong bit can crash the process or give
garbage. The pinned file is the one that was written, bit by bit, so it is loaded here. A file
that somebody names is loaded by a worker, which may crash without harm.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from hwopt.cost.bundle import Bundle, unpack
from hwopt.cost.features import FEATURE_VERSION, Matrix, feature_names
from hwopt.cost.loading_worker import request
from hwopt.cost.model import Column, CostModel, in_process, load_booster, roofline_hash
from hwopt.errors import BadInput
from hwopt.oracles.workers import WorkerPool
from hwopt.target import CostModelPin, Target

TIMEOUT_S = 60.0
_LARGEST_LOG = 50.0  # of cycles over the roofline: nothing that was fitted says more


def load_cost_model(target: Target, file: Path | None = None) -> CostModel:
    """The target's cost model: the one that target.toml pins, or a file that the user names.

    file: loaded in a worker process, unless it is the pinned one; the model's target then pins it.
    Raises BadInput where there is none, where a file is not the pinned one, was fitted for other
    features, another target or other measurements, or cannot be loaded.
    """
    pin = target.cost_model
    if file is not None:
        bundle = unpack(file)
        _check_fits(bundle, target)
        pinned = pin is not None and bundle.sha256 == pin.sha256
        return _trusted(bundle, target) if pinned else _load_apart(bundle, target)
    if pin is None:
        raise BadInput(f"target {target.name} has no cost model: run `hwopt targets fit {target.name}`")
    path = target.folder / pin.file
    if pin.feature_version != FEATURE_VERSION:
        raise BadInput(_other_features(path, pin.feature_version, target))
    bundle = unpack(path, pin.sha256)
    _check_fits(bundle, target)
    if bundle.header.data_sha256 != pin.data_sha256:
        raise BadInput(
            f"{path}: fitted on other measurements than target.toml pins (data_sha256 differs); "
            f"run `hwopt targets fit {target.name}`"
        )
    return _trusted(bundle, target)


def _load_apart(bundle: Bundle, target: Target) -> CostModel:
    """A model that predicts in a worker process. Raises BadInput where the worker cannot load it."""
    members = _Apart(bundle)
    members(np.zeros((1, len(feature_names(target))), np.float32))  # a damaged file is found out here
    header = bundle.header
    pin = CostModelPin(str(bundle.path), bundle.sha256, header.feature_version, header.data_sha256)
    return CostModel(replace(target, cost_model=pin), header, members)


def _trusted(bundle: Bundle, target: Target) -> CostModel:
    return CostModel(target, bundle.header, in_process([load_booster(data) for data in bundle.boosters]))


def _check_fits(bundle: Bundle, target: Target) -> None:
    header = bundle.header
    if header.feature_version != FEATURE_VERSION:
        raise BadInput(_other_features(bundle.path, header.feature_version, target))
    if header.roofline != roofline_hash(target):
        raise BadInput(
            f"{target.folder / 'target.toml'}: hardware or memory tables changed since the cost model was "
            f"fitted; run `hwopt targets fit {target.name}`"
        )


def _other_features(path: Path, version: int, target: Target) -> str:
    return (
        f"{path}: fitted with features of version {version}, this hwopt "
        f"computes version {FEATURE_VERSION}; run `hwopt targets fit {target.name}`"
    )


class _Apart:
    """Members in a worker: it is sent the boosters once, and again after it had to be restarted."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._pool = WorkerPool("hwopt.cost.loading_worker:answer", 1, TIMEOUT_S)

    def __call__(self, matrix: Matrix) -> Column:
        result = self._ask(request(self._bundle.sha256, matrix, ()))
        if not result:
            result = self._ask(request(self._bundle.sha256, matrix, self._bundle.boosters))
        members = np.frombuffer(result, np.float64)
        expected = len(self._bundle.boosters) * len(matrix)
        if len(members) != expected or not np.all(np.abs(members) <= _LARGEST_LOG):
            raise self._damaged("its predictions are no numbers that make sense")
        return members.reshape(-1, len(matrix))

    def _ask(self, request: bytes) -> bytes:
        (result,) = self._pool.run([request])
        if not isinstance(result, bytes):
            raise self._damaged(str(getattr(result, "reason", "") or "it took too long"))
        return result

    def _damaged(self, why: str) -> BadInput:
        self._pool.close()
        return BadInput(
            f"{self._bundle.path}: this cost model cannot be loaded ({' '.join(why.split())}); "
            "use the pinned one or run `hwopt targets fit`"
        )
