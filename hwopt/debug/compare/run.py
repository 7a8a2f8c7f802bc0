"""Runs a model piece by piece, and holds only what is still needed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from hwopt.debug.compare.memory import hand_back
from hwopt.debug.compare.pieces import Piece
from hwopt.nodes import Array
from hwopt.reads import outer_reads
from hwopt.runtime import Session
from hwopt.wording import said

_WORTH_HANDING_BACK = 1 << 20  # bytes
Values = dict[ir.Value, Array]


class PieceFailed(Exception):
    """A piece cannot be run by itself; the text says why."""


class Runner:
    """One piece of a model, ready to run. model: what it is cut from; weights are shared with it."""

    def __init__(self, model: ir.Model, piece: Piece, known: Mapping[ir.Value, Array]) -> None:
        self._piece = piece
        missing = next((value for value in piece.reads if value not in known), None)
        if missing is not None:
            raise PieceFailed(f"it needs '{missing.name}', which was not computed")
        examples = {str(value.name): known[value] for value in piece.reads}
        try:
            self._session = Session(_model_of(model, piece, examples))
        except Exception as error:  # whatever ONNX Runtime throws
            raise PieceFailed(said(error)) from None

    def run(self, known: Mapping[ir.Value, Array]) -> Values:
        """What the piece makes of these values. Raises PieceFailed where it does not run."""
        feeds = {str(value.name): known[value] for value in self._piece.reads}
        try:
            found = self._session.run(feeds)
        except Exception as error:  # whatever ONNX Runtime throws
            raise PieceFailed(said(error)) from None
        # Copies: as it comes, an output keeps the whole arena of its session alive.
        return {value: np.array(found[str(value.name)]) for value in self._piece.makes}


def _model_of(model: ir.Model, piece: Piece, examples: Mapping[str, Array]) -> ir.Model:
    """The nodes of a piece as a model; every dimension is left open, so that nothing stale can object."""
    constants = dict.fromkeys(v for node in piece.nodes for v in outer_reads(node) if v.is_initializer())
    graph = ir.GraphView(
        piece.reads,
        piece.makes,
        nodes=piece.nodes,
        initializers=tuple(constants),
        opset_imports=model.graph.opset_imports,
        name="piece",
    ).clone()
    for value in graph.inputs:
        example = examples[str(value.name)]
        value.type = ir.TensorType(ir.DataType.from_numpy(example.dtype))
        value.shape = ir.Shape([None] * example.ndim)
    for value in graph.outputs:
        value.shape = None
    return ir.Model(graph, ir_version=model.ir_version, functions=tuple(model.functions.values()))


def let_go(known: Values, last: Mapping[ir.Value, int], number: int) -> None:
    """Forgets every value that nothing after this piece needs. last: by value, who needs it last."""
    gone = [value for value in known if last.get(value, -1) <= number]
    freed = sum(known.pop(value).nbytes for value in gone)
    if freed >= _WORTH_HANDING_BACK:
        hand_back()
