"""Exotic models: If, Loop, Scan."""

# ruff: noqa: E501 -- models are read best with one operator after the other

from __future__ import annotations

import numpy as np

from hwopt.nodes import Array
from tests.strange.exotic.models import (
    BATCHES,
    NCHW,
    Exotic,
    Shape,
    dotted,
    exotic,
    i64,
    parsed,
    scalar_of,
)

_BOTH = [np.asarray(True), np.asarray(False)]


def with_if(reads: str, more: str = "", then: str = "t0 = Relu({r})", last: str = "t0") -> Exotic:
    text = f"""g ({NCHW} x, bool k) => ({NCHW} y, float z) {{
      @a x -> h
      {more}
      z = If(k) <
        then_branch = then () => (float o) {{ {then.format(r=reads)} o = ReduceMean<keepdims=0>({last}) }},
        else_branch = other () => (float o) {{ o = ReduceMax<keepdims=0>(x) }} >
      y = Relu(h) }}"""
    return Exotic(parsed(text), BATCHES, choices={"k": _BOTH})


for _name, _value in {
    "expansion": "ac", "normalised": "ab", "filtered": "ad", "activated": "ar", "projected": "ap",
    "weight": "aw", "depthwise_weight": "awd", "scale": "ag", "variance": "av", "bias": "abd", "input": "x",
}.items():  # fmt: skip
    exotic(f"if/reads_{_name}")(lambda value=_value: with_if(value))  # type: ignore[misc]


@exotic("if/reads_noop")
def _noop() -> Exotic:
    return with_if("i", "i = Identity(ac)\n j = Identity(i)", "t0 = Add(i, j)")


@exotic("if/reads_constant_expression")
def _expression() -> Exotic:
    return with_if(
        "e", "e = Mul(ag, ag)\n e2 = Reshape(e, sh)\n u = Mul(ac, e2)\n u2 = Relu(u)"
    ).with_weights({"sh": i64(1, 16, 1, 1)})


@exotic("if/reads_pad")
def _pad() -> Exotic:
    return with_if(
        "i",
        "i = Pad(h, pads)\n u = Conv<kernel_shape=[3,3]>(i, uw)\n u2 = Relu(u)",
    ).with_weights({"pads": i64(0, 0, 1, 1, 0, 0, 1, 1), "uw": (4, 8, 3, 3)})


@exotic("if/block_inside")
def _inside() -> Exotic:
    text = f"""g ({NCHW} x, bool k) => ({NCHW} y) {{
      @a x -> h
      z = If(k) <
        then_branch = then () => ({NCHW} o) {{ @b h -> o }},
        else_branch = other () => ({NCHW} o) {{ oc = Conv<kernel_shape=[1,1]>(h, sw) o = Relu(oc) }} >
      i = Identity(z)
      u = Conv<kernel_shape=[1,1]>(i, sw)
      v = Mul(u, two)
      y = Add(v, h) }}"""
    return Exotic(parsed(text, {"sw": (8, 8, 1, 1), "two": scalar_of(2.0)}), BATCHES, choices={"k": _BOTH})


@exotic("if/nested")
def _nested() -> Exotic:
    text = f"""g ({NCHW} x, bool k, bool l) => ({NCHW} y) {{
      @a x -> h
      z = If(k) <
        then_branch = then () => ({NCHW} o) {{
          o = If(l) <
            then_branch = inner () => ({NCHW} p) {{ p1 = ReduceSum<keepdims=1>(ac, axes) p = Add(p1, h) }},
            else_branch = outer () => ({NCHW} p) {{ @b h -> p }} > }},
        else_branch = other () => ({NCHW} o) {{ o = Mul(h, ap) }} >
      @c z -> y }}"""
    return Exotic(parsed(text, {"axes": i64(1)}), BATCHES, choices={"k": _BOTH, "l": _BOTH})


@exotic("if/same_names")
def _same_names() -> Exotic:
    """Both branches, and both Ifs, use the same names inside; one has an initializer of its own."""
    text = f"""g ({NCHW} x, bool k) => ({NCHW} y) {{
      @a x -> h
      z = If(k) <
        then_branch = then () => ({NCHW} o) <float two = {{2.0}}> {{ u = Mul(h, two) o = Relu(u) }},
        else_branch = other () => ({NCHW} o) <float two = {{3.0}}> {{ u = Mul(h, two) o = Neg(u) }} >
      q = If(k) <
        then_branch = then () => ({NCHW} o) {{ u = Sub(z, h) o = Relu(u) }},
        else_branch = other () => ({NCHW} o) {{ u = Add(z, h) o = Neg(u) }} >
      @b q -> y }}"""
    return Exotic(parsed(text), BATCHES, choices={"k": _BOTH})


@exotic("if/later_names")
def _later() -> Exotic:
    """Names inside that the graph around uses, but only behind the If."""
    text = f"""g ({NCHW} x, bool k) => ({NCHW} y) {{
      @a x -> h
      z = If(k) <
        then_branch = then () => ({NCHW} o) {{ bc = Relu(h) bb = Neg(bc) o = Add(bb, h) }},
        else_branch = other () => ({NCHW} o) {{ y = Neg(h) o = Add(y, h) }} >
      @b z -> y }}"""
    return Exotic(parsed(text), BATCHES, choices={"k": _BOTH})


@exotic("if/fresh_names")
def _fresh() -> Exotic:
    """Names inside that rewrites like to give."""
    text = f"""g ({NCHW} x, bool k) => ({NCHW} y) {{
      @a x -> h
      z = If(k) <
        then_branch = then () => ({NCHW} o) <float[1] aw_1 = {{2.0}}> {{
          awd_1 = Relu(h) ac_ones = Neg(awd_1) u = Mul(ac_ones, aw_1) o = Add(u, h) }},
        else_branch = other () => ({NCHW} o) {{ o = Neg(h) }} >
      @b z -> y }}"""
    return Exotic(dotted(parsed(text)), BATCHES, choices={"k": _BOTH})


@exotic("if/constant_condition")
def _constant_condition() -> Exotic:
    text = f"""g ({NCHW} x) => ({NCHW} y) {{
      @a x -> h
      k = Constant<value = bool {{1}}>()
      z = If(k) <then_branch = then () => ({NCHW} o) {{ @b h -> o }},
                 else_branch = other () => ({NCHW} o) {{ o = Neg(ac2) }} >
      y = Relu(z) }}""".replace("ac2", "h")
    return Exotic(parsed(text), BATCHES)


@exotic("if/different_shapes")
def _different() -> Exotic:
    text = f"""g ({NCHW} x, bool k) => (float[?,?,?,?] y) {{
      @a x -> h
      z = If(k) <then_branch = then () => (float[P,Q,R,S] o) {{ o = MaxPool<kernel_shape=[2,2]>(h) }},
                 else_branch = other () => (float[P,Q,R,S] o) {{ o = Neg(h) }} >
      @b z -> y }}"""
    return Exotic(parsed(text), BATCHES, choices={"k": _BOTH})


@exotic("loop/carried")
def _loop() -> Exotic:
    text = f"""g ({NCHW} x, int64 n) => ({NCHW} y, float[?,?] s) {{
      @a x -> h
      y, s = Loop(n, , h) <body = b (int64 i, bool c, {NCHW} v) => (bool d, {NCHW} w, float[?] t) {{
        d = Identity(c)
        e = Conv<kernel_shape=[1,1]>(v, lw)
        e2 = BatchNormalization(e, og, os, om, ov)
        f = Add(e2, ap)
        w = Relu(f)
        m = ReduceMean<keepdims=0>(ac)
        t = Reshape(m, one) }}> }}"""
    weights: dict[str, Shape | Array] = {
        "lw": (8, 8, 1, 1),
        "og": (8,),
        "os": (8,),
        "om": (8,),
        "ov": (8,),
        "one": i64(1),
    }
    counts = [scalar_of(2, np.int64), scalar_of(0, np.int64), scalar_of(3, np.int64)]
    return Exotic(parsed(text, weights), BATCHES, choices={"n": counts})


@exotic("loop/reads_weights")
def _loop_weights() -> Exotic:
    text = f"""g ({NCHW} x) => ({NCHW} y) {{
      @a x -> h
      z = Loop(n, k, h) <body = b (int64 i, bool c, {NCHW} v) => (bool d, {NCHW} w) {{
        d = Less(i, n)
        e = Conv<kernel_shape=[1,1]>(v, aw)
        e2 = BatchNormalization(e, ag, as, am, av)
        f = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=16>(e2, awd, abd)
        w = Conv<kernel_shape=[1,1]>(f, awp, abp) }}>
      @b z -> y }}"""
    weights: dict[str, Shape | Array] = {"n": scalar_of(2, np.int64), "k": np.asarray(True)}
    return Exotic(parsed(text, weights), BATCHES)


@exotic("scan/states")
def _scan() -> Exotic:
    text = """g (float[T,8,6,6] x) => (float[1,8,6,6] y, float[T,1,8,6,6] s) {
      @a x -> h
      q = Unsqueeze(h, axes)
      y, s = Scan<num_scan_inputs=1, body = b (float[1,8,6,6] v, float[1,8,6,6] i) => (float[1,8,6,6] w, float[1,8,6,6] o) {
        e = Conv<kernel_shape=[1,1]>(v, awp2)
        e2 = Mul(e, ab2)
        w = Add(e2, i)
        o = Relu(w) }>(start, q) }"""
    weights: dict[str, Shape | Array] = {
        "axes": i64(1),
        "start": (1, 8, 6, 6),
        "awp2": (8, 8, 1, 1),
        "ab2": (1, 8, 1, 1),
    }
    return Exotic(parsed(text, weights), ({"T": 1}, {"T": 4}))


@exotic("scan/reads_outer")
def _scan_outer() -> Exotic:
    text = """g (float[T,8,6,6] x) => (float[8,6,6] y, float[T,16] s, float[T,8,6,6] z) {
      @a x -> z
      y, s = Scan<num_scan_inputs=1, body = b (float[8,6,6] v, float[8,6,6] i) => (float[8,6,6] w, float[16] o) {
        w = Add(v, i)
        m = ReduceMean<keepdims=0, axes=[0,2,3]>(ac)
        o = Mul(m, ag) }>(start, z) }"""
    return Exotic(parsed(text, {"start": (8, 6, 6)}), ({"T": 1}, {"T": 4}))
