"""Which solver honours what a mark asks of the weights, and which free weights make good for them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import onnx_ir as ir

from hwopt.nodes import constant, dims_of
from hwopt.repair.codebook_fit import solve_codebook
from hwopt.repair.linear import Linear, as_linear
from hwopt.repair.marks import Fit, fit_of
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


def companions(base: ir.Model, changed: ir.Model) -> list[ir.Node]:
    """Unmarked operators next behind a constrained one, to be refitted as well.

    Their weights are free and few (a depthwise convolution) or last (the classifier). With half of
    all 1x1 weights of EfficientNet-Lite0 at zero they take a third of the divergence away.
    """
    known = {str(node.outputs[0].name): node for node in base.graph}
    behind: set[ir.Value] = set()
    found = []
    for node in changed.graph:
        fit = fit_of(node)
        reads = any(value in behind for value in node.inputs if value is not None)
        if fit is not None:
            behind.update(node.outputs if fit.constrained else ())
        elif reads and as_linear(node) is None:
            behind.update(node.outputs)
        elif reads and _same_shape(known.get(str(node.outputs[0].name)), node):
            found.append(node)
    return found


def _same_shape(twin: ir.Node | None, node: ir.Node) -> bool:
    """Whether the base has the node with a weight of this shape: only then its target is known."""
    if twin is None or twin.op_type != node.op_type:
        return False
    old, new = constant(twin.inputs[1]), constant(node.inputs[1])
    return old is not None and new is not None and dims_of(old) == dims_of(new)
