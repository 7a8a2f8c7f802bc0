"""A cost model by formula, for tests of everything that only needs prices to exist."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from hwopt.estimate import Estimate, Source
from hwopt.signature import VIEW, Signature, macs

MACS_PER_US = 2_000.0
BYTES_PER_US = 500.0
DEPTHWISE_PENALTY = 50.0


class AnalyticCostModel:
    """MACs or bytes, whichever takes longer; depthwise convolutions use one lane in fifty."""

    def knows(self, signature: Signature) -> bool:
        return signature.kind != "softmax"

    def predict(self, signatures: Sequence[Signature]) -> list[Estimate]:
        return [Estimate(self._price(s), 0.01 * self._price(s), Source.PREDICTED) for s in signatures]

    def _price(self, signature: Signature) -> float:
        if signature.kind == VIEW:
            return 0.0
        penalty = DEPTHWISE_PENALTY if signature.kind == "depthwise" else 1.0
        moved = sum(prod(shape) for shape in (*signature.inputs, *signature.outputs))
        return max(macs(signature) * penalty / MACS_PER_US, moved / BYTES_PER_US, 0.1)
