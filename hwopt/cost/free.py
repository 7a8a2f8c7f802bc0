"""Which operators cost nothing because they run inside a neighbour: a classifier before the price.

A concatenation that its producers write into directly, an addition that a convolution takes
along: measured as zero, they have no logarithm, and left out they would be priced as if they ran.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xgboost

from hwopt.signature import Signature

Matrix = npt.NDArray[np.float32]
Column = npt.NDArray[np.float64]

_LEAST_ROWS = 5
_PARAMETERS = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    "max_depth": 4,
    "min_child_weight": 2.0,
    "eta": 0.1,
    "subsample": 0.8,
    "colsample_bytree": 0.5,
    "nthread": 1,
    "seed": 0,
}
_ROUNDS = 80  # few: a family that was never seen should leave it in doubt


def classes(signatures: Sequence[Signature]) -> list[str]:
    """The kind of each group, and whether an input is needed elsewhere too.

    Told apart because one reason is decisive: what others read cannot be written in place, so a
    kind that was never free with such an input is not free there in a new network either.
    """
    return [f"{s.kind} shared" if s.shared else s.kind for s in signatures]


def free_kinds(kinds: Sequence[str], cycles: Column) -> tuple[str, ...]:
    """Classes of which some operators were free."""
    words = np.array(kinds)
    return tuple(sorted(k for k in set(kinds) if (cycles[words == k] <= 0).sum() >= _LEAST_ROWS))


def fit_free(matrix: Matrix, kinds: Sequence[str], cycles: Column) -> xgboost.Booster | None:
    """The chance that an operator costs anything, for the kinds that may be free; None without any."""
    own = np.isin(kinds, free_kinds(kinds, cycles))
    if not own.any():
        return None
    data = xgboost.DMatrix(matrix[own], label=(cycles[own] > 0).astype(np.float64), nthread=1)
    return xgboost.train(_PARAMETERS, data, num_boost_round=_ROUNDS)


def chances(
    booster: xgboost.Booster | None, may_be_free: Sequence[str], matrix: Matrix, kinds: Sequence[str]
) -> Column:
    """The chance that each row costs anything; 1 for kinds that never were free."""
    result = np.ones(len(matrix))
    own = np.isin(kinds, may_be_free)
    if booster is not None and own.any():
        result[own] = booster.inplace_predict(matrix[own])
    return result
