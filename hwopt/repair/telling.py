"""What a fit did to the error of a node's output, told to the listeners.

Worked out on some of the rows that were fitted, beside the fit: it changes nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from hwopt.nodes import FloatArray, label
from hwopt.repair.linear import Bounds, Linear
from hwopt.repair.marks import asked_by
from hwopt.repair.ridge import Rows
from hwopt.trace import Listeners, RepairFitted, emit

ROWS = 4096  # that an error is measured on, spread over all that were fitted


@dataclass(frozen=True)
class Seen:
    """What a node was fitted on.

    rows: [rows, groups, features]; targets: [rows, outputs]; real: which outputs are no padding; bounds:
    what the activation behind it clips to.
    """

    rows: FloatArray
    targets: FloatArray
    real: Rows
    bounds: Bounds | None

    def error(self, linear: Linear) -> float:
        """The relative error of the node's output, behind the activation, with these weights."""
        some = spread(len(self.rows))
        groups = np.matmul(self.rows[some].transpose(1, 0, 2), linear.weight.astype(np.float32))
        outputs = groups.transpose(1, 0, 2).reshape(groups.shape[1], -1) + linear.bias.astype(np.float32)
        expected, actual = self.targets[some][:, self.real], outputs[:, self.real]
        if self.bounds is None:
            return relative(expected, actual)
        low, high = self.bounds.low, self.bounds.high
        return relative(np.clip(expected, low, high), np.clip(actual, low, high))


def spread(rows: int) -> slice:
    """Every so many of the rows: `ROWS` to twice as many."""
    return slice(None, None, max(rows // ROWS, 1))


def relative(expected: FloatArray, actual: FloatArray) -> float:
    """|actual - expected| / |expected|, Euclidean."""
    gap = float(np.linalg.norm(actual.astype(np.float64) - expected))
    return gap / max(float(np.linalg.norm(expected.astype(np.float64))), 1e-12)


def tell(listeners: Listeners, node: ir.Node, errors: tuple[float, float], absorbing: bool = False) -> None:
    """Says what became of a node's error, before and after. absorbing: nobody asked for this fit."""
    emit(listeners, RepairFitted("" if absorbing else asked_by(node), label(node), *errors))
