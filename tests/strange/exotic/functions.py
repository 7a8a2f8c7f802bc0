"""Exotic models: functions, and values at the model's border."""

# ruff: noqa: E501 -- models are read best with one operator after the other

from __future__ import annotations

import numpy as np

from tests.strange.exotic.models import (
    BATCHES,
    NCHW,
    Exotic,
    exotic,
    parsed,
)

_BOTH = [np.asarray(True), np.asarray(False)]


# --- functions


def _with_functions(text: str, functions: str, weights: dict[str, object] | None = None) -> Exotic:
    header = '<ir_version: 8, opset_import: ["" : 17, "own" : 1]>'
    proto = parsed(header + text + functions, weights)  # type: ignore[arg-type]
    return Exotic(proto, BATCHES)


_CALLED = """
<domain: "own", opset_import: ["" : 17]>
unit (x, w, g, s, m, v) => (y) { c = Conv<kernel_shape=[1,1]>(x, w) b = BatchNormalization(c, g, s, m, v) y = Relu(b) }
"""


@exotic("functions/convolution_inside")
def _function() -> Exotic:
    text = f"""g ({NCHW} x) => (float[N,16,6,6] y) {{
      @a x -> h
      y = own.unit(h, aw, ag, as, am, av) }}"""
    return _with_functions(text, _CALLED)


@exotic("functions/called_twice_and_in_an_if")
def _function_twice() -> Exotic:
    text = f"""g ({NCHW} x, bool k) => (float[N,16,6,6] y) {{
      @a x -> h
      u = own.unit(h, aw, ag, as, am, av)
      z = If(k) <then_branch = t () => (float[N,16,6,6] o) {{ o = own.unit(h, aw, ag, as, am, av) }},
                 else_branch = e () => (float[N,16,6,6] o) {{ o = Neg(u) }}>
      y = Add(u, z) }}"""
    found = _with_functions(text, _CALLED)
    return Exotic(found.proto, BATCHES, choices={"k": _BOTH})


@exotic("functions/nested_with_attributes")
def _function_attributes() -> Exotic:
    functions = """
    <domain: "own", opset_import: ["" : 17, "own" : 1]>
    outer <slope> (x) => (y) { a = own.inner<slope: float = @slope>(x) y = Neg(a) }
    <domain: "own", opset_import: ["" : 17]>
    inner <slope> (x) => (y) { y = LeakyRelu<alpha: float = @slope>(x) }
    """
    text = f"""g ({NCHW} x) => ({NCHW} y) {{ @a x -> h u = own.outer<slope=0.3>(h) @b u -> y }}"""
    return _with_functions(text, functions)


@exotic("functions/own_opset")
def _function_opset() -> Exotic:
    functions = """
    <domain: "own", opset_import: ["" : 14]>
    sums (x) => (y) { s = ReduceMean<axes=[1], keepdims=1>(x) y = Mul(x, s) }
    """
    return _with_functions(f"g ({NCHW} x) => ({NCHW} y) {{ @a x -> h u = own.sums(h) @b u -> y }}", functions)


@exotic("functions/hides_a_standard_operator")
def _function_standard() -> Exotic:
    """A function named Relu in a domain of its own, which is no Relu."""
    functions = """
    <domain: "own", opset_import: ["" : 17]>
    Relu (x) => (y) { y = Neg(x) }
    """
    text = f"""g ({NCHW} x) => ({NCHW} y) {{
      @a x -> h
      c = Conv<kernel_shape=[1,1]>(h, cw) r = own.Relu(c) y = Conv<kernel_shape=[1,1]>(r, cw) }}"""
    return _with_functions(text, functions, {"cw": (8, 8, 1, 1)})


# --- outputs and inputs


def _outputs(names: str) -> Exotic:
    listed = ", ".join(f"float[N,16,6,6] {name}" for name in names.split())
    return Exotic(parsed(f"g ({NCHW} x) => ({NCHW} y, {listed}) {{ @a x -> y }}"), BATCHES)


for _name in ("ac", "ab", "ad", "ar", "ac ab ad ar"):
    exotic(f"outputs/read_on_{_name.replace(' ', '_')}")(lambda names=_name: _outputs(names))  # type: ignore[misc]


@exotic("outputs/input_passed_on")
def _passed() -> Exotic:
    return Exotic(parsed(f"g ({NCHW} x, float[M] u) => ({NCHW} y, float[M] u) {{ @a x -> y }}"), BATCHES)


@exotic("outputs/image_passed_on")
def _image_passed() -> Exotic:
    return Exotic(parsed(f"g ({NCHW} x) => ({NCHW} x, {NCHW} y) {{ @a x -> y }}"), BATCHES)


@exotic("outputs/initializer")
def _initializer() -> Exotic:
    text = f"g ({NCHW} x) => ({NCHW} y, float[16,8,1,1] aw, float[16] ag) {{ @a x -> y }}"
    return Exotic(parsed(text), BATCHES)


@exotic("outputs/constant")
def _constant() -> Exotic:
    text = f"""g ({NCHW} x) => ({NCHW} y, float[2] k, float[2] e) {{
      k = Constant<value = float[2] {{1.0, 2.0}}>() e = Add(k, k) @a x -> y }}"""
    return Exotic(parsed(text), BATCHES)


@exotic("outputs/identity_of_input")
def _identity() -> Exotic:
    text = f"g ({NCHW} x) => ({NCHW} y, {NCHW} z, {NCHW} q) {{ z = Identity(x) @a x -> y q = Identity(y) }}"
    return Exotic(parsed(text), BATCHES)


@exotic("inputs/unused")
def _unused() -> Exotic:
    return Exotic(parsed(f"g ({NCHW} x, float[M,3] u, int64 k) => ({NCHW} y) {{ @a x -> y }}"), BATCHES)


@exotic("inputs/scalars")
def _scalars() -> Exotic:
    text = f"g ({NCHW} x, float u) => ({NCHW} y) {{ @a x -> h k = Mul(h, u) @b k -> y }}"
    return Exotic(parsed(text), BATCHES)
