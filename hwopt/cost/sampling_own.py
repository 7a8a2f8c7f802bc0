"""A model's own operators and weights as samples: parts cut from it, and how its weights are spread."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from scipy.special import ndtri

from hwopt.cost.sampling_cut import NEVER_ALONE, affordable, cut
from hwopt.cost.sampling_weights import WeightStyle
from hwopt.grouping import has_graph
from hwopt.nodes import ONNX_DOMAINS, FloatArray, constant, is_op
from hwopt.shapes import TensorInfo

LONGEST_PART = 8  # nodes
MAX_SAMPLED = 1 << 16  # weights looked at
_NO_START = (*NEVER_ALONE, "Constant", "Shape", "Identity", "Squeeze", "Unsqueeze")
_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16)


class OwnParts:
    """Parts of one model: single operators and runs of a few, with the weights that they have.

    infos: shapes and types of its values (hwopt.shapes.infer_shapes). The model stays as it is.
    """

    def __init__(self, model: ir.Model, infos: Mapping[str, TensorInfo]) -> None:
        self._model = model.clone()
        for node in self._model.graph:
            for value in (*node.inputs, *node.outputs):
                info = infos.get((value.name or "") if value is not None else "")
                if value is not None and info is not None:
                    value.shape, value.type = ir.Shape(info.shape), ir.TensorType(info.dtype)
        self._nodes = list(self._model.graph)
        self._usable = [_usable(node, infos) for node in self._nodes]
        self._starts = [
            i
            for i, node in enumerate(self._nodes)
            if self._usable[i] and not is_op(node, *_NO_START) and affordable(cut(self._model, [node]))
        ]

    def __bool__(self) -> bool:
        return bool(self._starts)

    def draw(self, rng: np.random.Generator) -> ir.Model:
        """One operator, or the run of operators that starts with it, as long as it can be measured."""
        start = self._starts[int(rng.integers(len(self._starts)))]
        part = cut(self._model, [self._nodes[start]])
        for stop in range(start + 2, start + 1 + int(rng.integers(1, LONGEST_PART + 1))):
            if stop > len(self._nodes) or not self._usable[stop - 1]:
                break
            longer = cut(self._model, self._nodes[start:stop])
            if not affordable(longer):
                break
            part = longer
        return part


def _usable(node: ir.Node, infos: Mapping[str, TensorInfo]) -> bool:
    """Whether a node can stand in a sample: floats of known shapes and batch 1, no control flow."""
    if node.domain not in ONNX_DOMAINS or has_graph(node):
        return False
    values = [v for v in (*node.inputs, *node.outputs) if v is not None and constant(v) is None]
    return bool(values) and all(_is_map(infos.get(v.name or "")) for v in values)


def _is_map(info: TensorInfo | None) -> bool:
    return info is not None and info.dtype in _FLOATS and (len(info.shape) < 3 or info.shape[0] == 1)


def style_of(weight: FloatArray) -> WeightStyle:
    """A style whose draws have this weight's zeros, spread of channels, and largest to usual weight.

    weight: output channels first.
    """
    rows = weight.reshape(len(weight), -1)
    rows = rows[:: max(1, rows.size // MAX_SAMPLED)].astype(np.float64)
    largest = np.abs(rows).max(axis=1)
    rows, largest = rows[largest > 0], largest[largest > 0]
    if not rows.size:
        return WeightStyle()
    count = rows.shape[1]
    usual = np.sqrt(np.maximum((rows**2).sum(axis=1) - largest**2, 1e-30) / max(1, count - 1))
    # The median of the largest of `count` normal numbers, in standard deviations.
    expected = max(1.0, float(ndtri((1 + 0.5 ** (1 / count)) / 2)))
    return WeightStyle(
        "normal",
        channel_spread=float(np.clip(np.log(usual).std(), 0.0, 1.5)),
        zeros=float(np.mean(weight == 0.0)) if np.mean(weight == 0.0) > 0.02 else 0.0,
        outliers=float(np.clip(np.median(largest / usual) / expected, 1.0, 8.0)) if count > 1 else 1.0,
    )
