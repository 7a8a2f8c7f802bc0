"""What a repair wrote into a model, as constants that can be kept and put into the same model again.

changed, repair(changed)  -->  constants  -->  changed with them = repair(changed), byte for byte
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.nodes import Array, constant, constant_array, is_op
from hwopt.repair.linear import BIAS, WEIGHT, put_constant

_INPUTS = (WEIGHT, BIAS)  # of a Conv or Gemm: all that a repair writes


@dataclass(frozen=True)
class Constant:
    """One fitted input of a node. output: the name of the node's first output; index: of the input."""

    output: str
    index: int
    array: Array


def fitted_constants(changed: ir.Model, fitted: ir.Model) -> tuple[Constant, ...]:
    """The constants that the fitted model has and the changed one has not.

    In the order in which `with_constants` must put them: initializers that are new where the repair put
    them, then what was written over, so that a constant that nodes shared is left to its last reader.
    """
    before = {str(node.outputs[0].name): node for node in changed.graph if node.outputs}
    where = {name: place for place, name in enumerate(fitted.graph.initializers)}
    found = []
    for node in fitted.graph:
        twin = before.get(str(node.outputs[0].name)) if is_op(node, "Conv", "Gemm") else None
        for index in _INPUTS if twin is not None else ():
            value = _at(node, index)
            array = constant_array(value)
            if value is not None and array is not None and not _same(_at(twin, index), value):
                order = (value.name in changed.graph.initializers, where.get(str(value.name), 0))
                found.append((order, Constant(str(node.outputs[0].name), index, array)))
    return tuple(one for _, one in sorted(found, key=lambda pair: pair[0]))


def _at(node: ir.Node | None, index: int) -> ir.Value | None:
    return None if node is None or index >= len(node.inputs) else node.inputs[index]


def _same(old: ir.Value | None, new: ir.Value) -> bool:
    """Whether a value is the constant that it was, under the same name."""
    if old is None or old.name != new.name:
        return False
    if constant(old) is constant(new):
        return True
    was, now = constant_array(old), constant_array(new)
    return was is not None and now is not None and was.shape == now.shape and was.tobytes() == now.tobytes()


def with_constants(changed: ir.Model, constants: Iterable[Constant]) -> ir.Model:
    """A clone of the changed model with these constants. Raises KeyError for a node that it has not."""
    fitted = changed.clone()
    nodes = {str(node.outputs[0].name): node for node in fitted.graph}
    for one in constants:
        put_constant(nodes[one.output], one.index, one.array)
    return fitted
