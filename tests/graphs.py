"""Small models written as ONNX text, with seeded weights filled in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import onnx_ir as ir

from hwopt.ir import save_model
from hwopt.nodes import FloatArray
from hwopt.places import assign_places
from hwopt.runtime import run

Weights = Mapping[str, tuple[int, ...]]

IBN = """
<ir_version: 8, opset_import: ["" : 13]>
ibn (float[N,16,14,14] x) => (float[N,16,14,14] y) {
  e = Conv<kernel_shape=[1,1]>(x, we, be)
  ea = Clip(e, zero, six)
  d = Conv<kernel_shape=[5,5], pads=[2,2,2,2], group=48>(ea, wd, bd)
  da = Clip(d, zero, six)
  p = Conv<kernel_shape=[1,1]>(da, wp, bp)
  y = Add(p, x)
}
"""
IBN_WEIGHTS: Weights = {
    "we": (48, 16, 1, 1), "be": (48,), "wd": (48, 1, 5, 5), "bd": (48,), "wp": (16, 48, 1, 1), "bp": (16,),
}  # fmt: skip

CLASSIFIER = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[N,3,16,16] x) => (float[N,10] y) {
  s = Conv<kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2]>(x, ws, bs)
  sa = Relu(s)
  e = Conv<kernel_shape=[1,1]>(sa, we, be)
  ea = Clip(e, zero, six)
  d = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=36>(ea, wd, bd)
  da = Clip(d, zero, six)
  p = Conv<kernel_shape=[1,1]>(da, wp, bp)
  r = Add(p, sa)
  h = Conv<kernel_shape=[1,1]>(r, wh, bh)
  ha = Relu(h)
  g = GlobalAveragePool(ha)
  f = Flatten<axis=1>(g)
  y = Gemm<transB=1>(f, wg, bg)
}
"""
CLASSIFIER_WEIGHTS: Weights = {
    "ws": (12, 3, 3, 3), "bs": (12,), "we": (36, 12, 1, 1), "be": (36,), "wd": (36, 1, 3, 3), "bd": (36,),
    "wp": (12, 36, 1, 1), "bp": (12,), "wh": (60, 12, 1, 1), "bh": (60,), "wg": (10, 60), "bg": (10,),
}  # fmt: skip


def model_of(text: str, weights: Weights, seed: int = 0) -> ir.Model:
    """The model with normal weights and the scalars `zero` and `six`; its nodes have places."""
    rng = np.random.default_rng(seed)
    arrays = {name: 0.4 * rng.standard_normal(shape) for name, shape in weights.items()}
    arrays |= {"zero": np.asarray(0.0), "six": np.asarray(6.0)}
    proto = onnx.parser.parse_model(text)
    for name, array in arrays.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    model = ir.from_proto(proto)
    assign_places(model)
    return model


def ibn(seed: int = 0) -> ir.Model:
    """One residual inverted bottleneck, 16 -> 48 -> 16 at 14x14, 5x5, ReLU6."""
    return model_of(IBN, IBN_WEIGHTS, seed)


def classifier(seed: int = 0) -> ir.Model:
    """Stem, one residual bottleneck, head, ten classes; 3x16x16 input."""
    return model_of(CLASSIFIER, CLASSIFIER_WEIGHTS, seed)


def output_of(model: ir.Model, x: FloatArray) -> FloatArray:
    """The model's output `y` for the input `x`, by ONNX Runtime."""
    return np.asarray(run(model, {"x": x})["y"], dtype=np.float32)


def write_classifier(folder: Path) -> None:
    """`model.onnx`, and `calib.npz` labelled with what the model itself says."""
    model = classifier()
    save_model(model, folder / "model.onnx")
    x = np.random.default_rng(7).standard_normal((60, 3, 16, 16)).astype(np.float32)
    np.savez(folder / "calib.npz", x=x, labels=output_of(model, x).argmax(axis=1))


def values_of(model: ir.Model, x: FloatArray, name: str) -> FloatArray:
    """Any value of a model for the input `x`, by ONNX Runtime."""
    return np.asarray(run(model, {"x": x}, [name])[name], dtype=np.float32)
