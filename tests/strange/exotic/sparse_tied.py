"""Exotic models: sparse weights, tied weights."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.numpy_helper
from onnx import helper

from hwopt.nodes import Array
from tests.strange.exotic.models import (
    NORM,
    NORMED,
    Exotic,
    exotic,
    i64,
    model_of,
    scalar_of,
)

# --- sparse weights


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
    return _with_sparse(model_of("@a x -> y"), "aw")


@exotic("sparse/depthwise_and_untouched")
def _sparse_depthwise() -> Exotic:
    found = model_of(
        "@a x -> h q = Conv<kernel_shape=[1,1]>(h, qw) r = Neg(q) y = Mul(r, qm)",
        {"qw": (8, 8, 1, 1), "qm": (8, 6, 6)},
    )
    return _with_sparse(found, "awd qw qm")


@exotic("sparse/coordinates")
def _sparse_coordinates() -> Exotic:
    return _with_sparse(
        model_of(
            "@a x -> h q = Flatten<axis=1>(h) y = MatMul(q, qw)", {"qw": (288, 5)}, outputs="float[N,5] y"
        ),
        "qw",
        False,
    )


@exotic("sparse/constant_node")
def _sparse_constant() -> Exotic:
    found = model_of("k = Identity(kk) @a x -> h y = Mul(h, k)", {"kk": (8, 6, 6)})
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


# --- tied weights


@exotic("tied/one_weight_two_norms")
def _tied() -> Exotic:
    return model_of(
        f"""a = Conv<kernel_shape=[1,1]>(x, w) b = {NORMED.format(x="a")} c = Relu(b)
        d = Conv<kernel_shape=[1,1]>(c, w) e = Mul(d, two) f = Relu(e)
        g = Conv<kernel_shape=[1,1]>(f, w) h = Add(g, x) @a h -> y""",
        {"w": (8, 8, 1, 1), "two": scalar_of(2.0), **NORM},
    )


@exotic("tied/depthwise_twice")
def _tied_depthwise() -> Exotic:
    return model_of(
        """a = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=8>(x, w, k) b = Relu(a)
        d = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=8>(b, w, k) e = Relu(d)
        f = Conv<kernel_shape=[3,3], pads=[2,2,2,2], dilations=[2,2], group=8>(e, w, k) y = Add(f, x)""",
        {"w": (8, 1, 3, 3), "k": (8,)},
    )


@exotic("tied/convolution_and_product")
def _tied_product() -> Exotic:
    return model_of(
        f"""a = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w) b = {NORMED.format(x="a")}
        c = ReduceSum(w, axes) d = Squeeze(c, axes) e = MatMul(d, d)
        q = ReduceMean<keepdims=0>(e) y = Add(b, q)""",
        {"w": (8, 8, 3, 3), "axes": i64(2, 3), **NORM},
    )


@exotic("tied/norm_shared")
def _tied_norm() -> Exotic:
    return model_of(
        f"""a = Conv<kernel_shape=[1,1]>(x, w) b = {NORMED.format(x="a")} c = Relu(b)
        d = {NORMED.format(x="c")} e = Relu(d) f = Conv<kernel_shape=[1,1]>(e, u) g = {NORMED.format(x="f")}
        @a g -> y""",
        {"w": (8, 8, 1, 1), "u": (8, 8, 1, 1), **NORM},
    )


@exotic("tied/weight_and_bias_and_scale")
def _tied_all() -> Exotic:
    """One vector is bias, scale, shift, mean of several."""
    return model_of(
        """a = Conv<kernel_shape=[1,1]>(x, w, k) b = BatchNormalization(a, k, k, k, kv) c = Relu(b)
        d = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=8>(c, wd, k) e = BatchNormalization(d, k, k, k, kv)
        @a e -> y""",
        {"w": (8, 8, 1, 1), "wd": (8, 1, 3, 3), "k": (8,), "kv": (8,)},
    )


@exotic("tied/unknown_twice")
def _tied_block() -> Exotic:
    """The same block three times over, all weights tied."""
    return model_of(
        "@a x -> h" + " @a h -> k".replace("@a h -> k", "") + _again("h", "q", "b") + _again("q", "y", "c")
    )


def _again(source: str, result: str, mark: str) -> str:
    return f"""
      {mark}c = Conv<kernel_shape=[1,1]>({source}, aw) {mark}b = BatchNormalization({mark}c, ag, as, am, av)
      {mark}d = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=16>({mark}b, awd, abd) {mark}r = Relu({mark}d)
      {mark}p = Conv<kernel_shape=[1,1]>({mark}r, awp, abp) {result} = Add({mark}p, {source})"""
