"""How far two sets of outputs are apart; numpy alone, for the guard's worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]

BATCHES = (1, 3)  # a rewrite that only holds for batch 1 shows at 3
EXACT_TOLERANCE = 1e-4  # of the largest magnitude in the reference output
# Where a model amplifies float rounding, no rewrite can be closer than the model is to itself.
OWN_NOISE = 4.0


@dataclass(frozen=True)
class Difference:
    """The largest difference of one output over all samples.

    max_rel: over the output's largest magnitude. noise: how far, in the same measure, the
    reference moves by itself when every input moves by one unit in its last place. overflows: the
    reference holds infinities or NaN, so that how far another is from it says little.
    """

    output: str
    max_abs: float
    max_rel: float
    noise: float = 0.0
    overflows: bool = False

    @property
    def exact(self) -> bool:
        """Whether float rounding explains the difference."""
        return self.max_rel <= EXACT_TOLERANCE + OWN_NOISE * self.noise


def nudged(array: Array) -> Array:
    """The same inputs, each moved by one unit in its last place."""
    floating = np.issubdtype(array.dtype, np.floating)
    return np.asarray(np.nextafter(array, np.asarray(np.inf, array.dtype))) if floating else array


def keep_worst(worst: dict[str, Difference], found: Sequence[Difference], noise: Sequence[float]) -> None:
    """Takes over what is worse than what is known, by output. noise: of each difference."""
    for item, moved in zip(found, noise, strict=True):
        if item.output not in worst or worst[item.output].max_rel < item.max_rel:
            worst[item.output] = replace(item, noise=moved)


def compare(expected: Mapping[str, Array], actual: Mapping[str, Array]) -> list[Difference]:
    """Differences by output. Equal infinities and NaN in the same place count as equal."""
    return [_difference(name, np.asarray(array), actual.get(name)) for name, array in expected.items()]


def _difference(name: str, expected: Array, actual: Array | None) -> Difference:
    if actual is None or expected.shape != actual.shape or expected.dtype != actual.dtype:
        return Difference(name, float("inf"), float("inf"))
    if not np.issubdtype(expected.dtype, np.floating):
        same = bool(np.array_equal(expected, actual))
        return Difference(name, 0.0 if same else float("inf"), 0.0 if same else float("inf"))
    left, right = expected.astype(np.float64), actual.astype(np.float64)
    alike = (left == right) | (np.isnan(left) & np.isnan(right))
    with np.errstate(invalid="ignore"):  # infinity minus infinity is settled by `alike`
        gap = np.where(alike, 0.0, np.abs(left - right))
    largest = float(np.nanmax(np.abs(np.where(np.isfinite(left), left, 0.0)), initial=0.0))
    worst = float(np.max(np.nan_to_num(gap, nan=np.inf, posinf=np.inf), initial=0.0))
    finite = bool(np.isfinite(left).all())
    return Difference(name, worst, worst / largest if largest else worst, overflows=not finite)
