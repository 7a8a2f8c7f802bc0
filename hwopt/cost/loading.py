"""Loading cost models: those of targets that are installed here in this process, any other in one of its own.

XGBoost's reader trusts its input: a file with one wrong bit can crash the process or give
garbage. The pinned file of a target that is found by its name is the one that was written, bit by bit, and
whoever put the target there vouches for it: it is loaded here. A file that somebody names, and the
one of a folder that somebody names, which may have come from anywhere together with its pin, are loaded by
a worker, which may crash without harm and holds a bounded amount of memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hwopt.cost.bundle import Bundle, unpack
from hwopt.cost.features import FEATURE_VERSION
from hwopt.cost.loading_worker import Figures, read_answer, request, trial
from hwopt.cost.model import CostModel, load_booster, roofline_hash
from hwopt.errors import BadInput, reason_of
from hwopt.estimate import Estimate, Source
from hwopt.files.untrusted import shorten
from hwopt.oracles.workers import WorkerPool
from hwopt.signature import Signature
from hwopt.target.file import CostModelPin, Target
from hwopt.target.folders import target_folders

TIMEOUT_S = 60.0
_LONGEST_REASON = 160
_LARGEST_US = 1e12  # eleven days: no group takes longer


def load_cost_model(target: Target, file: Path | None = None) -> CostModel:
    """The target's cost model: the one that target.toml pins, or a file that the user names.

    file: loaded in a worker process, unless it is the pinned one; the model's target then pins it. What a
        folder pins that is none of the installed targets is loaded in a worker, too.
    Raises BadInput where there is none, where a file is not the pinned one, was fitted for other
    features, another target or other measurements, or cannot be loaded.
    """
    pin = target.cost_model
    if file is not None:
        bundle = unpack(file)
        check_fits(bundle, target)
        return _loaded(bundle, target)
    if pin is None:
        raise BadInput(f"target {target.name} has no cost model: run `hwopt targets fit {target.name}`")
    path = target.folder / pin.file
    if pin.feature_version != FEATURE_VERSION:
        raise BadInput(_other_features(path, pin.feature_version, target))
    bundle = unpack(path, pin.sha256)
    check_fits(bundle, target)
    if bundle.header.data_sha256 != pin.data_sha256:
        raise BadInput(
            f"{path}: fitted on other measurements than target.toml pins (data_sha256 differs); "
            f"run `hwopt targets fit {target.name}`"
        )
    return _loaded(bundle, target)


def _loaded(bundle: Bundle, target: Target) -> CostModel:
    """Here, where the bundle is what an installed target pins, else in a worker."""
    pinned = target.cost_model is not None and bundle.sha256 == target.cost_model.sha256
    if pinned and is_installed(target):
        return CostModel(target, bundle.header, [load_booster(data) for data in bundle.boosters])
    try:
        return UnpinnedModel(target, bundle)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:  # what its header says
        raise BadInput(
            f"{bundle.path}: this cost model cannot be used ({shorten(reason_of(error))})"
        ) from None


def is_installed(target: Target) -> bool:
    """Whether the target is one that its name finds: shipped, the user's own, or of an installed package."""
    return target.folder.resolve() in {folder.resolve() for folder in target_folders().values()}


def check_fits(bundle: Bundle, target: Target) -> None:
    """Raises BadInput where the file was fitted for other features or another roofline."""
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


class UnpinnedModel(CostModel):
    """A cost model that predicts in a worker process.

    The worker reads the same file again, by its SHA-256. Raises BadInput where it cannot be
    loaded there, or where what it says makes no sense.
    """

    def __init__(self, target: Target, bundle: Bundle) -> None:
        header = bundle.header
        pin = CostModelPin(str(bundle.path), bundle.sha256, header.feature_version, header.data_sha256)
        known = target.cost_model is not None and target.cost_model.sha256 == bundle.sha256
        super().__init__(target if known else replace(target, cost_model=pin), header, ())
        self._bundle = bundle
        self._pool = WorkerPool("hwopt.cost.loading_worker:answer", 1, TIMEOUT_S)
        self._price(trial(sorted(header.rows)))  # a damaged file is found out here and now

    def _price(self, signatures: Sequence[Signature]) -> list[Estimate]:
        folder, path = str(self.target.folder), str(self._bundle.path)
        (result,) = self._pool.run([request(folder, path, self._bundle.sha256, signatures)])
        if not isinstance(result, bytes):
            raise self._damaged(str(getattr(result, "reason", "")) or f"no answer in {TIMEOUT_S:g} s")
        figures = read_answer(result)
        if len(figures) != len(signatures) or not all(map(_sensible, figures)):
            raise self._damaged("its predictions are no latencies")
        return [Estimate(value, wide, Source.PREDICTED, common, far) for value, wide, common, far in figures]

    def _damaged(self, why: str) -> BadInput:
        self._pool.close()
        short = shorten(why.split("Stack trace")[0], _LONGEST_REASON)
        return BadInput(
            f"{self._bundle.path}: this cost model cannot be used ({short}); "
            "leave out --cost-model or run `hwopt targets fit`"
        )


def _sensible(figures: Figures) -> bool:
    return all(math.isfinite(f) and 0 <= f < _LARGEST_US for f in figures[:3])
