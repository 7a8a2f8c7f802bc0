"""How much a repair may spend."""

from __future__ import annotations

from dataclasses import dataclass

FEWEST_ROUNDS = 3


@dataclass(frozen=True)
class Effort:
    """Bounds that come from the model, never from the number of images.

    rows: output positions in one closed-form fit; pool: in a joint fit, which reads them in
    turns; elements: numbers held in the rows of either; rounds: activation-aware rounds of a
    closed-form fit; joint_rounds: of a joint fit; downstream: how many untouched projections
    behind each fitted node are refitted as well, to absorb what is left of its error;
    multiplications: what all rounds of one fit may cost, in multiply-adds: fewer rounds, and at
    least `FEWEST_ROUNDS`, where they are dear.
    """

    rows: int = 15_000
    pool: int = 100_000
    elements: int = 64_000_000
    rounds: int = 8
    joint_rounds: int = 300
    downstream: int = 5
    multiplications: float = 3e11

    def affordable(self, rounds: int, rows: int, features: int, outputs: int) -> int:
        """How many of these rounds, each two products of [rows, features] with [features, outputs]."""
        paid = int(self.multiplications / (2 * rows * features * outputs))
        return min(rounds, max(paid, FEWEST_ROUNDS))


FULL = Effort()
QUICK = Effort(
    rows=10_000,
    pool=20_000,
    elements=16_000_000,
    rounds=4,
    joint_rounds=150,
    downstream=3,
    multiplications=4e10,
)
