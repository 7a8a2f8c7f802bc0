"""The roofline with rates learned from measurements: few numbers per kind of operator.

A roofline knows peaks; an operator has rates of its own (a table look-up one element per cycle,
a pool so many taps). Per class of operators the cycles are described as a p-norm of amounts of
work, each times a fitted factor: p = 1 where they are done one after the other, larger where
they overlap. It extrapolates as a roofline does and leaves the boosters less to explain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from hwopt.cost.raw import ACTIVATIONS, Column
from hwopt.cost.roofline import Bounds, stored_weights
from hwopt.cost.vector import lanes_of, vector_amounts
from hwopt.signature import KINDS
from hwopt.target import Target

Rates = Mapping[str, Sequence[float]]  # class -> (p, log of each factor)

_NORMS = (1.0, 2.0, 4.0)
_STARTS = (-1.0, -3.0)
_LEAST_ROWS = 20
_OUTLIER = 0.1  # of log cycles: beyond, a row pulls linearly
_PRIOR, _PRIOR_WEIGHT = -3.0, 0.01  # factors that nothing speaks for stay small
_CLAMPS = ("", "relu", "relu6", "clip")  # part of requantisation; others need a table or arithmetic


def classes(rows: Mapping[str, Column]) -> npt.NDArray[np.str_]:
    """The class of each row: its kind, and whether an activation other than a clamp is fused in."""
    kinds = np.array(KINDS)[rows["kind"].astype(int)]
    clamps = [float(ACTIVATIONS.index(word)) for word in _CLAMPS]
    return np.where(np.isin(rows["activation"], clamps), kinds, np.char.add(kinds, "+table"))


def log_amounts(rows: Mapping[str, Column], bounds: Bounds, target: Target) -> dict[str, Column]:
    """Logarithms of the amounts of work that may take time, in cycles at a rate of one."""
    pixels = rows["ho"] * rows["wo"]
    tiles = _up(rows["ho"], target.array.get("out_height", 1)) * _up(
        rows["wo"], target.array.get("out_width", 1)
    )
    weights = stored_weights(rows, target)
    amounts = {
        "mac": bounds.mac,
        "plain_mac": rows["macs"] / target.macs_per_cycle,
        "tile_mac": rows["macs"] / np.maximum(pixels, 1.0) * tiles / target.macs_per_cycle,
        "weights": weights,
        "inputs": rows["in_elements"],
        "outputs": rows["out_elements"],
        "taps": rows["out_elements"] * rows["kh"] * rows["kw"],
        "input_per_pixel": rows["ci"] * pixels,
        "start": np.full_like(pixels, 100.0),
        **{f"inputs/{n}": rows["in_elements"] * np.ceil(rows["co"] / n) for n in (8, 32, 128)},
        **{f"weights/{n}": weights * np.ceil(pixels / n) for n in (64, 256)},
        "wide_rows": rows["ho"] * _up(rows["wo"], 8) * rows["ci"],
        "wide_channels": _up(rows["co"], 16) * pixels,
    }
    if lanes := lanes_of(target):
        amounts |= vector_amounts(rows, lanes)
    if "tiled_macs" in rows:
        amounts |= {
            "tiled_mac": rows["tiled_macs"] / target.macs_per_cycle,
            "tiled_moves": rows["tiled_inputs"] + _up(rows["co"], 16) * pixels,
            "tiled_weights": weights * rows["weight_passes"],
            "tiled_scales": rows["co"] * rows["weight_passes"] * (rows["weights"] > 0),
        }
    return {name: np.log(np.maximum(amount, 1e-3)) for name, amount in amounts.items()}


def fit_rates(
    rows: Mapping[str, Column], bounds: Bounds, target: Target, log_cycles: Column
) -> dict[str, tuple[float, ...]]:
    """Rates of every class with enough rows, by robust least squares on log cycles."""
    amounts = np.stack(list(log_amounts(rows, bounds, target).values()), axis=1)
    words = classes(rows)
    result = {}
    for word in sorted(set(words.tolist())):
        own = words == word
        if own.sum() >= _LEAST_ROWS:
            result[word] = _fit_class(amounts[own], log_cycles[own])
    return result


def log_base(rows: Mapping[str, Column], bounds: Bounds, target: Target, rates: Rates) -> Column:
    """Log cycles by the fitted rates; by the plain roofline where a class has none."""
    amounts = np.stack(list(log_amounts(rows, bounds, target).values()), axis=1)
    result = np.log(bounds.cycles)
    words = classes(rows)
    for word in np.unique(words).tolist():
        fitted = rates.get(word)
        if fitted is not None:
            own = words == word
            result[own] = _norm(amounts[own] + np.asarray(fitted[1:]), fitted[0])
    return result


def _fit_class(amounts: Column, log_cycles: Column) -> tuple[float, ...]:
    best, factors, norm = np.inf, np.zeros(amounts.shape[1]), 1.0
    for p in _NORMS:
        for start in _STARTS:
            found = least_squares(
                _errors,
                np.full(amounts.shape[1], start),
                _slopes,
                args=(amounts, log_cycles, p),
                loss="soft_l1",
                f_scale=_OUTLIER,
                max_nfev=100,
                bounds=(-9.0, 5.0),
            )
            if found.cost < best:
                best, factors, norm = float(found.cost), found.x, p
    return (norm, *(round(float(factor), 3) for factor in factors))


def _errors(factors: Column, amounts: Column, log_cycles: Column, p: float) -> Column:
    return np.concatenate([_norm(amounts + factors, p) - log_cycles, _PRIOR_WEIGHT * (factors - _PRIOR)])


def _slopes(factors: Column, amounts: Column, log_cycles: Column, p: float) -> Column:
    """Jacobian of `_errors`: each amount's share of the p-norm."""
    scaled = p * (amounts + factors)
    shares = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return np.vstack([shares, _PRIOR_WEIGHT * np.eye(len(factors))])


def _norm(logs: Column, p: float) -> Column:
    """log of the p-norm of exp(logs), row by row."""
    scaled = p * logs
    largest = scaled.max(axis=1)
    total = np.exp(scaled - largest[:, None]).sum(axis=1)
    return np.asarray((largest + np.log(total)) / p)


def _up(size: Column, multiple: int) -> Column:
    return np.asarray(np.ceil(np.maximum(size, 1.0) / multiple) * multiple)
