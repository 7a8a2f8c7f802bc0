"""The cost model: signatures in, latencies with their uncertainty out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import xgboost

from hwopt.cost import reach, uncertainty
from hwopt.cost.bundle import Header
from hwopt.cost.features import Matrix, View, features_of
from hwopt.cost.free import chances, classes
from hwopt.cost.raw import table
from hwopt.cost.reach import Reach
from hwopt.cost.uncertainty import Calibration, signs_of
from hwopt.estimate import Estimate, Source
from hwopt.signature import VIEW, Signature
from hwopt.target import Target

_REMEMBERED = 200_000
_UNKNOWN_SPREAD = 0.7  # of log latency: a factor of two, where nothing like it was measured
_FREE = Estimate(0.0, 0.0, Source.COMPUTED)

Column = npt.NDArray[np.float64]


class CostModel:
    """Prices fused operator groups of one target. Answers are remembered by signature.

    boosters: the members, then those that `header.extras` names. A file that is not pinned is not
    loaded here: see hwopt.cost.loading.
    """

    def __init__(self, target: Target, header: Header, boosters: Sequence[xgboost.Booster]) -> None:
        self.target = target
        self.header = header
        self._members = tuple(boosters[: len(boosters) - len(header.extras)])
        extras = dict(zip(header.extras, boosters[len(self._members) :], strict=False))
        self._view = view_of(header, extras.get("stream"))
        self._free = extras.get("free")
        self._reach = reach.from_json(header.reach) if header.reach else None
        self._calibration = uncertainty.from_json(header.calibration) if header.calibration else None
        self._known: dict[Signature, Estimate] = {}

    def knows(self, signature: Signature) -> bool:
        """Whether operators of this kind were measured: without, a price is a roofline and a guess."""
        return signature.kind == VIEW or self.header.rows.get(signature.kind, 0) > 0

    def predict(self, signatures: Sequence[Signature]) -> list[Estimate]:
        """Latency in microseconds of each group, in order; views cost nothing.

        One standard deviation stands beside each value (half of what holds 95% of held-out
        errors), and whether it is extrapolated. Kinds that were never measured get the roofline
        with a spread of a factor of two: ask `knows`, and call them unpriced.
        """
        if len(self._known) > _REMEMBERED:
            self._known.clear()
        new = list(dict.fromkeys(s for s in signatures if s.kind != VIEW and s not in self._known))
        if new:
            self._known.update(zip(new, self._price(new), strict=True))
        return [_FREE if s.kind == VIEW else self._known[s] for s in signatures]

    def why_extrapolated(self, signature: Signature) -> list[str]:
        """What of this group lies outside of what was measured, for a reader; [] where nothing does."""
        if signature.kind == VIEW or self._reach is None:
            return []
        if not self.knows(signature):
            return [f"no operator of kind '{signature.kind}' was measured"]
        return self._reach.reasons(signature, table([signature]))

    def signs(self, signatures: Sequence[Signature]) -> Column:
        """What is known of each prediction's error beforehand: see hwopt.cost.uncertainty."""
        return self._look(signatures)[1]

    def _price(self, signatures: Sequence[Signature]) -> list[Estimate]:
        mean, signs, extrapolated, disagreement, chance = self._look(signatures)
        spread = self._spread(signatures, signs, disagreement)
        common = (Calibration() if self._calibration is None else self._calibration).common ** 0.5
        full = np.exp(mean) / self.target.clock_mhz
        latency, doubt = full * chance, full * np.sqrt(chance * (1.0 - chance))
        wide = np.hypot(latency * spread, doubt)
        columns = (latency, wide, wide * common, extrapolated)
        return [
            Estimate(value, wide, Source.PREDICTED, shared, outside)
            for value, wide, shared, outside in zip(*(c.tolist() for c in columns), strict=True)
        ]

    def _look(
        self, signatures: Sequence[Signature]
    ) -> tuple[Column, Column, npt.NDArray[np.bool_], Column, Column]:
        """Log cycles, signs, whether extrapolated, the members' disagreement, the chance to cost anything."""
        rows = table(signatures)
        matrix, base = features_of(rows, self.target, self._view)
        members = predict_members(self._members, matrix)
        disagreement = members.std(axis=0, ddof=1) if len(members) > 1 else np.full(len(base), 0.01)
        outside = (self._reach or Reach()).outside(signatures, rows)
        unknown = np.array([not self.knows(s) for s in signatures], bool)
        extrapolated = unknown if self._reach is None else outside.extrapolated | unknown
        chance = chances(self._free, self.header.free_kinds, matrix, classes(signatures))
        signs = signs_of(disagreement, outside)
        return base + members.mean(axis=0), signs, extrapolated, disagreement, chance

    def _spread(self, signatures: Sequence[Signature], signs: Column, disagreement: Column) -> Column:
        """One standard deviation of log latency."""
        if self._calibration is None:
            known = np.array([self.header.spread.get(s.kind, _UNKNOWN_SPREAD) for s in signatures])
            return np.asarray(np.sqrt(known**2 + self.header.member_weight * disagreement**2))
        spread = self._calibration.spread([s.kind for s in signatures], signs)
        unknown = np.array([not self.knows(s) for s in signatures], bool)
        return np.where(unknown, np.maximum(spread, _UNKNOWN_SPREAD), spread)


def view_of(header: Header, stream: xgboost.Booster | None) -> View:
    """How the model of this header looks at signatures; stream: its booster of that name."""
    return View(header.streamed, header.context, header.rates, stream, header.tiling)


def predict_members(boosters: Sequence[xgboost.Booster], matrix: Matrix) -> Column:
    """Residual to the log roofline by each member, [members, rows]."""
    return np.array([booster.inplace_predict(matrix) for booster in boosters], np.float64)


def load_booster(data: bytes) -> xgboost.Booster:
    """A booster from UBJ bytes, bound to one thread."""
    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(bytearray(data))
    return booster


def roofline_hash(target: Target) -> str:
    """SHA-256 of the numbers that the roofline and the features take from the target."""
    numbers: Mapping[str, object] = {
        "precision": target.precision,
        "clock_mhz": target.clock_mhz,
        "macs_per_cycle": target.macs_per_cycle,
        "array": dict(sorted(target.array.items())),
        "weights_compressed": target.weights_compressed,
        "memories": [[m.bytes, m.bytes_per_cycle] for m in target.memories],
    }
    if target.depthwise_macs_per_cycle is not None:  # absent from targets that were fitted without it
        numbers = {**numbers, "depthwise": target.depthwise_macs_per_cycle}
    return hashlib.sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest()
