"""Exotic models: padding, groups, dilations."""

# ruff: noqa: E501 -- models are read best with one operator after the other

from __future__ import annotations

from dataclasses import replace
from functools import partial

from tests.strange.exotic.models import (
    NORM,
    NORMED,
    Exotic,
    Shape,
    exotic,
    i64,
    model_of,
    scalar_of,
)


def _conv(attributes: str, weight: Shape, before: str = "", size: str = "8,7,6", rank: int = 4) -> Exotic:
    out = weight[0]
    free = ",".join("PQR"[: rank - 2])
    return model_of(
        f"""{before or "u = Identity(x)"} c = Conv<{attributes}>(u, w, k)
        b = BatchNormalization(c, og, os, om, ov) y = Relu(b)""",
        {"w": weight, "k": (out,), **{f"o{k}": (out,) for k in "gsmv"}, "pads": i64(0, 0, 2, 0, 0, 0, 1, 3)},
        inputs=f"float[N,{size}] x", outputs=f"float[N,{out},{free}] y",
    )  # fmt: skip


_DW = "kernel_shape=[3,3], group=8"
for _name, _case in {
    "padding/same_upper": (f'{_DW}, auto_pad="SAME_UPPER", strides=[2,2]', (8, 1, 3, 3)),
    "padding/same_lower": (f'{_DW}, auto_pad="SAME_LOWER", strides=[2,2]', (8, 1, 3, 3)),
    "padding/same_lower_even": ('kernel_shape=[2,4], group=8, auto_pad="SAME_LOWER"', (8, 1, 2, 4)),
    "padding/valid": (f'{_DW}, auto_pad="VALID"', (8, 1, 3, 3)),
    "padding/same_without_kernel": ('group=8, auto_pad="SAME_UPPER"', (8, 1, 3, 3)),
    "padding/asymmetric": (f"{_DW}, pads=[0,2,1,0]", (8, 1, 3, 3)),
    "padding/asymmetric_strided": (f"{_DW}, pads=[0,0,1,1], strides=[2,2]", (8, 1, 3, 3)),
    "padding/wider_than_the_kernel": (f"{_DW}, pads=[4,4,4,4]", (8, 1, 3, 3)),
    "groups/two": ("kernel_shape=[3,3], group=2", (8, 4, 3, 3)),
    "groups/four_widening": ("kernel_shape=[1,1], group=4", (16, 2, 1, 1)),
    "groups/multiplier_2": ("kernel_shape=[3,3], pads=[1,1,1,1], group=8", (16, 1, 3, 3)),
    "groups/multiplier_3_strided": ("kernel_shape=[3,3], strides=[2,1], group=8", (24, 1, 3, 3)),
    "groups/dilated": (f"{_DW}, dilations=[2,2], pads=[2,2,2,2]", (8, 1, 3, 3)),
    "groups/dilated_multiplier": ("kernel_shape=[3,3], dilations=[1,2], group=8", (16, 1, 3, 3)),
    "groups/dilated_dense": ("kernel_shape=[3,3], dilations=[2,2], pads=[2,2,2,2]", (8, 8, 3, 3)),
    "groups/tall_kernel": ("kernel_shape=[5,1], group=8", (8, 1, 5, 1)),
    "groups/no_kernel_shape": ("group=8", (8, 1, 3, 3)),
}.items():
    exotic(_name)(lambda case=_case: _conv(*case))  # type: ignore[misc]


@exotic("padding/same_upper_dilated")
def _same_dilated() -> Exotic:
    """ONNX Runtime does not run it."""
    return replace(_conv(f'{_DW}, auto_pad="SAME_UPPER", dilations=[2,1]', (8, 1, 3, 3)), runs=False)


for _name, _pads in {
    "zeros": "Pad(x, pads)",
    "reflected": 'Pad<mode="reflect">(x, pads)',
    "edges": 'Pad<mode="edge">(x, pads)',
}.items():
    exotic(f"padding/pad_{_name}")(partial(_conv, f"{_DW}, pads=[0,1,0,0]", (8, 1, 3, 3), f"u = {_pads}"))


@exotic("groups/one_dimension")
def _one() -> Exotic:
    return _conv("kernel_shape=[3], pads=[1,1], group=8", (8, 1, 3), size="8,9", rank=3)


@exotic("groups/three_dimensions")
def _three() -> Exotic:
    return _conv("kernel_shape=[3,3,3], pads=[1,1,1,0,0,0], group=8", (8, 1, 3, 3, 3), size="8,4,5,6", rank=5)


@exotic("groups/one_channel")
def _single() -> Exotic:
    return _conv("kernel_shape=[3,3], pads=[1,1,1,1]", (1, 8, 3, 3))


@exotic("groups/transposed")
def _transposed() -> Exotic:
    return model_of(
        f"""@a x -> h c = ConvTranspose<kernel_shape=[3,3], strides=[2,2], group=2, output_padding=[1,1], pads=[1,1,1,1]>(h, w, k)
        b = {NORMED.format(x="c")} r = Relu(b) t = ConvTranspose<auto_pad="SAME_UPPER", strides=[2,2]>(r, w2)
        m = Mul(t, two) y = MaxPool<kernel_shape=[4,4], strides=[4,4]>(m)""",
        {"w": (8, 4, 3, 3), "k": (8,), "w2": (8, 8, 3, 3), "two": scalar_of(2.0), **NORM},
    )


@exotic("groups/pools")
def _pools() -> Exotic:
    return model_of(
        f"""@a x -> h p = AveragePool<kernel_shape=[3,3], auto_pad="SAME_UPPER", count_include_pad=1>(h) b = {NORMED.format(x="p")}
        q, i = MaxPool<kernel_shape=[2,2], auto_pad="SAME_LOWER">(b) r = MaxPool<kernel_shape=[3,3], ceil_mode=1, strides=[2,2]>(q)
        s = AveragePool<kernel_shape=[2,2], pads=[0,1,1,0]>(r) @b s -> y""",
        NORM, outputs="float[N,8,P,Q] y, int64[N,8,6,6] i",
    )  # fmt: skip


@exotic("groups/empty_batch")
def _nothing() -> Exotic:
    """No sample at all is an input, too."""
    found = model_of("@a x -> y")
    return Exotic(found.proto, ({"N": 0}, {"N": 2}))
