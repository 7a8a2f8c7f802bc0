"""The cost model: signatures in, latencies with their uncertainty out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import xgboost

from hwopt.cost.bundle import Header, unpack
from hwopt.cost.features import FEATURE_VERSION, Matrix, View, features
from hwopt.errors import BadInput
from hwopt.estimate import Estimate, Source
from hwopt.signature import VIEW, Signature
from hwopt.target import Target

_REMEMBERED = 200_000
_UNKNOWN_SPREAD = 0.7  # of log latency: a factor of two, where nothing like it was measured
_FREE = Estimate(0.0, 0.0, Source.COMPUTED)

Column = npt.NDArray[np.float64]


class CostModel:
    """Prices fused operator groups of one target. Answers are remembered by signature."""

    def __init__(self, target: Target, header: Header, boosters: Sequence[xgboost.Booster]) -> None:
        self.target = target
        self.header = header
        self._view = View(header.streamed, header.context, header.rates)
        self._boosters = tuple(boosters)
        self._known: dict[Signature, Estimate] = {}

    def knows(self, signature: Signature) -> bool:
        """Whether operators of this kind were measured: without, a price is a roofline and a guess."""
        return signature.kind == VIEW or self.header.rows.get(signature.kind, 0) > 0

    def predict(self, signatures: Sequence[Signature]) -> list[Estimate]:
        """Latency in microseconds of each group, in order; views cost nothing.

        One standard deviation stands beside each value. Kinds that were never measured get the
        roofline with a spread of a factor of two: ask `knows`, and call them unpriced.
        """
        if len(self._known) > _REMEMBERED:
            self._known.clear()
        new = list(dict.fromkeys(s for s in signatures if s.kind != VIEW and s not in self._known))
        if new:
            self._known.update(zip(new, self._price(new), strict=True))
        return [_FREE if s.kind == VIEW else self._known[s] for s in signatures]

    def log_cycles(self, signatures: Sequence[Signature]) -> tuple[Column, Column]:
        """Mean and standard deviation of the logarithm of cycles, one entry per signature."""
        matrix, base = features(signatures, self.target, self._view)
        members = predict_members(self._boosters, matrix)
        spread = np.array([self.header.spread.get(s.kind, _UNKNOWN_SPREAD) for s in signatures])
        disagreement = members.var(axis=0, ddof=1) * self.header.member_weight
        return base + members.mean(axis=0), np.sqrt(spread**2 + disagreement)

    def _price(self, signatures: Sequence[Signature]) -> list[Estimate]:
        mean, spread = self.log_cycles(signatures)
        latency = np.exp(mean) / self.target.clock_mhz
        return [
            Estimate(float(value), float(value * relative), Source.PREDICTED)
            for value, relative in zip(latency, spread, strict=True)
        ]


def predict_members(boosters: Sequence[xgboost.Booster], matrix: Matrix) -> Column:
    """Residual to the log roofline by each member, [members, rows]."""
    return np.array([booster.inplace_predict(matrix) for booster in boosters], np.float64)


def load_cost_model(target: Target) -> CostModel:
    """The cost model that target.toml pins.

    Raises BadInput where none is pinned, where the file is not the pinned one, or where it was
    fitted for other features or another roofline.
    """
    pin = target.cost_model
    if pin is None:
        raise BadInput(f"target {target.name} has no cost model: run `hwopt targets fit {target.name}`")
    if pin.feature_version != FEATURE_VERSION:
        raise BadInput(
            f"{target.folder / pin.file}: fitted with features of version {pin.feature_version}, this hwopt "
            f"computes version {FEATURE_VERSION}; run `hwopt targets fit {target.name}`"
        )
    header, raw = unpack(target.folder / pin.file, pin.sha256)
    if header.feature_version != FEATURE_VERSION or header.roofline != roofline_hash(target):
        raise BadInput(
            f"{target.folder / 'target.toml'}: hardware or memory tables changed since the cost model was "
            f"fitted; run `hwopt targets fit {target.name}`"
        )
    return CostModel(target, header, [load_booster(booster) for booster in raw])


def load_booster(data: bytes) -> xgboost.Booster:
    """A booster from UBJ bytes, bound to one thread."""
    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(bytearray(data))
    return booster


def roofline_hash(target: Target) -> str:
    """SHA-256 of the numbers that the roofline and the features take from the target."""
    table: Mapping[str, object] = {
        "precision": target.precision,
        "clock_mhz": target.clock_mhz,
        "macs_per_cycle": target.macs_per_cycle,
        "array": dict(sorted(target.array.items())),
        "weights_compressed": target.weights_compressed,
        "memories": [[m.bytes, m.bytes_per_cycle] for m in target.memories],
    }
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()
