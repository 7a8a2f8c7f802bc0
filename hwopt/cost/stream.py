"""How many bytes an operator's constants take: learned where the oracle tells, else the descriptor's.

A descriptor knows the entropy of the values; what a real encoder writes depends on its code and
on how it pads channels and kernel taps. Every weighted operator teaches that, also those that
wait for something else.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import xgboost

from hwopt.cost.raw import PATTERNS, Column
from hwopt.cost.roofline import stored_weights
from hwopt.signature import KINDS
from hwopt.target import Target

_LEAST_ROWS = 200
_LANES = (8, 16, 32, 64)
_TAPS = (2, 4)
_PARAMETERS = {
    "objective": "reg:squarederror",
    "tree_method": "hist",
    "max_bin": 256,
    "max_depth": 8,
    "eta": 0.1,
    "subsample": 0.8,
    "colsample_bytree": 0.7,
    "nthread": 1,
    "seed": 0,
}
_ROUNDS = 200

Matrix = npt.NDArray[np.float32]


def fit_stream(rows: Mapping[str, Column], measured: Column, target: Target) -> xgboost.Booster | None:
    """The logarithm of measured over described bytes, from shapes and descriptor.

    measured: bytes of each row of hwopt.cost.raw.table, 0 where unknown. None where nothing can
    be learned: the target's weights are stored as they are, or the oracle does not tell.
    """
    known = (rows["weights"] > 0) & (measured > 0)
    if not target.weights_compressed or known.sum() < _LEAST_ROWS:
        return None
    own = {name: column[known] for name, column in rows.items()}
    label = np.log(measured[known] / described(own, target))
    data = xgboost.DMatrix(columns(own), label=label, nthread=1)
    return xgboost.train(_PARAMETERS, data, num_boost_round=_ROUNDS)


def stored(rows: Mapping[str, Column], target: Target, stream: xgboost.Booster | None) -> Column:
    """Bytes of weights and biases of each row."""
    result = stored_weights(rows, target)
    weighted = rows["weights"] > 0
    if stream is None or not weighted.any():
        return result
    own = {name: column[weighted] for name, column in rows.items()}
    result = result.copy()
    result[weighted] = described(own, target) * np.exp(stream.inplace_predict(columns(own)))
    return result


def described(rows: Mapping[str, Column], target: Target) -> Column:
    """Bytes as the descriptor has them; at least one."""
    return np.maximum(stored_weights(rows, target), 1.0)


def columns(rows: Mapping[str, Column]) -> Matrix:
    """What decides how well weights pack: values, shape, and the padding of every dimension."""
    weights = np.maximum(rows["weights"], 1.0)
    own_inputs = np.maximum(np.where(rows["group"] > 1, rows["ci"] / rows["group"], rows["ci"]), 1.0)
    outputs, taps = np.maximum(rows["co"], 1.0), np.maximum(rows["kh"] * rows["kw"], 1.0)
    wide = [_padding(own_inputs, lanes) for lanes in _LANES]
    tall = [_padding(outputs, lanes) for lanes in _LANES]
    deep = [_padding(taps, lanes) for lanes in _TAPS]
    found = [
        8.0 * rows["encoded"] / weights,
        rows["zeros"],
        rows["distinct"],
        np.log(weights),
        own_inputs,
        outputs,
        taps,
        rows["kh"],
        rows["kw"],
        rows["group"],
        rows["bias"] / weights,
        rows["ho"] * rows["wo"],
        *wide,
        *tall,
        *deep,
        *(a * tall[0] for a in wide),
        *(a * tall[0] * b for a in wide[:2] for b in deep),
        *(rows["pattern"] == i + 1.0 for i in range(len(PATTERNS))),
        *(rows["kind"] == float(i) for i in range(len(KINDS))),
    ]
    return np.column_stack(found).astype(np.float32)


def _padding(size: Column, lanes: int) -> Column:
    return np.asarray(np.ceil(size / lanes) * lanes / size)
