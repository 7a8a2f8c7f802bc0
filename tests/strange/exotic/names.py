"""Exotic models: names, scopes, documentation."""

# ruff: noqa: E501 -- models are read best with one operator after the other

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser

from tests.strange.exotic.axes import any_batch
from tests.strange.exotic.control_flow import with_if
from tests.strange.exotic.models import (
    BATCHES,
    NCHW,
    Exotic,
    dotted,
    exotic,
    f32,
    parsed,
)


@exotic("names/nodes_empty")
def _empty_names() -> Exotic:
    found = any_batch()
    for node in found.proto.graph.node:
        node.name = ""
    return found


@exotic("names/nodes_equal")
def _equal_names() -> Exotic:
    found = with_if("ac")
    for node in found.proto.graph.node:
        node.name = "same"
    return replace(found, runs=False)


@exotic("names/odd")
def _odd() -> Exotic:
    """Names with blanks, slashes, colons, quotes, line breaks, other alphabets; weights as fresh names look."""
    found = any_batch()
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
    text = f"""g ({NCHW} x) => ({NCHW} y, float[N,16,6,6] aw_1, float[N,16,6,6] abd_1) {{
      @a x -> h aw_1 = Neg(ac) aw_2 = Neg(ab) abd_1 = Add(aw_1, aw_2) y = Relu(h) }}"""
    return Exotic(dotted(parsed(text)), BATCHES)


@exotic("documentation/everywhere")
def _documented() -> Exotic:
    found = with_if("ac")
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
    found = any_batch()
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
    found = any_batch()
    info = found.proto.training_info.add()
    algorithm = onnx.parser.parse_graph("step () => (float[16] new) { new = Sub(ag, rate) }")
    algorithm.initializer.append(onnx.numpy_helper.from_array(f32(0.1), "rate"))
    info.algorithm.CopyFrom(algorithm)
    info.update_binding.add(key="ag", value="new")
    return found


@exotic("documentation/many_domains")
def _domains() -> Exotic:
    found = any_batch()
    for domain, version in (
        ("ai.onnx.ml", 3),
        ("com.microsoft", 1),
        ("never.used", 9),
        ("ai.onnx.training", 1),
    ):
        found.proto.opset_import.add(domain=domain, version=version)
    return found
