"""Small models with work for every pass and every canonical rule, and what passes offer on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir

from hwopt.choice import Pass, Value
from hwopt.find import with_places
from hwopt.registry import all_passes
from hwopt.target import read_target
from tests.channel_nets import random_net
from tests.graphs import IBN_WEIGHTS, Weights, classifier, ibn, model_of

FOLDER = Path(__file__).parent.parent / "targets"
_NORM = {"scale": (8,), "shift": (8,), "mean": (8,), "var": (8,)}

_TEXTS: Mapping[str, tuple[str, Weights]] = {
    # fold_before, fold_after, remove_noop; the names of weights look like fresh ones
    "folds": (
        """
        <ir_version: 8, opset_import: ["" : 13]>
        folds (float[N,3,12,12] x) => (float[N,8,12,12] y) {
          half = Constant<value = float {0.5}>()
          a = Sub(x, half)
          b = Mul(a, half)
          c = Conv<kernel_shape=[1,1]>(b, w)
          d = BatchNormalization(c, scale, shift, mean, var)
          i = Identity(d)
          e = Conv<kernel_shape=[1,1]>(i, "w.1", "w.2")
          f = Mul(e, half)
          y = Relu(f)
        }""",
        {"w": (8, 3, 1, 1), **_NORM, "w.1": (8, 8, 1, 1), "w.2": (8,)},
    ),
    # fold_scale, fold_pad, explicit_padding, fold_constants
    "borders": (
        """
        <ir_version: 8, opset_import: ["" : 13]>
        borders (float[N,4,9,9] x) => (float[N,4,9,9] y) {
          two = Constant<value = float {2.0}>()
          ones = Constant<value = int64[4] {1,4,1,1}>()
          pads = Constant<value = int64[8] {0,0,1,1,0,0,1,1}>()
          a = Mul(x, two)
          b = Add(a, shift)
          c = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(b, w)
          p = Pad(c, pads)
          d = Conv<kernel_shape=[3,3]>(p, v)
          e = Conv<kernel_shape=[3,3], auto_pad="SAME_UPPER">(d, u)
          slopes = Reshape(flat, ones)
          y = PRelu(e, slopes)
        }""",
        {"w": (4, 4, 3, 3), "v": (4, 4, 3, 3), "u": (4, 4, 3, 3), "shift": (4, 1, 1), "flat": (4,)},
    ),
    # native_activation
    "hardswish": (
        """
        <ir_version: 8, opset_import: ["" : 14]>
        hardswish (float[N,4,6,6] x) => (float[N,4,6,6] y) {
          three = Constant<value = float {3.0}>()
          c = Conv<kernel_shape=[1,1]>(x, w)
          a = Add(c, three)
          b = Clip(a, zero, six)
          m = Mul(c, b)
          s = Div(m, six)
          y = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=4>(s, v)
        }""",
        {"w": (4, 4, 1, 1), "v": (4, 1, 3, 3)},
    ),
    # fuse_ibn: exact with and without a constant channel; fuse_separable; densify_depthwise
    "linear": (
        """
        <ir_version: 8, opset_import: ["" : 13]>
        linear (float[N,16,8,8] x) => (float[N,16,8,8] y) {
          e = Conv<kernel_shape=[1,1]>(x, we, be)
          d = Conv<kernel_shape=[5,5], pads=[2,2,2,2], group=48>(e, wd, bd)
          r = Relu(d)
          p = Conv<kernel_shape=[1,1]>(r, wp, bp)
          s = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=16>(p, ws)
          q = Conv<kernel_shape=[1,1]>(s, wq)
          y = Add(q, x)
        }""",
        {**IBN_WEIGHTS, "ws": (16, 1, 3, 3), "wq": (16, 16, 1, 1)},
    ),
    # swap_activation, exactly
    "prelu": (
        """
        <ir_version: 8, opset_import: ["" : 13]>
        prelu (float[N,4,6,6] x) => (float[N,4,6,6] y) {
          c = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w)
          a = PRelu(c, six)
          y = Conv<kernel_shape=[1,1]>(a, v)
        }""",
        {"w": (4, 4, 3, 3), "v": (4, 4, 1, 1)},
    ),
    # folds around and in front of an If whose branches read the outer graph; nested once more
    "branches": (
        """
        <ir_version: 8, opset_import: ["" : 13]>
        branches (float[N,4,6,6] x, int64 mode) => (float[N,4,6,6] y) {
          two = Constant<value = float {2.0}>()
          one = Constant<value = int64 {1}>()
          c = Conv<kernel_shape=[1,1]>(x, w)
          d = Mul(c, two)
          r = Relu(d)
          i = Identity(r)
          which = Equal(mode, one)
          z = If(which) <
            then_branch = then () => (float[N,4,6,6] t) {
              t0 = Relu(i)
              t = If(which) <
                then_branch = inner () => (float[N,4,6,6] u) { u = Add(t0, i) },
                else_branch = other () => (float[N,4,6,6] o) { o = Sub(t0, i) }
              >
            },
            else_branch = else () => (float[N,4,6,6] f) { f = Neg(i) }
          >
          k = Identity(z)
          y = Conv<kernel_shape=[1,1]>(k, v)
        }""",
        {"w": (4, 4, 1, 1), "v": (4, 4, 1, 1)},
    ),
}


def _of_text(name: str) -> ir.Model:
    model = model_of(*_TEXTS[name])
    variance = model.graph.initializers.get("var")
    if variance is not None and variance.const_value is not None:
        variance.const_value = ir.tensor(np.abs(variance.const_value.numpy()) + 0.5, name="var")
    return model


MODELS: Mapping[str, Callable[[], ir.Model]] = {
    "ibn": ibn,
    "classifier": classifier,
    **{name: (lambda name=name: _of_text(name)) for name in _TEXTS},  # type: ignore[misc]
    **{f"random{seed}": (lambda seed=seed: random_net(seed)) for seed in (0, 2, 3, 4)},  # type: ignore[misc]
}


def input_model(name: str) -> ir.Model:
    """A small model as a run works on it: nodes carry places and labels."""
    return with_places(MODELS[name]())


def offered(model: ir.Model, targets: tuple[str, ...] = ("edge-npu", "ethos-u55-256")) -> list[Value]:
    """Every value of every pass on a model, once, in a fixed order."""
    found: dict[tuple[str, str, str], Value] = {}
    for folder in targets:
        for item in all_passes():
            for value in _values(item, model, folder):
                found.setdefault((value.pass_name, value.choice, value.name), value)
    return list(found.values())


def _values(item: Pass, model: ir.Model, folder: str) -> list[Value]:
    target = read_target(FOLDER / folder)
    return [v for v in item.values(model, target) if isinstance(v, Value) and not item.changes_interface]
