"""Which solver honours what a mark asks of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from hwopt.repair.codebook_fit import solve_codebook
from hwopt.repair.linear import Linear
from hwopt.repair.marks import Fit
from hwopt.repair.masks_fit import solve_sparse
from hwopt.repair.ridge import Problem, Solution, solve
from hwopt.repair.support import solve_support

Solver = Callable[[Problem], Solution]


def solver_of(fit: Fit, linear: Linear, rounds: int) -> Solver:
    """The closed-form fit of one group of a node's weights, with these activation-aware rounds."""
    if fit.sparsity is not None:
        taps = 1 if linear.window is None else math.prod(linear.window.kernel)
        return partial(solve_sparse, sparsity=fit.sparsity, taps=taps, rounds=rounds)
    if fit.codebook:
        return partial(solve_codebook, count=fit.codebook, rounds=rounds)
    return partial(solve_support if fit.support else solve, rounds=rounds)
