"""Small valid models that mutations start from: together they hold every field that a reader looks at.

Beside them stand the shipped figures net and, for external data, a file of weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from onnx import TensorProto, helper, numpy_helper

_FIGURES = Path(__file__).parent.parent / "models" / "figures" / "figures.onnx"
WEIGHTS_FILE = "weights.bin"

_TEXTS: Mapping[str, tuple[str, Mapping[str, tuple[int, ...]]]] = {
    "block": (
        """
        <ir_version: 8, opset_import: ["" : 13]>
        block (float[N,4,8,8] x) => (float[N,4,8,8] y) {
          half = Constant<value = float {0.5}>()
          s = Mul(x, half)
          e = Conv<kernel_shape=[1,1]>(s, we, be)
          n = BatchNormalization(e, scale, shift, mean, var)
          r = Relu(n)
          d = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=8>(r, wd)
          i = Identity(d)
          p = Conv<kernel_shape=[1,1], auto_pad="SAME_UPPER">(i, wp)
          y = Add(p, x)
        }""",
        {"we": (8, 4, 1, 1), "be": (8,), "scale": (8,), "shift": (8,), "mean": (8,), "var": (8,),
         "wd": (8, 1, 3, 3), "wp": (4, 8, 1, 1)},
    ),
    "head": (
        """
        <ir_version: 9, opset_import: ["" : 17]>
        head (float[N,3,8,8] x) => (float[N,5] y, int64[3] shape) {
          c = Conv<kernel_shape=[3,3], strides=[2,2], pads=[0,0,1,1]>(x, w)
          a, b = Split<axis=1>(c, halves)
          j = Concat<axis=1>(b, a)
          q = Pad(j, pads)
          m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(q)
          t = Transpose<perm=[0,2,3,1]>(m)
          g = GlobalAveragePool(j)
          f = Flatten<axis=1>(g)
          y = Gemm<transB=1>(f, wg)
          u = ReduceMean<axes=[1], keepdims=0>(t)
          shape = Shape(u)
        }""",
        {"w": (6, 3, 3, 3), "wg": (5, 6)},
    ),
    "if": (
        """
        <ir_version: 8, opset_import: ["" : 13]>
        branch (float[1,4] x) => (float[1,4] y) {
          total = ReduceSum<keepdims=0>(x)
          zero = Constant<value = float {0.0}>()
          more = Greater(total, zero)
          y = If (more) <
            then_branch = one () => (float[1,4] a) { a = Relu(x) },
            else_branch = two () => (float[1,4] b) { n = Neg(x)  b = Mul(n, w) }>
        }""",
        {"w": (1, 4)},
    ),
    "loop": (
        """
        <ir_version: 8, opset_import: ["" : 13]>
        repeat (float[2] x) => (float[2] y, float[K,2] all) {
          trips = Constant<value = int64 {3}>()
          on = Constant<value = bool {1}>()
          y, all = Loop (trips, on, x) <
            body = step (int64 i, bool c, float[2] before) => (bool go, float[2] after, float[2] seen) {
              go = Identity(c)
              after = Add(before, x)
              seen = Identity(after)
            }>
        }""",
        {},
    ),
    "functions": (
        """
        <ir_version: 8, opset_import: ["" : 18, "own" : 1]>
        calls (float[2,3] x) => (float[2,3] y) {
          a = own.twice <by = 2.0> (x)
          y = own.once (a)
        }
        <domain: "own", opset_import: ["" : 18, "own" : 1]>
        twice <by> (v) => (w) {
          k = Constant<value_float: float = @by>()
          m = Mul(v, k)
          w = own.once (m)
        }
        <domain: "own", opset_import: ["" : 18]>
        once (v) => (w) { w = Relu(v) }
        """,
        {},
    ),
    "quantised": (
        """
        <ir_version: 8, opset_import: ["" : 13]>
        qdq (float[1,4,6,6] x) => (float[1,4,6,6] y) {
          s = Constant<value = float {0.05}>()
          z = Constant<value = int8 {3}>()
          xq = QuantizeLinear(x, s, z)
          xd = DequantizeLinear(xq, s, z)
          wd = DequantizeLinear<axis=0>(wq, ws)
          c = Conv<kernel_shape=[1,1]>(xd, wd)
          cq = QuantizeLinear(c, s, z)
          y = DequantizeLinear(cq, s, z)
        }""",
        {"ws": (4,)},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Seed:
    """A model's bytes, and the files that have to lie beside it."""

    name: str
    data: bytes
    files: Mapping[str, bytes] = field(default_factory=dict)


def seeds(figures: bool = True) -> list[Seed]:
    """All seeds, the same ones every time; with the figures net (1.6 MB) unless it is not wanted."""
    found = [_from_text(name, text, weights) for name, (text, weights) in _TEXTS.items()]
    found += [_external(), _sparse(), _typed()]
    return [*found, Seed("figures", _FIGURES.read_bytes())] if figures else found


def _from_text(name: str, text: str, weights: Mapping[str, tuple[int, ...]]) -> Seed:
    proto = onnx.parser.parse_model(text)
    rng = np.random.default_rng(len(name))
    for weight, shape in weights.items():
        proto.graph.initializer.append(_random(rng, weight, shape))
    if name == "head":
        proto.graph.initializer.append(numpy_helper.from_array(np.array([3, 3]), "halves"))
        proto.graph.initializer.append(numpy_helper.from_array(np.array([0, 0, 1, 1] * 2), "pads"))
    if name == "quantised":
        codes = rng.integers(-127, 128, (4, 4, 1, 1)).astype(np.int8)
        proto.graph.initializer.append(numpy_helper.from_array(codes, "wq"))
    return Seed(name, _bytes(proto))


def _external() -> Seed:
    """Two convolutions whose weights lie in a file beside the model."""
    weights = np.random.default_rng(5).standard_normal((2, 64)).astype(np.float32).tobytes()
    nodes = [
        helper.make_node("Conv", ["x", "v"], ["h"], kernel_shape=[2, 2], pads=[0, 0, 1, 1]),
        helper.make_node("Conv", ["h", "w"], ["y"], kernel_shape=[2, 2], pads=[1, 1, 0, 0]),
    ]
    tensors = [external("v", (4, 4, 2, 2), offset=0), external("w", (4, 4, 2, 2), offset=256)]
    return Seed("external", _bytes(net(nodes, (1, 4, 5, 5), tensors)), {WEIGHTS_FILE: weights})


def _sparse() -> Seed:
    """A matrix product with a weight that only names what is not zero."""
    values = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3], float_data=[1.0, -2.0, 0.5])
    indices = TensorProto(data_type=TensorProto.INT64, dims=[3], int64_data=[1, 10, 15])
    proto = net([helper.make_node("MatMul", ["x", "w"], ["y"])], (2, 4))
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4, 4]))
    return Seed("sparse", _bytes(proto))


def _typed() -> Seed:
    """Weights in every kind of field, a weight that is an input too, metadata, attributes of each type."""
    nodes = [
        helper.make_node("Cast", ["half"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "wide"], ["a"]),
        helper.make_node("Cast", ["on"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["a", "number"], ["b"], name="sum", doc_string="adds"),
        helper.make_node("Slice", ["b", "from", "to"], ["y"]),
    ]
    tensors = [
        helper.make_tensor("half", TensorProto.FLOAT16, [4], [1.0, 0.5, 2.0, 4.0]),
        helper.make_tensor("on", TensorProto.BOOL, [4], [True, False, True, True]),
        helper.make_tensor("from", TensorProto.INT64, [1], [0]),
        helper.make_tensor("to", TensorProto.INT64, [1], [2**62]),
    ]
    proto = net(nodes, (2, 4), tensors)
    proto.graph.input.append(helper.make_tensor_value_info("on", TensorProto.BOOL, [4]))
    proto.metadata_props.add(key="author", value="nobody")
    return Seed("typed", _bytes(proto))


def external(name: str, shape: tuple[int, ...], **entries: object) -> TensorProto:
    """A float tensor that refers to a file; entries: what it says of it, `weights.bin` by default."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in ({"location": WEIGHTS_FILE} | entries).items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def net(
    nodes: list[onnx.NodeProto], shape: tuple[int, ...], tensors: list[TensorProto] | None = None
) -> onnx.ModelProto:
    """A model from `x` to `y`, both float and of one shape, in opset 13."""
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "net", infos[:1], infos[1:], tensors or [])
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])


def _random(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> TensorProto:
    return numpy_helper.from_array(np.abs(rng.standard_normal(shape)).astype(np.float32), name)


def _bytes(proto: onnx.ModelProto) -> bytes:
    return bytes(proto.SerializeToString(deterministic=True))
