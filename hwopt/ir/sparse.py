"""Sparse weights  -->  dense ones, as ONNX Runtime reads them: onnx_ir knows none.

Sparse initializers become initializers, Constant nodes with a `sparse_value` Constant nodes with a `value`.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import numpy_helper

from hwopt.nodes import Array


def make_dense(proto: onnx.ModelProto) -> None:
    """Replaces every sparse weight of the main graph, of the graphs in its nodes and of functions, in place.

    proto: vetted (`hwopt.ir.vet`), so that indices lie inside and nothing becomes huge; external parts are
    in it already.
    """
    for graph in _graphs(proto.graph):
        for sparse in graph.sparse_initializer:
            tensor = numpy_helper.from_array(_dense(sparse), sparse.values.name)
            tensor.doc_string = sparse.values.doc_string
            graph.initializer.append(tensor)
        del graph.sparse_initializer[:]
        _make_constants_dense(graph.node)
    for function in proto.functions:
        _make_constants_dense(function.node)


def _make_constants_dense(nodes: Iterable[onnx.NodeProto]) -> None:
    for node in nodes:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.HasField("sparse_tensor"):
                tensor = numpy_helper.from_array(
                    _dense(attribute.sparse_tensor), attribute.sparse_tensor.values.name
                )
                attribute.CopyFrom(onnx.helper.make_attribute("value", tensor, attribute.doc_string or None))


def _graphs(graph: onnx.GraphProto) -> list[onnx.GraphProto]:
    found = [graph]
    for node in graph.node:
        for attribute in node.attribute:
            inner = [attribute.g] if attribute.HasField("g") else []
            found += [one for part in (*inner, *attribute.graphs) for one in _graphs(part)]
    return found


def _dense(sparse: onnx.SparseTensorProto) -> Array:
    values = np.asarray(numpy_helper.to_array(sparse.values))
    indices = np.asarray(numpy_helper.to_array(sparse.indices))
    dense = np.zeros(tuple(sparse.dims), values.dtype)
    if indices.ndim == 1:
        dense.reshape(-1)[indices] = values
    else:
        dense[tuple(indices.T)] = values
    return dense
