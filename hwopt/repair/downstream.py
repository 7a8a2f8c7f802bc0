"""Which untouched weights may absorb the error that a rewrite upstream left behind.

Pointwise convolutions that end a block (no activation follows) and those whose activation
feeds no further convolution: linear maps wide enough to mend their own input. Measured on
EfficientNet-Lite0, refitting them halves the divergence of what is cut out of early blocks.
"""

from __future__ import annotations

import onnx_ir as ir

from hwopt.activations import following_activation
from hwopt.nodes import is_op, single_consumer
from hwopt.repair.flow import unchanged
from hwopt.repair.linear import as_linear
from hwopt.repair.marks import fit_of


def absorbers(base: ir.Model, changed: ir.Model, most: int) -> list[ir.Node]:
    """Unmarked nodes of the changed model to refit as well: the next `most` behind every marked one."""
    same = unchanged(base, changed)
    known = {str(v.name) for node in base.graph for v in node.outputs}
    reached: set[str] = set()
    found: list[ir.Node] = []
    left = 0
    for node in changed.graph:
        name = str(node.outputs[0].name)
        if fit_of(node) is not None:
            left = most
        elif reached.isdisjoint(str(v.name) for v in node.inputs if v is not None):
            continue
        elif left > 0 and name in known and name not in same and _absorbs(node):
            found.append(node)
            left -= 1
        reached |= {str(v.name) for v in node.outputs}
    return found


def _absorbs(node: ir.Node) -> bool:
    linear = as_linear(node) if is_op(node, "Conv") else None
    if linear is None or not linear.pointwise:
        return False
    activation = following_activation(linear.output)
    return activation is None or not is_op(single_consumer(activation.output), "Conv")
