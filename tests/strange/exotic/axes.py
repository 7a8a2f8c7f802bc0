"""Exotic models: dynamic axes."""

from __future__ import annotations

import numpy as np

from tests.strange.exotic.models import (
    BATCHES,
    NCHW,
    Exotic,
    exotic,
    i64,
    parsed,
)


@exotic("dynamic/batch")
def any_batch() -> Exotic:
    return Exotic(parsed(f"g ({NCHW} x) => ({NCHW} y) {{ @a x -> h @b h -> y }}"), BATCHES)


@exotic("dynamic/image")
def _image() -> Exotic:
    text = "g (float[N,8,H,W] x) => (float[N,8,H,W] y) { @a x -> y }"
    sizes = [{"N": n, "H": h, "W": w} for n, h, w in ((1, 6, 6), (2, 5, 9), (1, 1, 1))]
    return Exotic(parsed(text), sizes, {"x": (1, 8, 6, 6)})


@exotic("dynamic/unnamed")
def _unnamed() -> Exotic:
    text = "g (float[?,8,?,?] x) => (float[?,?,?,?] y) { @a x -> y }"
    proto = parsed(text)
    return Exotic(proto, ({},), {"x": (1, 8, 6, 6)})


@exotic("dynamic/reshape")
def _reshape() -> Exotic:
    text = """g (float[N,8,H,W] x) => (float[N,M] y) {
      @a x -> h
      s = Shape(h)
      n = Gather(s, zero)
      m = Unsqueeze(n, axes)
      t = Concat<axis=0>(m, minus)
      y = Reshape(h, t) }"""
    weights = {"zero": np.asarray(0), "axes": i64(0), "minus": i64(-1)}
    return Exotic(
        parsed(text, weights), [{"N": 2, "H": 4, "W": 3}, {"N": 1, "H": 6, "W": 6}], {"x": (1, 8, 6, 6)}
    )


@exotic("dynamic/same_upper")
def _same() -> Exotic:
    text = """g (float[N,8,H,W] x) => (float[N,8,P,Q] y) {
      @a x -> h
      k = Conv<kernel_shape=[3,3], auto_pad="SAME_UPPER", strides=[2,2], group=8>(h, kd)
      o = BatchNormalization(k, og, os, om, ov)
      y = Relu(o) }"""
    weights = {"kd": (8, 1, 3, 3), "og": (8,), "os": (8,), "om": (8,), "ov": (8,)}
    sizes = [{"N": 1, "H": h, "W": w} for h, w in ((6, 6), (7, 4), (5, 5))]
    return Exotic(parsed(text, weights), sizes, {"x": (1, 8, 6, 6)})


@exotic("dynamic/resize")
def _resize() -> Exotic:
    text = """g (float[N,8,H,W] x) => (float[N,8,H,W] y) {
      @a x -> h
      q = MaxPool<kernel_shape=[2,2], strides=[2,2]>(h)
      @b q -> k
      s = Shape(h)
      u = Resize<mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric">(k, , , s)
      y = Add(u, h) }"""
    return Exotic(parsed(text), [{"N": 1, "H": 6, "W": 6}, {"N": 1, "H": 8, "W": 4}], {"x": (1, 8, 6, 6)})
