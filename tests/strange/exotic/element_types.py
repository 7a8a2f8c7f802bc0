"""Exotic models: element types, quantised graphs."""

# ruff: noqa: E501 -- models are read best with one operator after the other

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import ml_dtypes
import numpy as np
import onnx
import onnx.numpy_helper
from onnx import TensorProto, helper

from hwopt.nodes import Array
from tests.strange.exotic.models import (
    BATCHES,
    NORM,
    NORMED,
    Exotic,
    Shape,
    exotic,
    model_of,
    parsed,
    scalar_of,
)

# --- element types


def _in_type(number: int, dtype: type[np.generic], opset: int = 17) -> onnx.ModelProto:
    proto = parsed("g (float[N,8,6,6] x) => (float[N,8,6,6] y) { @a x -> h @b h -> y }", opset=opset)
    for tensor in proto.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array.astype(dtype), tensor.name))
    for info in (*proto.graph.input, *proto.graph.output):
        info.type.tensor_type.elem_type = number
    return proto


@exotic("types/float16")
def _half() -> Exotic:
    return Exotic(_in_type(TensorProto.FLOAT16, np.float16), BATCHES, changes=False)


@exotic("types/float64")
def _double() -> Exotic:
    return Exotic(_in_type(TensorProto.DOUBLE, np.float64), BATCHES, runs=False)


@exotic("types/bfloat16")
def _bfloat() -> Exotic:
    return Exotic(_in_type(TensorProto.BFLOAT16, ml_dtypes.bfloat16), BATCHES, runs=False, changes=False)


def _between(cast: str, weights: Mapping[str, Shape | Array] | None = None, opset: int = 21) -> Exotic:
    return model_of(f"@a x -> h {cast} @b k -> y", weights, opset)


for _kind, _number in {
    "float16": 10, "bfloat16": 16, "float8e4m3fn": 17, "float8e5m2": 19, "float64": 11, "int32": 6, "bool": 9,
}.items():  # fmt: skip
    exotic(f"types/cast_{_kind}")(partial(_between, f"u = Cast<to={_number}>(h) k = Cast<to=1>(u)"))


@exotic("types/mixed_float16")
def _mixed() -> Exotic:
    half = np.random.default_rng(2).standard_normal((8, 8, 1, 1)).astype(np.float16)
    return _between(
        "u = Cast<to=10>(h) c = Conv<kernel_shape=[1,1]>(u, cw) t = Mul(c, ct) k = Cast<to=1>(t)",
        {"cw": half, "ct": np.asarray(2.0, np.float16)},
    )


def _packed(kind: int, dtype: type[np.generic], values: Array, zero: bool = True) -> Exotic:
    """A weight in a small type, dequantised before the convolution that reads it."""
    found = _between(
        f"w = DequantizeLinear<axis=0>(wq, sc{', zp' if zero else ''}) c = Conv<kernel_shape=[1,1]>(h, w) k0 = Relu(c) k = Mul(k0, two)",
        {"sc": np.full(8, 0.05, np.float32), "two": scalar_of(2.0)},
    )
    graph = found.proto.graph
    graph.initializer.append(helper.make_tensor("wq", kind, (8, 8, 1, 1), values.astype(dtype).reshape(-1)))
    if zero:
        graph.initializer.append(helper.make_tensor("zp", kind, (8,), np.zeros(8).astype(dtype)))
    return found


@exotic("types/int4_weights")
def _int4() -> Exotic:
    return _packed(TensorProto.INT4, np.int8, np.random.default_rng(0).integers(-8, 8, 64))


@exotic("types/uint4_weights")
def _uint4() -> Exotic:
    return _packed(TensorProto.UINT4, np.uint8, np.random.default_rng(0).integers(0, 16, 64))


@exotic("types/float8_weights")
def _float8() -> Exotic:
    return _packed(TensorProto.FLOAT8E4M3FN, np.float32, np.random.default_rng(0).standard_normal(64))


@exotic("types/float8e5m2_without_zero")
def _float8e5m2() -> Exotic:
    return _packed(TensorProto.FLOAT8E5M2, np.float32, np.random.default_rng(0).standard_normal(64), False)


@exotic("types/int8_weights")
def _int8() -> Exotic:
    return _packed(TensorProto.INT8, np.int8, np.random.default_rng(0).integers(-128, 128, 64))


@exotic("types/complex_constant")
def _complex() -> Exotic:
    """A constant of complex numbers that nothing reads."""
    found = model_of("@a x -> y")
    found.proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(3, np.complex64), "imaginary"))
    return found


# --- quantised graphs


def _quantised(weight: str, dtype: type[np.integer], opset: int = 17) -> Exotic:
    """QuantizeLinear and DequantizeLinear around an activation, and before a weight."""
    rng = np.random.default_rng(0)
    info = np.iinfo(dtype)
    return model_of(
        f"""@a x -> h q = QuantizeLinear(h, s, z) d = DequantizeLinear(q, s, z)
        w = DequantizeLinear<axis=0>(wq, ws, wz) c = {weight}
        b = {NORMED.format(x="c")} r = Relu(b) e = QuantizeLinear(r, s, z) f = DequantizeLinear(e, s, z) @b f -> y""",
        {
            "s": scalar_of(0.05), "z": np.asarray(3, dtype), "wq": rng.integers(info.min, info.max, (8, 8, 1, 1), dtype=dtype),
            "ws": np.full(8, 0.004, np.float32), "wz": np.zeros(8, dtype), **NORM,
        }, opset,
    )  # fmt: skip


@exotic("quantised/int8")
def _qdq() -> Exotic:
    return _quantised("Conv<kernel_shape=[1,1]>(d, w)", np.int8)


@exotic("quantised/uint8")
def _qdq_unsigned() -> Exotic:
    return _quantised("Conv<kernel_shape=[1,1]>(d, w)", np.uint8)


@exotic("quantised/bias")
def _qdq_bias() -> Exotic:
    return model_of(
        """q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) w = DequantizeLinear<axis=0>(wq, ws)
        k = DequantizeLinear<axis=0>(kq, ks) c = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=8>(d, w, k) r = Relu(c)
        e = QuantizeLinear(r, s, z) f = DequantizeLinear(e, s, z) @b f -> y""",
        {
            "s": scalar_of(0.05), "z": np.asarray(0, np.int8), "wq": np.arange(-36, 36, dtype=np.int8).reshape(8, 1, 3, 3),
            "ws": np.full(8, 0.004, np.float32), "kq": np.arange(8, dtype=np.int32), "ks": np.full(8, 0.001, np.float32),
        },
    )  # fmt: skip


@exotic("quantised/operators")
def _qlinear() -> Exotic:
    return model_of(
        """@a x -> h q = QuantizeLinear(h, s, z) c = QLinearConv<kernel_shape=[1,1]>(q, s, z, wq, ws, wz, s, z)
        f = DequantizeLinear(c, s, z) @b f -> y""",
        {
            "s": scalar_of(0.05), "z": np.asarray(120, np.uint8), "ws": scalar_of(0.01), "wz": np.asarray(0, np.int8),
            "wq": np.random.default_rng(0).integers(-90, 90, (8, 8, 1, 1), dtype=np.int8),
        },
    )  # fmt: skip


@exotic("quantised/dynamic")
def _dynamic() -> Exotic:
    return model_of(
        """@a x -> h q, s, z = DynamicQuantizeLinear(h) c = ConvInteger<kernel_shape=[1,1]>(q, wq, z, wz)
        f = Cast<to=1>(c) m = Mul(s, ws) g0 = Mul(f, m) @b g0 -> y""",
        {
            "ws": scalar_of(0.01), "wz": np.asarray(0, np.uint8),
            "wq": np.random.default_rng(0).integers(0, 90, (8, 8, 1, 1), dtype=np.uint8),
        },
    )  # fmt: skip
