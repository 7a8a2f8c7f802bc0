"""Models, and the same models a little different, for the tests of comparing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir

from hwopt.debug import Inputs, Layers, generated_inputs
from hwopt.edit import set_constant
from hwopt.ir import load_model, save_model
from hwopt.nodes import as_conv, convs
from hwopt.runtime import Session

NOISE = np.random.default_rng(3).standard_normal((2, 3, 16, 16)).astype(np.float32)


def parsed(text: str) -> ir.Model:
    """A model from ONNX text."""
    return ir.from_proto(onnx.parser.parse_model(text))


def bumped(model: ir.Model, output: str, by: float = 0.5) -> ir.Model:
    """The model with one weight of the convolution that makes `output` changed."""
    changed = model.clone()
    node = next(node for node in changed.graph if node.outputs[0].name == output)
    conv = as_conv(node)
    assert conv is not None
    weight = np.array(conv.weight)
    weight.reshape(-1)[0] += by
    set_constant(node, 1, weight)
    return changed


def noise(model: ir.Model) -> list[Inputs]:
    return generated_inputs(model, Session(model).run, {})


SQRT = """
<ir_version: 8, opset_import: ["" : 13]>
g (float[N,4] x) => (float[N,4] y) { y = Sqrt(x) }
"""
SQRT_OF_ABS = """
<ir_version: 8, opset_import: ["" : 13]>
g (float[N,4] x) => (float[N,4] y) { a = Abs(x) y = Sqrt(a) }
"""


TWO = """
<ir_version: 8, opset_import: ["" : 13]>
g (float[N,4] x) => (float[N,4] y, float[N,4] z) { y = Relu(x) z = Neg(x) }
"""


X = {"x": np.random.default_rng(3).standard_normal((2, 3, 16, 16)).astype(np.float32)}


def bumped_nth(model: ir.Model, number: int) -> ir.Model:
    """The model with one weight of a convolution changed; they are counted from 0."""
    changed = model.clone()
    conv = list(convs(changed))[number]
    weight = np.array(conv.weight)
    weight.reshape(-1)[0] += 0.5
    set_constant(conv.node, 1, weight)
    return changed


def names(layers: Layers) -> list[str]:
    """The tensors that were compared."""
    return [layer.name for layer in layers.tensors]


def saved(model: ir.Model, folder: Path) -> ir.Model:
    """The model as it comes back from a file: what it carries in memory alone is gone."""
    save_model(model, folder / "saved.onnx", force=True)
    return load_model(folder / "saved.onnx")
