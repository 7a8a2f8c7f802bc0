"""Codes of a layer chosen on calibration data, with the error of each carried to the next.

The list of codes is the best for the weights' share in the output (the diagonal of the Hessian).
Then features are rounded to codes one after the other, and what that does to the output is made
good by the features still to come (Frantar et al., "GPTQ", ICLR 2023, with the order of falling
Hessian diagonal). Between two turns the codes are fitted to their assignment by least squares; at
the end every output's scale and bias are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from hwopt.repair.codebook import PEAK, Codes, best_codes, nearest, peaks, scales
from hwopt.repair.linear import Matrix
from hwopt.repair.ridge import Problem, Solution, loaded, solve
from hwopt.repair.support import prepared

LOAD = 1e-2  # on the Gram matrix, times its mean variance
BLOCK = 128  # features between two updates of all later ones
TURNS = 2
BOOK_STEPS = 12  # of conjugate gradients on a list of codes


@dataclass(frozen=True)
class _Layer:
    """gram: loaded; weight: what the codes should come near; scale: of the grid; fixed: given codes."""

    gram: Matrix
    weight: Matrix
    scale: Matrix
    fixed: Codes


def solve_codebook(problem: Problem, count: int, rounds: int) -> Solution:
    """Fit weights that take `count` values on their int8 grid.

    problem: its start are the weights before any clustering.
    """
    dense = solve(problem, rounds)
    system = prepared(problem)
    layer = _Layer(loaded(system.whole.gram, LOAD), dense.weight, scales(dense.weight), peaks(dense.weight))
    cost = np.diag(layer.gram)[:, None] * layer.scale**2
    codes = best_codes(layer.weight / layer.scale, cost, layer.fixed, count)
    chosen = _carried(layer, codes)
    for _ in range(TURNS - 1):
        codes = _fitted_codes(layer, chosen, codes)
        chosen = _carried(layer, codes)
    weight = chosen * _scales(layer, chosen)
    mean = system.x_mean @ (dense.weight - weight)
    return Solution(weight, dense.bias + mean, dense.ridge)


def _carried(layer: _Layer, codes: Codes) -> Codes:
    """[features, outputs]: a code for every weight, each chosen knowing the errors before it."""
    order = np.argsort(-np.diag(layer.gram), kind="stable")
    gram = layer.gram[np.ix_(order, order)]
    factor = cho_factor(gram, lower=True, check_finite=False)
    upper = np.linalg.cholesky(cho_solve(factor, np.eye(len(gram)), check_finite=False)).T
    left, fixed = layer.weight[order] / layer.scale, layer.fixed[order]
    chosen = np.zeros(left.shape, dtype=np.int64)
    for begin in range(0, len(gram), BLOCK):
        end = min(begin + BLOCK, len(gram))
        errors = np.zeros((end - begin, left.shape[1]))
        for row in range(begin, end):
            code = np.where(fixed[row] != 0, fixed[row], nearest(left[row], codes))
            chosen[row] = code
            errors[row - begin] = (left[row] - code) / upper[row, row]
            left[row:end] -= np.outer(upper[row, row:end], errors[row - begin])
        left[end:] -= upper[begin:end, end:].T @ errors
    result = np.empty_like(chosen)
    result[order] = chosen
    return result


def _fitted_codes(layer: _Layer, chosen: Codes, codes: Codes) -> Codes:
    """The list of codes that fits its own assignment best, rounded; 127 and -127 stay.

    Conjugate gradients on the codes: as many unknowns as there are codes.
    """
    which = np.searchsorted(codes, chosen)
    free = np.abs(codes) < PEAK

    def summed(values: Matrix) -> Matrix:
        shares = np.bincount(which.reshape(-1), (values * layer.scale).reshape(-1), minlength=len(codes))
        return np.asarray(shares * free, np.float64)

    book = codes.astype(np.float64)
    step = residual = summed(layer.gram @ (layer.weight - book[which] * layer.scale))
    enough = 1e-10 * float(residual @ residual)
    for _ in range(BOOK_STEPS):
        image = summed(layer.gram @ (step[which] * layer.scale))
        size = float(residual @ residual)
        if size <= enough or step @ image <= 0:
            break
        rate = size / float(step @ image)
        book = book + rate * step
        residual = residual - rate * image
        step = residual + float(residual @ residual) / size * step
    return np.unique(np.clip(np.rint(book), -PEAK, PEAK).astype(np.int64))


def _scales(layer: _Layer, chosen: Codes) -> Matrix:
    """[outputs]: the scale with the least error for these codes; never negative."""
    image = layer.gram @ chosen
    size = np.sum(chosen * image, axis=0)
    found = np.sum(layer.weight * image, axis=0) / np.where(size > 0, size, 1.0)
    return np.asarray(np.where((size > 0) & (found > 0), found, layer.scale))
