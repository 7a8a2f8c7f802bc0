"""Exotic models: weights that are inputs, weights that nodes compute."""

# ruff: noqa: E501 -- models are read best with one operator after the other

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import helper

from hwopt.nodes import Array
from tests.strange.exotic.models import (
    BATCHES,
    NCHW,
    NORM,
    NORMED,
    Exotic,
    Shape,
    exotic,
    i64,
    model_of,
    scalar_of,
)

# --- weights that are inputs


def _overridable(name: str, shape: str, ir_version: int = 8) -> Exotic:
    found = model_of("@a x -> h @b h -> y", inputs=f"{NCHW} x, float[{shape}] {name}")
    found.proto.ir_version = ir_version
    return found


for _name, _shape in {
    "aw": "16,8,1,1", "ag": "16", "am": "16", "awd": "16,1,3,3", "abd": "16", "awp": "8,16,1,1", "abp": "8",
}.items():  # fmt: skip
    exotic(f"overridable/{_name}")(lambda name=_name, shape=_shape: _overridable(name, shape))  # type: ignore[misc]


@exotic("overridable/all_in_ir_3")
def _ir3() -> Exotic:
    """IR version 3 lists every weight as an input: there they are constants."""
    found = model_of("@a x -> h @b h -> y", opset=8)
    found.proto.ir_version = 3
    for tensor in found.proto.graph.initializer:
        found.proto.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    return found


@exotic("overridable/shape_and_axes")
def _overridable_shape() -> Exotic:
    found = model_of(
        "@a x -> h q = Reshape(h, sh) r = Relu(q) y = Reshape(r, sh)",
        {"sh": i64(-1, 8, 6, 6)}, inputs=f"{NCHW} x, int64[4] sh",
    )  # fmt: skip
    return Exotic(found.proto, BATCHES, choices={"sh": [i64(-1, 8, 6, 6), i64(-1, 8, 3, 12)]})


@exotic("overridable/neutral")
def _overridable_neutral() -> Exotic:
    """A factor of one by default, an Add of zero, a Clip without bounds."""
    return model_of(
        "@a x -> h q = Mul(h, one) r = Add(q, zero) s = Clip(r, low, high) @b s -> y",
        {
            "one": scalar_of(1.0),
            "zero": np.zeros((8, 1, 1), np.float32),
            "low": scalar_of(-3e38),
            "high": scalar_of(3e38),
        },
        inputs=f"{NCHW} x, float one, float[8,1,1] zero, float low",
    )


# --- weights that are computed


def _computed(how: str, weights: Mapping[str, Shape | Array], more: str = "") -> Exotic:
    return model_of(
        f"""{how} {more} a = Conv<kernel_shape=[1,1]>(x, w) b = {NORMED.format(x="a")} c = Relu(b)
        d = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=8>(c, wd) @a d -> y""",
        {**NORM, "wd": (8, 1, 3, 3), **weights},
    )


@exotic("computed/product")
def _product() -> Exotic:
    return _computed("w = Mul(w0, f)", {"w0": (8, 8, 1, 1), "f": (8, 1, 1, 1)})


@exotic("computed/reshape_of_constant")
def _reshaped() -> Exotic:
    return _computed("k = Constant<value_ints=[8,8,1,1]>() w = Reshape(w0, k)", {"w0": (64,)})


@exotic("computed/normalised")
def _weight_norm() -> Exotic:
    """Weight normalisation: g * v / |v|."""
    return _computed(
        "n = ReduceL2<axes=[1,2,3], keepdims=1>(w0) u = Div(w0, n) w = Mul(u, f)",
        {"w0": (8, 8, 1, 1), "f": (8, 1, 1, 1)},
    )


@exotic("computed/from_the_input")
def _from_input() -> Exotic:
    return _computed("m = ReduceMean<keepdims=0>(x) w = Mul(w0, m)", {"w0": (8, 8, 1, 1)})


@exotic("computed/at_random")
def _random() -> Exotic:
    return _computed(
        "r = RandomNormal<shape=[8,8,1,1], seed=1.0>() z = Mul(r, nil) w = Add(w0, z)",
        {"w0": (8, 8, 1, 1), "nil": scalar_of(0.0)},
    )


@exotic("computed/cast")
def _cast() -> Exotic:
    half = np.random.default_rng(3).standard_normal((8, 8, 1, 1)).astype(np.float16)
    return _computed("w = Cast<to=1>(w0)", {"w0": half})


@exotic("computed/constant_of_shape")
def _filled() -> Exotic:
    return _computed("w = ConstantOfShape<value = float[1] {0.25}>(sh)", {"sh": i64(8, 8, 1, 1)})


@exotic("computed/expression_read_by_all")
def _shared_expression() -> Exotic:
    """A constant expression that is weight, operand and output."""
    return model_of(
        f"""w = Mul(w0, f) a = Conv<kernel_shape=[1,1]>(x, w) b = {NORMED.format(x="a")}
        c = Conv<kernel_shape=[1,1]>(b, w) d = ReduceSum(w, axes) e = Mul(c, d) @a e -> y""",
        {"w0": (8, 8, 1, 1), "f": (8, 1, 1, 1), "axes": i64(0), **NORM},
        outputs=f"{NCHW} y, float[8,8,1,1] w",
    )


@exotic("computed/in_an_if")
def _weight_if() -> Exotic:
    found = model_of(
        f"""w = If(k) <then_branch = t () => (float[8,8,1,1] o) {{ o = Mul(w0, w0) }},
                       else_branch = e () => (float[8,8,1,1] o) {{ o = Neg(w0) }}>
        a = Conv<kernel_shape=[1,1]>(x, w0) b = {NORMED.format(x="a")} c = Conv<kernel_shape=[1,1]>(b, w) @a c -> y""",
        {"w0": (8, 8, 1, 1), **NORM}, inputs=f"{NCHW} x, bool k",
    )  # fmt: skip
    return Exotic(found.proto, BATCHES, choices={"k": [np.asarray(True), np.asarray(False)]})
