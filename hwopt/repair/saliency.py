"""Which input channels of an operator matter, judged on calibration data.

Channels are eliminated a few at a time: each time those whose loss, after the best update of
all other weights, changes the operator's output least (Optimal Brain Surgeon with a whole
channel as the unit; Hassibi & Stork, 1993). On EfficientNet-Lite0 a sixth of the hidden
channels chosen so costs half to a twelfth of the squared error that magnitudes cost.

The order is written into `node.meta` of the base, where a pass that prunes can see it. It sees
all samples: no weight is fitted here, only structure chosen.
"""

from __future__ import annotations

import numpy as np

from hwopt.nodes import FloatArray, constant, is_op, single_consumer
from hwopt.repair.gather import draw
from hwopt.repair.linear import Linear, Matrix, Positions, as_linear
from hwopt.repair.marks import mark_saliency
from hwopt.repair.reference import Reference, pick
from hwopt.repair.ridge import centred, loaded, moments
from hwopt.threads import one_blas_thread

SAMPLES = 128
ROWS = 8_000
LOAD = 1e-3  # of the mean variance, added to every channel's
AT_ONCE = 64  # one channel in so many is eliminated before the others are judged again


def annotate(reference: Reference, seed: int) -> None:
    """Write the saliency of input channels into the base's pointwise convolutions and Gemms.

    Only where the input has no other reader: channels of a shared stream are not one operator's.
    """
    with one_blas_thread():
        for node in reference.base.graph:
            linear = as_linear(node) if is_op(node, "Conv", "Gemm") else None
            if linear is None or not (linear.pointwise or linear.window is None):
                continue
            if constant(linear.input) is None and single_consumer(linear.input) is node:
                mark_saliency(node, elimination_order(_rows(reference, linear, seed), linear.weight[0]))


def _rows(reference: Reference, linear: Linear, seed: int) -> FloatArray:
    """[rows, input channels] of what the base feeds the operator."""
    step = -(-len(reference.originals) // SAMPLES)
    samples = reference.originals[::step]
    found = []
    positions: Positions | None = None
    for where, values in reference.stream(str(linear.input.name), samples):
        if positions is None:
            grid = linear.grid(values)
            positions = draw(seed, len(samples), grid, min(grid, -(-ROWS // len(samples))))
        found.append(pick(values, positions[where]))
    rows = np.concatenate(found)
    return rows.reshape(-1, rows.shape[-1])


def elimination_order(rows: FloatArray, weight: Matrix) -> Matrix:
    """[channels]: 0 for the channel that is eliminated first.

    rows: [rows, channels]; weight: [channels, outputs].
    """
    x, _ = centred(rows)
    inverse = np.linalg.inv(loaded(moments(x, x[:, :0]).gram / len(x), LOAD))
    weight = weight.copy()
    alive = np.arange(len(weight))
    order = np.zeros(len(weight))
    done = 0
    while len(alive):
        loss = np.sum(weight**2, axis=1) / np.diag(inverse)
        ranked = np.argsort(loss, kind="stable")
        out, rest = ranked[: max(1, len(alive) // AT_ONCE)], np.sort(ranked[max(1, len(alive) // AT_ONCE) :])
        order[alive[out]] = done + np.arange(len(out))
        done += len(out)
        carry = np.linalg.solve(inverse[np.ix_(out, out)], inverse[np.ix_(out, rest)]).T
        weight = weight[rest] - carry @ weight[out]
        inverse = inverse[np.ix_(rest, rest)] - carry @ inverse[np.ix_(out, rest)]
        alive = alive[rest]
    return order
