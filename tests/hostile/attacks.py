"""Hand-made models that want something bad: each a builder that writes files into a folder.

`REFUSED` must end with exit code 2. `BOUNDED` may be refused or come out right, within memory and time.
`HARMLESS` look bad and are valid: they must come out right.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
from onnx import TensorProto, helper, numpy_helper

from bench.fuzz_seeds import net
from tests.hostile.attacks_files import FILES, SHAPE, Build, adds, refers, weights


def write(build: Build, folder: Path, name: str = "model.onnx") -> Path:
    """Writes an attack's files into a folder; returns the model."""
    made = build(folder)
    path = folder / name
    path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    return path


def _claims(*dims: int, data: bytes = b"\0" * 16, kind: int = TensorProto.FLOAT) -> Build:
    return lambda _: adds(TensorProto(name="w", data_type=kind, dims=dims, raw_data=data))


def _parsed(body: str, head: str = "float[1,4] x", tail: str = "float[1,4] y", opset: int = 13) -> Build:
    text = f'<ir_version: 8, opset_import: ["" : {opset}, "own" : 1]> net ({head}) => ({tail}) {body}'
    return lambda _: onnx.parser.parse_model(text)


def _cyclic(_: Path) -> onnx.ModelProto:
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
    return net([*nodes, helper.make_node("Relu", ["b"], ["y"])], SHAPE)


def _hidden_cycle(_: Path) -> onnx.ModelProto:
    return _hidden(*_cyclic(_).graph.node)


def _hidden(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    """Nodes behind an operator that nobody knows, where onnx.checker has stopped looking."""
    proto = net([helper.make_node("Unheard", ["x"], ["u"], domain="own"), *nodes], SHAPE)
    proto.opset_import.add(domain="own", version=1)
    return proto


def _no_version(_: Path) -> onnx.ModelProto:
    """Found by `bench.fuzz_guided`: no version of the standard operators, so nobody knew their schemas."""
    proto = net([helper.make_node("Add", ["x"], ["y"])], SHAPE)
    proto.opset_import[0].domain = "x"
    return proto


def _graphs_deep(depth: int) -> Build:
    """A graph in an attribute in a node in a graph: written byte by byte, as protobuf will not."""

    def build(_: Path) -> bytes:
        inner = helper.make_graph([], "g", [], []).SerializeToString()
        for _level in range(depth):
            attribute = _field(1, b"body") + _field(6, inner) + b"\xa0\x01\x05"  # a graph, it says
            inner = _field(1, _field(2, b"o") + _field(4, b"If") + _field(5, attribute)) + _field(2, b"g")
        proto = net([helper.make_node("Relu", ["x"], ["y"])], SHAPE)
        return bytes(proto.SerializeToString() + _field(7, inner))

    return build


def _field(number: int, payload: bytes) -> bytes:
    """A length-delimited field on the wire."""
    size, length = b"", len(payload)
    while length > 127:
        size, length = size + bytes([length & 127 | 128]), length >> 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + payload


def _calls(bodies: Mapping[str, list[str]]) -> Build:
    """Functions that call others, one after the other; the model calls the first."""

    def build(_: Path) -> onnx.ModelProto:
        imports = [helper.make_opsetid("", 13), helper.make_opsetid("own", 1)]
        proto = net([helper.make_node(next(iter(bodies)), ["x"], ["y"], domain="own")], SHAPE)
        proto.opset_import.append(imports[1])
        for name, called in bodies.items():
            values = ["v", *(f"v{n}" for n in range(len(called) - 1)), "r"]
            nodes = [
                helper.make_node(op, [values[n]], [values[n + 1]], domain="" if op == "Relu" else "own")
                for n, op in enumerate(called)
            ]
            proto.functions.append(helper.make_function("own", name, ["v"], ["r"], nodes, imports))
        return proto

    return build


def _laughs(depth: int, times: int) -> Mapping[str, list[str]]:
    """Each function calls the next so many times: times to the power of depth nodes."""
    inner = {f"f{n}": [f"f{n + 1}"] * times for n in range(depth)}
    return {**inner, f"f{depth}": ["Relu"]}


def _sparse(dims: tuple[int, ...], indices: list[int]) -> Build:
    def build(_: Path) -> onnx.ModelProto:
        count = len(indices)
        values = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[count], float_data=[1.0] * count)
        places = TensorProto(data_type=TensorProto.INT64, dims=[count], int64_data=indices)
        proto = net([helper.make_node("Add", ["x", "w"], ["y"])], SHAPE)
        proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, list(dims)))
        return proto

    return build


def _named(name: str, graph: str = "net") -> Build:
    """A valid model whose nodes and values have a strange name; two of them can be folded."""

    def build(_: Path) -> onnx.ModelProto:
        half = numpy_helper.from_array(np.array(0.5, np.float32), f"half{name}")
        weight = numpy_helper.from_array(np.ones((4, 4, 1, 1), np.float32), f"w{name}")
        nodes = [
            helper.make_node("Mul", ["x", half.name], [f"a{name}"], name=name),
            helper.make_node(
                "Conv", [f"a{name}", weight.name], [f"b{name}"], name=f"c{name}", kernel_shape=[1, 1]
            ),
            helper.make_node("Identity", [f"b{name}"], ["y"], name=f"i{name}"),
        ]
        proto = net(nodes, SHAPE, [half, weight])
        proto.graph.name = graph
        return proto

    return build


def _not_text(_: Path) -> bytes:
    proto = net([helper.make_node("Relu", ["x"], ["y"], name="QQQQ")], SHAPE)
    return bytes(proto.SerializeToString()).replace(b"QQQQ", b"\xff\xfe\x80Q")


def _attribute_of_no_type(_: Path) -> onnx.ModelProto:
    proto = net([helper.make_node("Flatten", ["x"], ["y"], axis=1)], SHAPE)
    proto.graph.node[0].attribute[0].type = onnx.AttributeProto.UNDEFINED
    return proto


def _element_type(_: Path) -> onnx.ModelProto:
    proto = net([helper.make_node("Relu", ["x"], ["y"])], SHAPE)
    proto.graph.input[0].type.tensor_type.elem_type = 99
    return proto


def _window(operator: str, weight: tuple[int, ...], **attributes: Any) -> Build:
    """Found by `bench.fuzz_guided`: a window that does not fit its weight, behind an unknown operator."""
    node = helper.make_node(operator, ["u", "w"], ["y"], **attributes)

    def build(_: Path) -> onnx.ModelProto:
        proto = _hidden(node)
        proto.graph.initializer.append(numpy_helper.from_array(np.ones(weight, np.float32), "w"))
        return proto

    return build


def _pads(*shape: int, each: int = 0) -> Build:
    def build(_: Path) -> onnx.ModelProto:
        proto = _hidden(helper.make_node("Pad", ["u", "p"], ["y"]))
        proto.graph.initializer.append(numpy_helper.from_array(np.full(shape, each, np.int64), "p"))
        return proto

    return build


REFUSED: Mapping[str, Build] = {
    "negative dimension": _claims(-4),
    "two negative dimensions": _claims(-2, -2),
    "dimensions beyond 2^64": _claims(2**62, 2**62, 2**62),
    "dimensions that wrap around to 16 bytes": _claims(2**62, 4, 2**2),
    "a tensor of 10 GB": _claims(50_000, 50_000),
    "an empty tensor of 10 GB": _claims(50_000, 50_000, data=b""),
    "too little data": _claims(5),
    "too much data": _claims(3),
    "an unknown element type": _claims(4, kind=77),
    "no element type": _claims(4, kind=0),
    "strings as raw data": _claims(4, kind=TensorProto.STRING),
    "a declared input of 4 TB": _parsed("{ y = Relu(x) }", "float[1000000,1000000] x", "float[M,N] y"),
    "a declared input beyond 2^64": lambda _: net([helper.make_node("Relu", ["x"], ["y"])], (2**62, 2**62)),
    "a cycle": _cyclic,
    "a cycle behind an unknown operator": _hidden_cycle,
    "a node that reads itself": _parsed("{ y = Add(x, y) }"),
    "a value that nobody computes": _parsed("{ y = Add(x, z) }"),
    "a value computed twice": _parsed("{ y = Relu(x) y = Neg(x) }"),
    "graphs 30 deep": _graphs_deep(30),
    "graphs 80 deep": _graphs_deep(80),
    "a function that calls itself": _calls({"f": ["f"]}),
    "functions that call each other": _calls({"f": ["g"], "g": ["h"], "h": ["f"]}),
    "2^60 calls": _calls(_laughs(60, 2)),
    "10^9 calls": _calls(_laughs(3, 1000)),
    "3000 functions deep": _calls(_laughs(3000, 1)),
    **FILES,
    "a sparse tensor of 4 TB": _sparse((10**6, 10**6), [0, 1, 10**12 - 1]),
    "a sparse tensor beyond 2^64": _sparse((2**40, 2**40), [0]),
    "sparse indices outside": _sparse((4, 1, 1), [0, 7]),
    "negative sparse indices": _sparse((4, 1, 1), [-3, 2]),
    "sparse indices twice": _sparse((4, 1, 1), [2, 2]),
    "a name of 10 MB": _named("N" * 10_000_000),
    "a name that is not text": _not_text,
    "an attribute of no type": _attribute_of_no_type,
    "an input of unknown type": _element_type,
    "standard operators of no version": _no_version,
    "a padding that is not text": lambda _: net(
        [helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[1, 1], auto_pad=b"S\x86ME_UPPER")], SHAPE
    ),
    "a weight of one axis": _window("Conv", (8,)),
    "a weight without taps": _window("Conv", (4, 4, 0, 1)),
    "a kernel of fewer axes than its weight": _window("Conv", (4, 4, 1, 1), kernel_shape=[1]),
    "steps along too few axes": _window("Conv", (4, 4, 1, 1), strides=[2]),
    "a border along too few axes": _window("ConvTranspose", (4, 4, 1, 1), pads=[0, 0]),
    "an unknown auto_pad": _window("Conv", (4, 4, 1, 1), auto_pad="SAMA_UPPER"),
    "more groups than channels": _window("Conv", (8, 1, 3, 3), group=72),
    "a matrix of one axis": _window("Gemm", (4,)),
    "pads of four axes": _pads(6, 3, 3, 3),
    "an odd number of pads": _pads(7),
    "pads of 2^60 in a tensor": _pads(8, each=2**60),
    "a tensor of 65 axes": _claims(4, *[1] * 64),
    "too few inputs": lambda _: _hidden(helper.make_node("Conv", ["x"], ["y"])),
    "too many inputs": lambda _: _hidden(helper.make_node("Relu", ["x", "u"], ["y"])),
    "an input that is needed, left out": lambda _: _hidden(helper.make_node("Add", ["x", ""], ["y"])),
    "no output": lambda _: _hidden(*(helper.make_node("Relu", ["x"], names) for names in (["y"], []))),
    "an attribute of the wrong type": lambda _: _hidden(helper.make_node("Relu", ["x"], ["y"], axis=1.5)),
    "an attribute that is needed, left out": lambda _: _hidden(helper.make_node("Cast", ["x"], ["y"])),
}  # fmt: skip

_MAPS = "float[1,1,4,4] x", "float[1,1,A,B] y"


def _huge(line: str) -> Build:
    """A constant expression `k` that would take 10 GB or more, and what is read off it."""
    return _parsed(
        f"""{{
          big = Constant<value = int64[2] {{50000, 50000}}>()
          half = Constant<value = float {{0.5}}>()
          from = Constant<value = int64 {{0}}>()
          to = Constant<value = int64 {{10000000000}}>()
          step = Constant<value = int64 {{1}}>()
          {line}
          m = ReduceMax<keepdims=0>(k)
          f = Cast<to=1>(m)
          y = Add(x, f)
        }}"""
    )


def _loops(trips: int) -> Build:
    return _parsed(
        f"""{{
          on = Constant<value = bool {{1}}>()
          n = Constant<value = int64 {{{trips}}}>()
          y = Loop(n, on, x) <
            body = step (int64 i, bool c, float[1,4] b) => (bool g, float[1,4] r) {{
              g = Identity(c)
              r = Add(b, x)
            }}>
        }}"""
    )


def _pool(attributes: str) -> Build:
    return _parsed(f"{{ y = MaxPool<{attributes}>(x) }}", *_MAPS)


def _types_deep(depth: int) -> onnx.ModelProto:
    proto = net([helper.make_node("Relu", ["x"], ["y"])], SHAPE)
    inner = onnx.TypeProto()
    inner.tensor_type.elem_type = TensorProto.FLOAT
    for _ in range(depth):
        outer = onnx.TypeProto()
        outer.optional_type.elem_type.CopyFrom(inner)
        inner = outer
    proto.graph.value_info.append(onnx.ValueInfoProto(name="v", type=inner))
    return proto


BOUNDED: Mapping[str, Build] = {
    "ConstantOfShape of 10 GB": _huge("k = ConstantOfShape(big)"),
    "Expand to 10 GB": _huge("k = Expand(half, big)"),
    "Tile to 40 GB": _huge("k = Tile(x, big)"),
    "Range of 80 GB": _huge("k = Range(from, to, step)"),
    "2^60 trips": _loops(2**60),
    "steps of zero": _pool("kernel_shape=[1,1], strides=[0,0]"),
    "a kernel of 2^40": _pool("kernel_shape=[1099511627776,1]"),
    "pads of 2^60": _pool("kernel_shape=[2,2], pads=[1152921504606846976,0,0,0]"),
    "zero groups": _parsed(
        "{ w = Constant<value = float[1,1,1,1] {1.0}>() y = Conv<group=0>(x, w) }", *_MAPS
    ),
    "zero blocks": _parsed("{ y = DepthToSpace<blocksize=0>(x) }", *_MAPS),
    "an axis of 2^62": _parsed("{ y = Softmax<axis=4611686018427387904>(x) }"),
    "a split into less than nothing": _parsed(
        "{ s = Constant<value = int64[2] {-1,5}>() y, z = Split<axis=1>(x, s) }",
        tail="float[1,A] y, float[1,B] z",
    ),
    "a permutation out of range": _parsed("{ y = Transpose<perm=[5,-7]>(x) }", tail="float[A,B] y"),
    "a type within a type 45 times": lambda _: _types_deep(45),
}

HARMLESS: Mapping[str, Build] = {
    "names with escapes": _named("\x1b[31m\x1b]0;title\x07"),
    "names with line breaks": _named("a\nhwopt: all is well\r\n"),
    "names with NUL": _named("a\0b"),
    "names like paths": _named("../../../tmp/x", graph="../net"),
    "names with markup": _named("<script>alert(1)</script>|`x`"),
    "names that turn the text around": _named("\u202egnp.exe"),
    "long names": _named("n" * 4000),
    "a chain of sums that has 2^60 ways": _parsed(
        "{ k0 = Constant<value = float {1.0}>() "
        + " ".join(f"k{n + 1} = Add(k{n}, k{n})" for n in range(60))
        + " y = Mul(x, k60) }"
    ),
    "data beside the model": refers(weights, offset=0, length=16),
    "a sparse weight": _sparse((4, 1, 1), [1, 3]),
    "an input whose first size is -1": lambda _: net([helper.make_node("Relu", ["x"], ["y"])], (-1, 4)),
}  # fmt: skip
