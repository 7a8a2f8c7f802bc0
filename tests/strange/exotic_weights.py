"""Exotic models: where weights come from, element types, quantisation, padding, groups."""

# ruff: noqa: E501 -- models are read best with one operator after the other

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import ml_dtypes
import numpy as np
import onnx
import onnx.numpy_helper
from onnx import TensorProto, helper

from hwopt.nodes import Array
from tests.strange.exotic_models import Exotic, Shape, exotic, f32, i64, parsed, scalar_of

_NCHW = "float[N,8,6,6]"
_BATCHES = ({"N": 1}, {"N": 3})
_NORM: Mapping[str, Shape] = {f"o{k}": (8,) for k in "gsmv"}
_NORMED = "BatchNormalization({x}, og, os, om, ov)"


def _model(
    body: str,
    weights: Mapping[str, Shape | Array] | None = None,
    opset: int = 17,
    inputs: str = f"{_NCHW} x",
    outputs: str = f"{_NCHW} y",
) -> Exotic:
    return Exotic(parsed(f"g ({inputs}) => ({outputs}) {{ {body} }}", weights, opset), _BATCHES)


# --- sparse weights ------------------------------------------------------------------------


def _sparse(array: Array, name: str, linear: bool = True) -> onnx.SparseTensorProto:
    where = np.flatnonzero(array) if linear else np.argwhere(array)
    values = onnx.numpy_helper.from_array(array.reshape(-1)[np.flatnonzero(array)], name)
    indices = onnx.numpy_helper.from_array(where.astype(np.int64), f"{name}_indices")
    return helper.make_sparse_tensor(values, indices, list(array.shape))


def _with_sparse(found: Exotic, names: str, linear: bool = True) -> Exotic:
    graph = found.proto.graph
    for tensor in [t for t in graph.initializer if t.name in names.split()]:
        array = onnx.numpy_helper.to_array(tensor).copy()
        array[np.abs(array) < 0.3] = 0.0
        graph.sparse_initializer.append(_sparse(array, tensor.name, linear))
        graph.initializer.remove(tensor)
    return found


@exotic("sparse/folded")
def _sparse_folded() -> Exotic:
    return _with_sparse(_model("@a x -> y"), "aw")


@exotic("sparse/depthwise_and_untouched")
def _sparse_depthwise() -> Exotic:
    found = _model(
        "@a x -> h q = Conv<kernel_shape=[1,1]>(h, qw) r = Neg(q) y = Mul(r, qm)",
        {"qw": (8, 8, 1, 1), "qm": (8, 6, 6)},
    )
    return _with_sparse(found, "awd qw qm")


@exotic("sparse/coordinates")
def _sparse_coordinates() -> Exotic:
    return _with_sparse(
        _model(
            "@a x -> h q = Flatten<axis=1>(h) y = MatMul(q, qw)", {"qw": (288, 5)}, outputs="float[N,5] y"
        ),
        "qw",
        False,
    )


@exotic("sparse/constant_node")
def _sparse_constant() -> Exotic:
    found = _model("k = Identity(kk) @a x -> h y = Mul(h, k)", {"kk": (8, 6, 6)})
    graph = found.proto.graph
    [tensor] = [t for t in graph.initializer if t.name == "kk"]
    array = onnx.numpy_helper.to_array(tensor).copy()
    array[array < 0] = 0.0
    graph.initializer.remove(tensor)
    graph.node[0].CopyFrom(
        helper.make_node("Constant", [], ["k"], sparse_value=_sparse(array.reshape(-1), ""))
    )
    graph.node.insert(1, helper.make_node("Reshape", ["k", "shape"], ["k2"]))
    graph.initializer.append(onnx.numpy_helper.from_array(i64(8, 6, 6), "shape"))
    graph.node[-1].input[1] = "k2"
    return found


# --- tied weights --------------------------------------------------------------------------


@exotic("tied/one_weight_two_norms")
def _tied() -> Exotic:
    return _model(
        f"""a = Conv<kernel_shape=[1,1]>(x, w) b = {_NORMED.format(x="a")} c = Relu(b)
        d = Conv<kernel_shape=[1,1]>(c, w) e = Mul(d, two) f = Relu(e)
        g = Conv<kernel_shape=[1,1]>(f, w) h = Add(g, x) @a h -> y""",
        {"w": (8, 8, 1, 1), "two": scalar_of(2.0), **_NORM},
    )


@exotic("tied/depthwise_twice")
def _tied_depthwise() -> Exotic:
    return _model(
        """a = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=8>(x, w, k) b = Relu(a)
        d = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=8>(b, w, k) e = Relu(d)
        f = Conv<kernel_shape=[3,3], pads=[2,2,2,2], dilations=[2,2], group=8>(e, w, k) y = Add(f, x)""",
        {"w": (8, 1, 3, 3), "k": (8,)},
    )


@exotic("tied/convolution_and_product")
def _tied_product() -> Exotic:
    return _model(
        f"""a = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w) b = {_NORMED.format(x="a")}
        c = ReduceSum(w, axes) d = Squeeze(c, axes) e = MatMul(d, d)
        q = ReduceMean<keepdims=0>(e) y = Add(b, q)""",
        {"w": (8, 8, 3, 3), "axes": i64(2, 3), **_NORM},
    )


@exotic("tied/norm_shared")
def _tied_norm() -> Exotic:
    return _model(
        f"""a = Conv<kernel_shape=[1,1]>(x, w) b = {_NORMED.format(x="a")} c = Relu(b)
        d = {_NORMED.format(x="c")} e = Relu(d) f = Conv<kernel_shape=[1,1]>(e, u) g = {_NORMED.format(x="f")}
        @a g -> y""",
        {"w": (8, 8, 1, 1), "u": (8, 8, 1, 1), **_NORM},
    )


@exotic("tied/weight_and_bias_and_scale")
def _tied_all() -> Exotic:
    """One vector is bias, scale, shift, mean of several."""
    return _model(
        """a = Conv<kernel_shape=[1,1]>(x, w, k) b = BatchNormalization(a, k, k, k, kv) c = Relu(b)
        d = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=8>(c, wd, k) e = BatchNormalization(d, k, k, k, kv)
        @a e -> y""",
        {"w": (8, 8, 1, 1), "wd": (8, 1, 3, 3), "k": (8,), "kv": (8,)},
    )


@exotic("tied/unknown_twice")
def _tied_block() -> Exotic:
    """The same block three times over, all weights tied."""
    return _model(
        "@a x -> h" + " @a h -> k".replace("@a h -> k", "") + _again("h", "q", "b") + _again("q", "y", "c")
    )


def _again(source: str, result: str, mark: str) -> str:
    return f"""
      {mark}c = Conv<kernel_shape=[1,1]>({source}, aw) {mark}b = BatchNormalization({mark}c, ag, as, am, av)
      {mark}d = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=16>({mark}b, awd, abd) {mark}r = Relu({mark}d)
      {mark}p = Conv<kernel_shape=[1,1]>({mark}r, awp, abp) {result} = Add({mark}p, {source})"""


# --- weights that are inputs ----------------------------------------------------------------


def _overridable(name: str, shape: str, ir_version: int = 8) -> Exotic:
    found = _model("@a x -> h @b h -> y", inputs=f"{_NCHW} x, float[{shape}] {name}")
    found.proto.ir_version = ir_version
    return found


for _name, _shape in {
    "aw": "16,8,1,1", "ag": "16", "am": "16", "awd": "16,1,3,3", "abd": "16", "awp": "8,16,1,1", "abp": "8",
}.items():  # fmt: skip
    exotic(f"overridable/{_name}")(lambda name=_name, shape=_shape: _overridable(name, shape))  # type: ignore[misc]


@exotic("overridable/all_in_ir_3")
def _ir3() -> Exotic:
    """IR version 3 lists every weight as an input: there they are constants."""
    found = _model("@a x -> h @b h -> y", opset=8)
    found.proto.ir_version = 3
    for tensor in found.proto.graph.initializer:
        found.proto.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    return found


@exotic("overridable/shape_and_axes")
def _overridable_shape() -> Exotic:
    found = _model(
        "@a x -> h q = Reshape(h, sh) r = Relu(q) y = Reshape(r, sh)",
        {"sh": i64(-1, 8, 6, 6)}, inputs=f"{_NCHW} x, int64[4] sh",
    )  # fmt: skip
    return Exotic(found.proto, _BATCHES, choices={"sh": [i64(-1, 8, 6, 6), i64(-1, 8, 3, 12)]})


@exotic("overridable/neutral")
def _overridable_neutral() -> Exotic:
    """A factor of one by default, an Add of zero, a Clip without bounds."""
    return _model(
        "@a x -> h q = Mul(h, one) r = Add(q, zero) s = Clip(r, low, high) @b s -> y",
        {
            "one": scalar_of(1.0),
            "zero": np.zeros((8, 1, 1), np.float32),
            "low": scalar_of(-3e38),
            "high": scalar_of(3e38),
        },
        inputs=f"{_NCHW} x, float one, float[8,1,1] zero, float low",
    )


# --- weights that are computed --------------------------------------------------------------


def _computed(how: str, weights: Mapping[str, Shape | Array], more: str = "") -> Exotic:
    return _model(
        f"""{how} {more} a = Conv<kernel_shape=[1,1]>(x, w) b = {_NORMED.format(x="a")} c = Relu(b)
        d = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=8>(c, wd) @a d -> y""",
        {**_NORM, "wd": (8, 1, 3, 3), **weights},
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
    return _model(
        f"""w = Mul(w0, f) a = Conv<kernel_shape=[1,1]>(x, w) b = {_NORMED.format(x="a")}
        c = Conv<kernel_shape=[1,1]>(b, w) d = ReduceSum(w, axes) e = Mul(c, d) @a e -> y""",
        {"w0": (8, 8, 1, 1), "f": (8, 1, 1, 1), "axes": i64(0), **_NORM},
        outputs=f"{_NCHW} y, float[8,8,1,1] w",
    )


@exotic("computed/in_an_if")
def _weight_if() -> Exotic:
    found = _model(
        f"""w = If(k) <then_branch = t () => (float[8,8,1,1] o) {{ o = Mul(w0, w0) }},
                       else_branch = e () => (float[8,8,1,1] o) {{ o = Neg(w0) }}>
        a = Conv<kernel_shape=[1,1]>(x, w0) b = {_NORMED.format(x="a")} c = Conv<kernel_shape=[1,1]>(b, w) @a c -> y""",
        {"w0": (8, 8, 1, 1), **_NORM}, inputs=f"{_NCHW} x, bool k",
    )  # fmt: skip
    return Exotic(found.proto, _BATCHES, choices={"k": [np.asarray(True), np.asarray(False)]})


# --- optional inputs, sequences, strings ------------------------------------------------------


@exotic("optional/left_out")
def _left_out() -> Exotic:
    return _model(
        """@a x -> h q = Clip(h, , six) r = Clip(q, low) s = Conv<kernel_shape=[1,1]>(r, w, ) t = Mul(s, two)
        u = Resize<mode="nearest">(t, , scales) v = MaxPool<kernel_shape=[2,2], strides=[2,2]>(u)
        d, m = Dropout(v) @b d -> y""",
        {
            "six": scalar_of(2.0),
            "low": scalar_of(-1.0),
            "w": (8, 8, 1, 1),
            "two": scalar_of(2.0),
            "scales": f32(1, 1, 2, 2),
        },
    )


@exotic("optional/recurrent")
def _recurrent() -> Exotic:
    return _model(
        """@a x -> h q = GlobalAveragePool(h) r = Reshape(q, sh)
        o, l = LSTM<hidden_size=4>(r, w, u, , , start) y = Squeeze(l, zero)""",
        {"sh": i64(1, -1, 8), "w": (1, 16, 8), "u": (1, 16, 4), "start": (1, 1, 4), "zero": i64(0)},
        inputs="float[1,8,6,6] x",
        outputs="float[1,4] y",
    )


@exotic("optional/type")
def _optional() -> Exotic:
    return _model(
        "@a x -> h o = Optional(h) e = OptionalHasElement(o) g0 = OptionalGetElement(o) @b g0 -> y",
        outputs=f"{_NCHW} y, bool e", opset=18,
    )  # fmt: skip


@exotic("optional/input")
def _optional_input() -> Exotic:
    found = _model(
        """e = OptionalHasElement(o) @a x -> h
        z = If(e) <then_branch = t () => (float[N,8,6,6] p) { q = OptionalGetElement(o) p = Add(q, h) },
                   else_branch = f () => (float[N,8,6,6] p) { p = Neg(h) }>
        @b z -> y""",
        inputs=f"{_NCHW} x, optional(float[N,8,6,6]) o", opset=18,
    )  # fmt: skip
    return Exotic(found.proto, ({"N": 1},), changes=False, choices={"o": [np.ones((1, 8, 6, 6), np.float32)]})


@exotic("sequence/inside")
def _sequence() -> Exotic:
    return _model(
        """@a x -> h s = SplitToSequence<axis=1>(h, four) u = SequenceAt(s, nil) v = SequenceAt(s, one)
        w = SequenceInsert(s, u) q = ConcatFromSequence<axis=1>(w) l = SequenceLength(w)
        r = Conv<kernel_shape=[1,1]>(q, cw) t = Mul(r, two) @b t -> y""",
        {
            "four": scalar_of(4, np.int64),
            "nil": scalar_of(0, np.int64),
            "one": scalar_of(1, np.int64),
            "cw": (8, 12, 1, 1),
            "two": scalar_of(2.0),
        },
        outputs=f"{_NCHW} y, int64 l",
    )


@exotic("sequence/output")
def _sequence_output() -> Exotic:
    return _model(
        "@a x -> h s = SequenceConstruct(h, ac) @b h -> y", outputs=f"{_NCHW} y, seq(float[N,C,6,6]) s"
    )


@exotic("sequence/input")
def _sequence_input() -> Exotic:
    found = _model(
        "@a x -> h u = SequenceAt(s, nil) v = Add(h, u) @b v -> y",
        {"nil": scalar_of(0, np.int64)},
        inputs=f"{_NCHW} x, seq(float[1,8,6,6]) s",
    )
    return Exotic(
        found.proto,
        _BATCHES,
        changes=False,
        choices={"s": [[np.ones((1, 8, 6, 6), np.float32)], [np.zeros((1, 8, 6, 6), np.float32)]]},
    )


@exotic("strings/passed_on")
def _strings() -> Exotic:
    found = _model(
        "@a x -> y t = Identity(s)", inputs=f"{_NCHW} x, string[M] s", outputs=f"{_NCHW} y, string[M] t"
    )
    return Exotic(
        found.proto, _BATCHES, choices={"s": [np.array(["a", "ü"], object), np.array(["", "x" * 50], object)]}
    )


@exotic("strings/constants")
def _labels() -> Exotic:
    """A classifier that says its label: strings among the weights."""
    return _model(
        "@a x -> h q = GlobalAveragePool(h) f = Flatten<axis=1>(q) i = ArgMax<axis=1, keepdims=0>(f) y = Gather(names, i)",
        {"names": np.array([f"class {n}" for n in range(8)], object)}, outputs="string[N] y",
    )  # fmt: skip


@exotic("strings/normalised")
def _normalizer() -> Exotic:
    found = _model(
        'y0 = StringNormalizer<case_change_action="LOWER", locale="C", stopwords=["the"]>(s) @a x -> y',
        inputs=f"{_NCHW} x, string[M] s", outputs=f"{_NCHW} y, string[?] y0",
    )  # fmt: skip
    return Exotic(found.proto, _BATCHES, choices={"s": [np.array(["The", "Cat"], object)]})


# --- element types ----------------------------------------------------------------------------


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
    return Exotic(_in_type(TensorProto.FLOAT16, np.float16), _BATCHES, changes=False)


@exotic("types/float64")
def _double() -> Exotic:
    return Exotic(_in_type(TensorProto.DOUBLE, np.float64), _BATCHES, runs=False)


@exotic("types/bfloat16")
def _bfloat() -> Exotic:
    return Exotic(_in_type(TensorProto.BFLOAT16, ml_dtypes.bfloat16), _BATCHES, runs=False, changes=False)


def _between(cast: str, weights: Mapping[str, Shape | Array] | None = None, opset: int = 21) -> Exotic:
    return _model(f"@a x -> h {cast} @b k -> y", weights, opset)


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
    found = _model("@a x -> y")
    found.proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(3, np.complex64), "imaginary"))
    return found


# --- quantised graphs -------------------------------------------------------------------------


def _quantised(weight: str, dtype: type[np.integer], opset: int = 17) -> Exotic:
    """QuantizeLinear and DequantizeLinear around an activation, and before a weight."""
    rng = np.random.default_rng(0)
    info = np.iinfo(dtype)
    return _model(
        f"""@a x -> h q = QuantizeLinear(h, s, z) d = DequantizeLinear(q, s, z)
        w = DequantizeLinear<axis=0>(wq, ws, wz) c = {weight}
        b = {_NORMED.format(x="c")} r = Relu(b) e = QuantizeLinear(r, s, z) f = DequantizeLinear(e, s, z) @b f -> y""",
        {
            "s": scalar_of(0.05), "z": np.asarray(3, dtype), "wq": rng.integers(info.min, info.max, (8, 8, 1, 1), dtype=dtype),
            "ws": np.full(8, 0.004, np.float32), "wz": np.zeros(8, dtype), **_NORM,
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
    return _model(
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
    return _model(
        """@a x -> h q = QuantizeLinear(h, s, z) c = QLinearConv<kernel_shape=[1,1]>(q, s, z, wq, ws, wz, s, z)
        f = DequantizeLinear(c, s, z) @b f -> y""",
        {
            "s": scalar_of(0.05), "z": np.asarray(120, np.uint8), "ws": scalar_of(0.01), "wz": np.asarray(0, np.int8),
            "wq": np.random.default_rng(0).integers(-90, 90, (8, 8, 1, 1), dtype=np.int8),
        },
    )  # fmt: skip


@exotic("quantised/dynamic")
def _dynamic() -> Exotic:
    return _model(
        """@a x -> h q, s, z = DynamicQuantizeLinear(h) c = ConvInteger<kernel_shape=[1,1]>(q, wq, z, wz)
        f = Cast<to=1>(c) m = Mul(s, ws) g0 = Mul(f, m) @b g0 -> y""",
        {
            "ws": scalar_of(0.01), "wz": np.asarray(0, np.uint8),
            "wq": np.random.default_rng(0).integers(0, 90, (8, 8, 1, 1), dtype=np.uint8),
        },
    )  # fmt: skip


# --- padding, groups --------------------------------------------------------------------------


def _conv(attributes: str, weight: Shape, before: str = "", size: str = "8,7,6", rank: int = 4) -> Exotic:
    out = weight[0]
    free = ",".join("PQR"[: rank - 2])
    return _model(
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
    return _model(
        f"""@a x -> h c = ConvTranspose<kernel_shape=[3,3], strides=[2,2], group=2, output_padding=[1,1], pads=[1,1,1,1]>(h, w, k)
        b = {_NORMED.format(x="c")} r = Relu(b) t = ConvTranspose<auto_pad="SAME_UPPER", strides=[2,2]>(r, w2)
        m = Mul(t, two) y = MaxPool<kernel_shape=[4,4], strides=[4,4]>(m)""",
        {"w": (8, 4, 3, 3), "k": (8,), "w2": (8, 8, 3, 3), "two": scalar_of(2.0), **_NORM},
    )


@exotic("groups/pools")
def _pools() -> Exotic:
    return _model(
        f"""@a x -> h p = AveragePool<kernel_shape=[3,3], auto_pad="SAME_UPPER", count_include_pad=1>(h) b = {_NORMED.format(x="p")}
        q, i = MaxPool<kernel_shape=[2,2], auto_pad="SAME_LOWER">(b) r = MaxPool<kernel_shape=[3,3], ceil_mode=1, strides=[2,2]>(q)
        s = AveragePool<kernel_shape=[2,2], pads=[0,1,1,0]>(r) @b s -> y""",
        _NORM, outputs="float[N,8,P,Q] y, int64[N,8,6,6] i",
    )  # fmt: skip


@exotic("groups/empty_batch")
def _nothing() -> Exotic:
    """No sample at all is an input, too."""
    found = _model("@a x -> y")
    return Exotic(found.proto, ({"N": 0}, {"N": 2}))
