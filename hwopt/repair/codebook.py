"""Codebooks: weights that take few values on the int8 grid of their output channel.

A weight is code * scale / 127 with one scale per output channel and one list of codes per layer,
whole numbers from -127 to 127. Every channel uses 127 or -127, so an int8 quantiser that scales
channels by their largest weight finds these codes again.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from hwopt.repair.linear import Matrix

Codes = npt.NDArray[np.int64]

PEAK = 127


def peaks(weight: Matrix) -> Codes:
    """[features, outputs]: 127 or -127 at every output's largest weight, else 0."""
    found = np.zeros(weight.shape, dtype=np.int64)
    at, outputs = np.argmax(np.abs(weight), axis=0), np.arange(weight.shape[1])
    found[at, outputs] = np.where(weight[at, outputs] < 0, -PEAK, PEAK)
    return found


def scales(weight: Matrix) -> Matrix:
    """[outputs]: what one step of the grid is worth; 1 where all weights are zero."""
    largest = np.abs(weight).max(axis=0)
    return np.asarray(np.where(largest > 0, largest, PEAK) / PEAK)


def best_codes(values: Matrix, cost: Matrix, fixed: Codes, count: int) -> Codes:
    """Sorted codes, `count` at most, for values on the grid: the fixed ones and the best others.

    values: [features, outputs] in steps of the grid; cost: of a squared error of each value;
    fixed: [features, outputs], codes that are given, 0 where none is. The other codes are the exact
    optimum of weighted one-dimensional k-means on the rounded values, by dynamic programming
    (Wang & Song, "Ckmeans.1d.dp", The R Journal, 2011), then rounded.
    """
    given = np.unique(fixed[fixed != 0])
    free = fixed == 0
    bins = np.clip(np.rint(values[free]), -PEAK, PEAK).astype(np.int64) + PEAK
    weights = np.broadcast_to(cost, values.shape)[free]
    mass = np.bincount(bins, weights, minlength=2 * PEAK + 1)
    used = np.flatnonzero(mass > 0)
    if len(used) == 0:
        return given
    most = min(count - len(given), len(used))
    means = _k_means(used.astype(np.float64) - PEAK, np.asarray(mass[used], np.float64), most)
    return np.unique(np.concatenate([given, np.rint(means).astype(np.int64)]))


def _k_means(points: Matrix, mass: Matrix, count: int) -> Matrix:
    """The centres of the best partition of sorted points into so many runs."""
    size = len(points)
    total, first, second = (np.concatenate([[0.0], np.cumsum(mass * points**power)]) for power in (0, 1, 2))
    ends, starts = np.arange(size + 1)[:, None], np.arange(size + 1)[None, :]
    held = total[ends] - total[starts]
    moment = first[ends] - first[starts]
    spread = second[ends] - second[starts] - moment**2 / np.where(held > 0, held, 1.0)
    spread = np.where(ends > starts, np.maximum(spread, 0.0), np.inf)  # [end, start)
    best, cuts = spread[:, 0], []
    for _ in range(count - 1):
        through = spread + best[None, :]
        cuts.append(np.argmin(through, axis=1))
        best = through[np.arange(size + 1), cuts[-1]]
    edges = [size]
    for cut in reversed(cuts):
        edges.append(int(cut[edges[-1]]))
    edges = [*edges, 0][::-1]
    runs = [(low, high) for low, high in pairwise(edges) if high > low]
    return np.array([(first[high] - first[low]) / (total[high] - total[low]) for low, high in runs])


def nearest(values: Matrix, codes: Codes) -> Codes:
    """The nearest code of every value."""
    middles = (codes[1:] + codes[:-1]) / 2
    return codes[np.searchsorted(middles, values)]


def clustered(weight: Matrix, count: int) -> Matrix:
    """The weight with that many values on its grid, every one the nearest: without any data."""
    scale, fixed = scales(weight), peaks(weight)
    values = weight / scale
    codes = best_codes(values, scale**2, fixed, count)
    return np.where(fixed != 0, fixed, nearest(values, codes)) * scale
