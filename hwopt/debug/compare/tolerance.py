"""How far apart two tensors may be before something other than float rounding must explain it."""

from __future__ import annotations

from dataclasses import dataclass

from hwopt.debug.compare.stats import Gap, gap
from hwopt.errors import BadInput
from hwopt.nodes import Array
from hwopt.verify import EXACT_TOLERANCE, OWN_NOISE


@dataclass(frozen=True)
class Tolerance:
    """A limit on the largest difference, as a share of the reference's largest magnitude.

    given: the user's own; None: what verify holds an exact rewrite to.
    """

    given: float | None = None

    def __post_init__(self) -> None:
        if self.given is not None and not 0 <= self.given < float("inf"):
            raise BadInput(f"--tolerance {self.given:g}: give a share of the largest magnitude, 0 or more")

    @property
    def wants_noise(self) -> bool:
        """Whether the limit depends on how far the reference moves by itself."""
        return self.given is None

    @property
    def least(self) -> float:
        """The limit of a tensor of floats that does not move by itself."""
        return EXACT_TOLERANCE if self.given is None else self.given

    def limit(self, found: Gap, noise: float) -> float:
        """For this tensor. noise: how far it moves, as such a share, when every input moves by one ulp."""
        if self.given is not None:
            return self.given
        return (EXACT_TOLERANCE if found.rounds else 0.0) + OWN_NOISE * noise


def own_noise(reference: Array, nudged: Array) -> float:
    """How far the reference moves, as a share of its largest magnitude; what appears or goes is no noise."""
    if reference.shape != nudged.shape:
        return 0.0
    moved = gap(reference, nudged).max_rel
    return moved if moved != float("inf") else 0.0


def within(found: Gap, limit: float) -> bool:
    """Whether two tensors agree within a limit."""
    return found.shapes[0] == found.shapes[1] and found.max_rel <= limit
