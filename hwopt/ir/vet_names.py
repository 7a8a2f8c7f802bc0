"""Text in a parsed model: it is text, and names are of a length that names have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx

from hwopt.ir.vet_functions import all_nodes
from hwopt.ir.vet_graphs import graphs_of
from hwopt.ir.vet_words import Unsound, shown

LONGEST_NAME = 4096  # characters


def check_names(proto: onnx.ModelProto) -> None:
    """Raises Unsound for text that is not UTF-8, and for names that nobody would give.

    The parser lets any bytes pass as text, and hands on `bytes` for what cannot be decoded. Characters
    that a terminal obeys are no error: whoever shows a name escapes them.
    """
    for text in _names(proto):
        if not isinstance(text, str):
            raise Unsound(f"the name {shown(text)} is not text in UTF-8")
        if len(text) > LONGEST_NAME:
            raise Unsound(f"the name {shown(text)} has {len(text):,} characters: {LONGEST_NAME:,} are read")
    for text in _notes(proto):
        if not isinstance(text, str):
            raise Unsound(f"the text {shown(text)} is not in UTF-8")


def _names(proto: onnx.ModelProto) -> Iterator[object]:
    for entry in proto.opset_import:
        yield entry.domain
    yield from _of_graph(proto.graph)
    for function in proto.functions:
        yield from (function.name, function.domain, function.overload)
        yield from (*function.input, *function.output, *function.attribute)
        yield from _of_nodes(function.node)
        yield from _of_infos(function.value_info)
        for attribute in function.attribute_proto:
            yield attribute.name


def _of_graph(graph: onnx.GraphProto) -> Iterator[object]:
    yield graph.name
    yield from _of_infos((*graph.input, *graph.output, *graph.value_info))
    for tensor in (*graph.initializer, *(s.values for s in graph.sparse_initializer)):
        yield from _of_tensor(tensor)
    for annotation in graph.quantization_annotation:
        yield annotation.tensor_name
        yield from (text for e in annotation.quant_parameter_tensor_names for text in (e.key, e.value))
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[object]:
    """Of the nodes alone and of what they hold."""
    for node in nodes:
        yield from (node.name, node.op_type, node.domain, node.overload, *node.input, *node.output)
        for attribute in node.attribute:
            yield from (attribute.name, attribute.ref_attr_name)
            for tensor in (attribute.t, *attribute.tensors):
                yield from _of_tensor(tensor)
        for graph in graphs_of(node):
            yield from _of_graph(graph)


def _of_tensor(tensor: onnx.TensorProto) -> Iterator[object]:
    yield tensor.name
    yield from (text for entry in tensor.external_data for text in (entry.key, entry.value))


def _of_infos(infos: Iterable[onnx.ValueInfoProto]) -> Iterator[object]:
    for info in infos:
        yield info.name
        for dim in info.type.tensor_type.shape.dim:
            if dim.HasField("dim_param"):
                yield dim.dim_param


def _notes(proto: onnx.ModelProto) -> Iterator[object]:
    """Text that is no name, and may be long."""
    yield from (proto.producer_name, proto.producer_version, proto.domain, proto.doc_string)
    yield proto.graph.doc_string
    entries = [*proto.metadata_props, *proto.graph.metadata_props]
    for node in all_nodes(proto.graph.node):
        yield node.doc_string
        entries += node.metadata_props
    for function in proto.functions:
        yield function.doc_string
        entries += function.metadata_props
    for info in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        yield info.doc_string
        entries += info.metadata_props
    for tensor in proto.graph.initializer:
        yield tensor.doc_string
        entries += tensor.metadata_props
    yield from (text for entry in entries for text in (entry.key, entry.value))
