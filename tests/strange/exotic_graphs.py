"""Exotic models: control flow, functions, scopes, axes, outputs, names."""

# ruff: noqa: E501 -- models are read best with one operator after the other

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
from onnx import TensorProto, helper

from hwopt.nodes import Array
from tests.strange.exotic_models import Exotic, Shape, dotted, exotic, f32, i64, parsed, scalar_of

_BOTH = [np.asarray(True), np.asarray(False)]
_NCHW = "float[N,8,6,6]"
_BATCHES = ({"N": 1}, {"N": 3})


# --- dynamic axes --------------------------------------------------------------------------


@exotic("dynamic/batch")
def _batch() -> Exotic:
    return Exotic(parsed(f"g ({_NCHW} x) => ({_NCHW} y) {{ @a x -> h @b h -> y }}"), _BATCHES)


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


# --- If, Loop, Scan ------------------------------------------------------------------------


def _if(reads: str, more: str = "", then: str = "t0 = Relu({r})", last: str = "t0") -> Exotic:
    text = f"""g ({_NCHW} x, bool k) => ({_NCHW} y, float z) {{
      @a x -> h
      {more}
      z = If(k) <
        then_branch = then () => (float o) {{ {then.format(r=reads)} o = ReduceMean<keepdims=0>({last}) }},
        else_branch = other () => (float o) {{ o = ReduceMax<keepdims=0>(x) }} >
      y = Relu(h) }}"""
    return Exotic(parsed(text), _BATCHES, choices={"k": _BOTH})


for _name, _value in {
    "expansion": "ac", "normalised": "ab", "filtered": "ad", "activated": "ar", "projected": "ap",
    "weight": "aw", "depthwise_weight": "awd", "scale": "ag", "variance": "av", "bias": "abd", "input": "x",
}.items():  # fmt: skip
    exotic(f"if/reads_{_name}")(lambda value=_value: _if(value))  # type: ignore[misc]


@exotic("if/reads_noop")
def _noop() -> Exotic:
    return _if("i", "i = Identity(ac)\n j = Identity(i)", "t0 = Add(i, j)")


@exotic("if/reads_constant_expression")
def _expression() -> Exotic:
    return _if("e", "e = Mul(ag, ag)\n e2 = Reshape(e, sh)\n u = Mul(ac, e2)\n u2 = Relu(u)").with_weights(
        {"sh": i64(1, 16, 1, 1)}
    )


@exotic("if/reads_pad")
def _pad() -> Exotic:
    return _if(
        "i",
        "i = Pad(h, pads)\n u = Conv<kernel_shape=[3,3]>(i, uw)\n u2 = Relu(u)",
    ).with_weights({"pads": i64(0, 0, 1, 1, 0, 0, 1, 1), "uw": (4, 8, 3, 3)})


@exotic("if/block_inside")
def _inside() -> Exotic:
    text = f"""g ({_NCHW} x, bool k) => ({_NCHW} y) {{
      @a x -> h
      z = If(k) <
        then_branch = then () => ({_NCHW} o) {{ @b h -> o }},
        else_branch = other () => ({_NCHW} o) {{ oc = Conv<kernel_shape=[1,1]>(h, sw) o = Relu(oc) }} >
      i = Identity(z)
      u = Conv<kernel_shape=[1,1]>(i, sw)
      v = Mul(u, two)
      y = Add(v, h) }}"""
    return Exotic(parsed(text, {"sw": (8, 8, 1, 1), "two": scalar_of(2.0)}), _BATCHES, choices={"k": _BOTH})


@exotic("if/nested")
def _nested() -> Exotic:
    text = f"""g ({_NCHW} x, bool k, bool l) => ({_NCHW} y) {{
      @a x -> h
      z = If(k) <
        then_branch = then () => ({_NCHW} o) {{
          o = If(l) <
            then_branch = inner () => ({_NCHW} p) {{ p1 = ReduceSum<keepdims=1>(ac, axes) p = Add(p1, h) }},
            else_branch = outer () => ({_NCHW} p) {{ @b h -> p }} > }},
        else_branch = other () => ({_NCHW} o) {{ o = Mul(h, ap) }} >
      @c z -> y }}"""
    return Exotic(parsed(text, {"axes": i64(1)}), _BATCHES, choices={"k": _BOTH, "l": _BOTH})


@exotic("if/same_names")
def _same_names() -> Exotic:
    """Both branches, and both Ifs, use the same names inside; one has an initializer of its own."""
    text = f"""g ({_NCHW} x, bool k) => ({_NCHW} y) {{
      @a x -> h
      z = If(k) <
        then_branch = then () => ({_NCHW} o) <float two = {{2.0}}> {{ u = Mul(h, two) o = Relu(u) }},
        else_branch = other () => ({_NCHW} o) <float two = {{3.0}}> {{ u = Mul(h, two) o = Neg(u) }} >
      q = If(k) <
        then_branch = then () => ({_NCHW} o) {{ u = Sub(z, h) o = Relu(u) }},
        else_branch = other () => ({_NCHW} o) {{ u = Add(z, h) o = Neg(u) }} >
      @b q -> y }}"""
    return Exotic(parsed(text), _BATCHES, choices={"k": _BOTH})


@exotic("if/later_names")
def _later() -> Exotic:
    """Names inside that the graph around uses, but only behind the If."""
    text = f"""g ({_NCHW} x, bool k) => ({_NCHW} y) {{
      @a x -> h
      z = If(k) <
        then_branch = then () => ({_NCHW} o) {{ bc = Relu(h) bb = Neg(bc) o = Add(bb, h) }},
        else_branch = other () => ({_NCHW} o) {{ y = Neg(h) o = Add(y, h) }} >
      @b z -> y }}"""
    return Exotic(parsed(text), _BATCHES, choices={"k": _BOTH})


@exotic("if/fresh_names")
def _fresh() -> Exotic:
    """Names inside that rewrites like to give."""
    text = f"""g ({_NCHW} x, bool k) => ({_NCHW} y) {{
      @a x -> h
      z = If(k) <
        then_branch = then () => ({_NCHW} o) <float[1] aw_1 = {{2.0}}> {{
          awd_1 = Relu(h) ac_ones = Neg(awd_1) u = Mul(ac_ones, aw_1) o = Add(u, h) }},
        else_branch = other () => ({_NCHW} o) {{ o = Neg(h) }} >
      @b z -> y }}"""
    return Exotic(dotted(parsed(text)), _BATCHES, choices={"k": _BOTH})


@exotic("if/constant_condition")
def _constant_condition() -> Exotic:
    text = f"""g ({_NCHW} x) => ({_NCHW} y) {{
      @a x -> h
      k = Constant<value = bool {{1}}>()
      z = If(k) <then_branch = then () => ({_NCHW} o) {{ @b h -> o }},
                 else_branch = other () => ({_NCHW} o) {{ o = Neg(ac2) }} >
      y = Relu(z) }}""".replace("ac2", "h")
    return Exotic(parsed(text), _BATCHES)


@exotic("if/different_shapes")
def _different() -> Exotic:
    text = f"""g ({_NCHW} x, bool k) => (float[?,?,?,?] y) {{
      @a x -> h
      z = If(k) <then_branch = then () => (float[P,Q,R,S] o) {{ o = MaxPool<kernel_shape=[2,2]>(h) }},
                 else_branch = other () => (float[P,Q,R,S] o) {{ o = Neg(h) }} >
      @b z -> y }}"""
    return Exotic(parsed(text), _BATCHES, choices={"k": _BOTH})


@exotic("loop/carried")
def _loop() -> Exotic:
    text = f"""g ({_NCHW} x, int64 n) => ({_NCHW} y, float[?,?] s) {{
      @a x -> h
      y, s = Loop(n, , h) <body = b (int64 i, bool c, {_NCHW} v) => (bool d, {_NCHW} w, float[?] t) {{
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
    return Exotic(parsed(text, weights), _BATCHES, choices={"n": counts})


@exotic("loop/reads_weights")
def _loop_weights() -> Exotic:
    text = f"""g ({_NCHW} x) => ({_NCHW} y) {{
      @a x -> h
      z = Loop(n, k, h) <body = b (int64 i, bool c, {_NCHW} v) => (bool d, {_NCHW} w) {{
        d = Less(i, n)
        e = Conv<kernel_shape=[1,1]>(v, aw)
        e2 = BatchNormalization(e, ag, as, am, av)
        f = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=16>(e2, awd, abd)
        w = Conv<kernel_shape=[1,1]>(f, awp, abp) }}>
      @b z -> y }}"""
    weights: dict[str, Shape | Array] = {"n": scalar_of(2, np.int64), "k": np.asarray(True)}
    return Exotic(parsed(text, weights), _BATCHES)


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


# --- functions -----------------------------------------------------------------------------


def _with_functions(text: str, functions: str, weights: dict[str, object] | None = None) -> Exotic:
    header = '<ir_version: 8, opset_import: ["" : 17, "own" : 1]>'
    proto = parsed(header + text + functions, weights)  # type: ignore[arg-type]
    return Exotic(proto, _BATCHES)


_CALLED = """
<domain: "own", opset_import: ["" : 17]>
unit (x, w, g, s, m, v) => (y) { c = Conv<kernel_shape=[1,1]>(x, w) b = BatchNormalization(c, g, s, m, v) y = Relu(b) }
"""


@exotic("functions/convolution_inside")
def _function() -> Exotic:
    text = f"""g ({_NCHW} x) => (float[N,16,6,6] y) {{
      @a x -> h
      y = own.unit(h, aw, ag, as, am, av) }}"""
    return _with_functions(text, _CALLED)


@exotic("functions/called_twice_and_in_an_if")
def _function_twice() -> Exotic:
    text = f"""g ({_NCHW} x, bool k) => (float[N,16,6,6] y) {{
      @a x -> h
      u = own.unit(h, aw, ag, as, am, av)
      z = If(k) <then_branch = t () => (float[N,16,6,6] o) {{ o = own.unit(h, aw, ag, as, am, av) }},
                 else_branch = e () => (float[N,16,6,6] o) {{ o = Neg(u) }}>
      y = Add(u, z) }}"""
    found = _with_functions(text, _CALLED)
    return Exotic(found.proto, _BATCHES, choices={"k": _BOTH})


@exotic("functions/nested_with_attributes")
def _function_attributes() -> Exotic:
    functions = """
    <domain: "own", opset_import: ["" : 17, "own" : 1]>
    outer <slope> (x) => (y) { a = own.inner<slope: float = @slope>(x) y = Neg(a) }
    <domain: "own", opset_import: ["" : 17]>
    inner <slope> (x) => (y) { y = LeakyRelu<alpha: float = @slope>(x) }
    """
    text = f"""g ({_NCHW} x) => ({_NCHW} y) {{ @a x -> h u = own.outer<slope=0.3>(h) @b u -> y }}"""
    return _with_functions(text, functions)


@exotic("functions/own_opset")
def _function_opset() -> Exotic:
    functions = """
    <domain: "own", opset_import: ["" : 14]>
    sums (x) => (y) { s = ReduceMean<axes=[1], keepdims=1>(x) y = Mul(x, s) }
    """
    return _with_functions(
        f"g ({_NCHW} x) => ({_NCHW} y) {{ @a x -> h u = own.sums(h) @b u -> y }}", functions
    )


@exotic("functions/hides_a_standard_operator")
def _function_standard() -> Exotic:
    """A function named Relu in a domain of its own, which is no Relu."""
    functions = """
    <domain: "own", opset_import: ["" : 17]>
    Relu (x) => (y) { y = Neg(x) }
    """
    text = f"""g ({_NCHW} x) => ({_NCHW} y) {{
      @a x -> h
      c = Conv<kernel_shape=[1,1]>(h, cw) r = own.Relu(c) y = Conv<kernel_shape=[1,1]>(r, cw) }}"""
    return _with_functions(text, functions, {"cw": (8, 8, 1, 1)})


# --- outputs and inputs --------------------------------------------------------------------


def _outputs(names: str) -> Exotic:
    listed = ", ".join(f"float[N,16,6,6] {name}" for name in names.split())
    return Exotic(parsed(f"g ({_NCHW} x) => ({_NCHW} y, {listed}) {{ @a x -> y }}"), _BATCHES)


for _name in ("ac", "ab", "ad", "ar", "ac ab ad ar"):
    exotic(f"outputs/read_on_{_name.replace(' ', '_')}")(lambda names=_name: _outputs(names))  # type: ignore[misc]


@exotic("outputs/input_passed_on")
def _passed() -> Exotic:
    return Exotic(parsed(f"g ({_NCHW} x, float[M] u) => ({_NCHW} y, float[M] u) {{ @a x -> y }}"), _BATCHES)


@exotic("outputs/image_passed_on")
def _image_passed() -> Exotic:
    return Exotic(parsed(f"g ({_NCHW} x) => ({_NCHW} x, {_NCHW} y) {{ @a x -> y }}"), _BATCHES)


@exotic("outputs/initializer")
def _initializer() -> Exotic:
    text = f"g ({_NCHW} x) => ({_NCHW} y, float[16,8,1,1] aw, float[16] ag) {{ @a x -> y }}"
    return Exotic(parsed(text), _BATCHES)


@exotic("outputs/constant")
def _constant() -> Exotic:
    text = f"""g ({_NCHW} x) => ({_NCHW} y, float[2] k, float[2] e) {{
      k = Constant<value = float[2] {{1.0, 2.0}}>() e = Add(k, k) @a x -> y }}"""
    return Exotic(parsed(text), _BATCHES)


@exotic("outputs/identity_of_input")
def _identity() -> Exotic:
    text = (
        f"g ({_NCHW} x) => ({_NCHW} y, {_NCHW} z, {_NCHW} q) {{ z = Identity(x) @a x -> y q = Identity(y) }}"
    )
    return Exotic(parsed(text), _BATCHES)


@exotic("inputs/unused")
def _unused() -> Exotic:
    return Exotic(parsed(f"g ({_NCHW} x, float[M,3] u, int64 k) => ({_NCHW} y) {{ @a x -> y }}"), _BATCHES)


@exotic("inputs/scalars")
def _scalars() -> Exotic:
    text = f"g ({_NCHW} x, float u) => ({_NCHW} y) {{ @a x -> h k = Mul(h, u) @b k -> y }}"
    return Exotic(parsed(text), _BATCHES)


# --- names, documentation -------------------------------------------------------------------


@exotic("names/nodes_empty")
def _empty_names() -> Exotic:
    found = _batch()
    for node in found.proto.graph.node:
        node.name = ""
    return found


@exotic("names/nodes_equal")
def _equal_names() -> Exotic:
    found = _if("ac")
    for node in found.proto.graph.node:
        node.name = "same"
    return replace(found, runs=False)


@exotic("names/odd")
def _odd() -> Exotic:
    """Names with blanks, slashes, colons, quotes, line breaks, other alphabets; weights as fresh names look."""
    found = _batch()
    odd = {
        "ac": "a c/0:1",
        "ab": 'say "b"',
        "ad": "Größe\n漢字",
        "aw": "awd.1",
        "awd": "aw.1",
        "h": " ",
        "bc": "bc.ones",
    }
    for node in found.proto.graph.node:
        node.input[:] = [odd.get(name, name) for name in node.input]
        node.output[:] = [odd.get(name, name) for name in node.output]
    for tensor in found.proto.graph.initializer:
        tensor.name = odd.get(tensor.name, tensor.name)
    return found


@exotic("names/weights_after_values")
def _taken() -> Exotic:
    """Everything that a rewrite could call its new weights is taken."""
    text = f"""g ({_NCHW} x) => ({_NCHW} y, float[N,16,6,6] aw_1, float[N,16,6,6] abd_1) {{
      @a x -> h aw_1 = Neg(ac) aw_2 = Neg(ab) abd_1 = Add(aw_1, aw_2) y = Relu(h) }}"""
    return Exotic(dotted(parsed(text)), _BATCHES)


@exotic("documentation/everywhere")
def _documented() -> Exotic:
    found = _if("ac")
    proto = found.proto
    proto.ir_version = 10
    proto.producer_name, proto.producer_version, proto.domain = "somebody", "1.2", "org.example"
    proto.model_version, proto.doc_string = 7, "a model\nwith two lines"
    proto.metadata_props.add(key="licence", value="CC0; ünïcode")
    proto.metadata_props.add(key="", value="")
    graph = proto.graph
    graph.doc_string = "a graph"
    graph.metadata_props.add(key="graph", value="g")
    for node in graph.node:
        node.doc_string = f"makes {node.output[0]}"
        node.metadata_props.add(key="source", value=node.output[0])
    for info in (*graph.input, *graph.output):
        info.doc_string = f"the {info.name}"
        info.metadata_props.add(key="meaning", value=info.name)
    for tensor in graph.initializer:
        tensor.doc_string = "a weight"
    return found


@exotic("documentation/quantization_annotation")
def _annotated() -> Exotic:
    found = _batch()
    graph = found.proto.graph
    for name in ("x", "ac", "ar", "y", "awd"):
        annotation = graph.quantization_annotation.add(tensor_name=name)
        annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="scale")
        annotation.quant_parameter_tensor_names.add(key="ZERO_POINT_TENSOR", value="zero")
    graph.initializer.append(onnx.numpy_helper.from_array(f32(0.1), "scale"))
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([0], np.int8), "zero"))
    return found


@exotic("documentation/training_info")
def _training() -> Exotic:
    found = _batch()
    info = found.proto.training_info.add()
    algorithm = onnx.parser.parse_graph("step () => (float[16] new) { new = Sub(ag, rate) }")
    algorithm.initializer.append(onnx.numpy_helper.from_array(f32(0.1), "rate"))
    info.algorithm.CopyFrom(algorithm)
    info.update_binding.add(key="ag", value="new")
    return found


@exotic("documentation/many_domains")
def _domains() -> Exotic:
    found = _batch()
    for domain, version in (
        ("ai.onnx.ml", 3),
        ("com.microsoft", 1),
        ("never.used", 9),
        ("ai.onnx.training", 1),
    ):
        found.proto.opset_import.add(domain=domain, version=version)
    return found


# --- opsets ---------------------------------------------------------------------------------


def opset_model(opset: int) -> Exotic:
    """Two blocks in an opset."""
    return Exotic(
        parsed(f"g ({_NCHW} x) => ({_NCHW} y) {{ @a x -> h @b h -> y }}", opset=opset),
        _BATCHES,
        runs=opset < 27,
    )


for _number in range(7, onnx.defs.onnx_opset_version() + 1):
    exotic(f"opset/{_number:02}")(lambda number=_number: opset_model(number))  # type: ignore[misc]


# --- operators of others ---------------------------------------------------------------------


def _foreign(text: str, runs: bool = False, changes: bool = True) -> Exotic:
    header = '<ir_version: 8, opset_import: ["" : 17, "odd" : 3, "com.microsoft" : 1]>'
    return Exotic(parsed(header + text), _BATCHES, runs=runs, changes=changes)


@exotic("custom/in_the_middle")
def _custom() -> Exotic:
    text = f'g ({_NCHW} x) => ({_NCHW} y) {{ @a x -> h u = odd.Twist<turns=3, how="left", grid=[1,2]>(h, abd) @b u -> y }}'
    return _foreign(text)


@exotic("custom/with_shapes")
def _custom_shapes() -> Exotic:
    found = _custom()
    found.proto.graph.value_info.append(helper.make_tensor_value_info("u", TensorProto.FLOAT, ["N", 8, 6, 6]))
    return found


@exotic("custom/inside_the_block")
def _custom_inside() -> Exotic:
    text = f"""g ({_NCHW} x) => ({_NCHW} y) {{
      @a x -> h
      c = Conv<kernel_shape=[1,1]>(h, aw) t, u = odd.Twist(c, , aw) b = BatchNormalization(t, ag, as, am, av)
      d = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=16>(b, awd, abd)
      y = Conv<kernel_shape=[1,1]>(d, awp, abp) }}"""
    return _foreign(text)


@exotic("custom/reads_folded")
def _custom_reads() -> Exotic:
    return _foreign(f"g ({_NCHW} x) => ({_NCHW} y, {_NCHW} z) {{ @a x -> y z = odd.Look(ac, ag, ar) }}")


@exotic("custom/in_an_if")
def _custom_if() -> Exotic:
    text = f"""g ({_NCHW} x, bool k) => ({_NCHW} y) {{
      @a x -> h
      z = If(k) <then_branch = t () => ({_NCHW} o) {{ o = odd.Twist(h, ac) }},
                 else_branch = e () => ({_NCHW} o) {{ o = Neg(h) }}>
      @b z -> y }}"""
    return _foreign(text)


@exotic("custom/known_to_the_runtime")
def _contrib() -> Exotic:
    text = f"""g ({_NCHW} x) => ({_NCHW} y) {{
      @a x -> h u = com.microsoft.Gelu(h) q = com.microsoft.FusedConv<kernel_shape=[1,1], activation="Relu">(u, cw)
      @b q -> y }}"""
    header = '<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>'
    return Exotic(parsed(header + text, {"cw": (8, 8, 1, 1)}), _BATCHES)


@exotic("custom/training_operator")
def _preview() -> Exotic:
    text = f"g ({_NCHW} x) => ({_NCHW} y) {{ @a x -> h u = ai.onnx.ml.Scaler<offset=[0.5], scale=[2.0]>(f2) r = Reshape(u, sh) @b r -> y }}"
    text = text.replace("u = ai", "f2 = Flatten<axis=1>(h) u = ai")
    header = '<ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 3]>'
    return Exotic(parsed(header + text, {"sh": i64(0, 8, 6, 6)}), _BATCHES)
