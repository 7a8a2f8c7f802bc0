"""Which weights to set to zero, chosen on calibration data, and the fit of those that stay.

The error that zeros cause in an operator's output is a quadratic form of the weights, with the
Gram matrix of the operator's inputs as its Hessian. The pattern and the weights are found together
by the alternating direction method of multipliers: one step is a ridge regression that all outputs
share, the other projects on the pattern, and what they disagree about is charged ever more
(Boyd et al., "Distributed Optimization ... via ADMM", 2011, section 9; Meng et al., "ALPS:
Improved Optimization for Highly Sparse One-Shot Pruning", NeurIPS 2024). On layers of
EfficientNet-Lite0 it leaves 5 to 30% less error than the column-wise elimination of SparseGPT
(Frantar & Alistarh, ICML 2023), both with all weights that stay refitted.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from hwopt.nodes import FloatArray
from hwopt.repair.linear import Matrix
from hwopt.repair.masks import Mask, Sparsity, keep
from hwopt.repair.ridge import Problem, Solution, choose_ridge, factorised
from hwopt.repair.support import System, fit_support, prepared

LOAD = 0.03  # on the Gram matrix of features scaled to unit variance
STEPS = 60
CHARGE = 0.1  # first penalty on a disagreement between weights and pattern
EVERY = 3  # steps between two raises of the penalty
# The penalty grows fast while the pattern still moves much (ALPS, section 3.2).
GROWTH = ((0.1, 1.3), (0.005, 1.2), (0.0, 1.1))


def solve_sparse(problem: Problem, sparsity: Sparsity, taps: int, rounds: int) -> Solution:
    """Choose the zeros of a weight and fit the rest.

    problem: its start are the dense weights.
    """
    system = prepared(problem)
    weight = _dense(system, problem.start)
    mask, guess = choose(system.whole.gram, weight, sparsity, taps)
    return fit_support(system, problem.start * mask, rounds, guess)


def _dense(system: System, start: Matrix) -> Matrix:
    """The best weights without zeros: they know what was lost upstream."""
    ridge = choose_ridge(system.train, system.test, start)
    factor = factorised(system.whole.gram, ridge)
    right = system.whole.cross - system.whole.gram @ start
    return start + np.asarray(cho_solve(factor, right, check_finite=False))


def choose(gram: Matrix, weight: Matrix, sparsity: Sparsity, taps: int) -> tuple[Mask, Matrix]:
    """[features, outputs]: True where a weight stays, and about what it should then be.

    gram: of the centred rows; weight: what the rows should be multiplied with if they could. The
    steps end when the pattern has settled.
    """
    scale = np.sqrt(np.maximum(np.diag(gram), 1e-12 * max(float(np.mean(np.diag(gram))), 1e-30)))
    hessian = (gram / scale / scale[:, None]).astype(np.float32)
    hessian[np.diag_indices_from(hessian)] += LOAD
    dense = (weight * scale[:, None]).astype(np.float32)
    mask, sparse = _alternate(hessian, dense, sparsity, taps)
    return mask, sparse / scale[:, None]


def _alternate(
    hessian: FloatArray, dense: FloatArray, sparsity: Sparsity, taps: int
) -> tuple[Mask, FloatArray]:
    target, charge = hessian @ dense, CHARGE
    identity = np.eye(len(hessian), dtype=np.float32)
    mask = settled = keep(np.abs(dense), sparsity, taps)
    sparse, duals = dense * mask, np.zeros_like(dense)
    for _ in range(STEPS // EVERY):
        factor = cho_factor(hessian + np.float32(charge) * identity, lower=True, check_finite=False)
        for _ in range(EVERY):
            free = cho_solve(factor, target - duals + np.float32(charge) * sparse, check_finite=False)
            sparse = free + duals / np.float32(charge)
            mask = keep(np.abs(sparse), sparsity, taps)
            sparse *= mask
            duals += np.float32(charge) * (free - sparse)
        moved = np.count_nonzero(mask != settled) / mask.size
        if moved == 0:
            break
        charge *= next(growth for least, growth in GROWTH if moved >= least)
        settled = mask
    return mask, sparse
