"""A parsed model, looked at in plain Python before anything native is handed it.

Shape inference, the checker and ONNX Runtime are written in C++ and trust much of what a file says of
itself. What they are handed has passed here: text is text, no tensor claims more than there is, nothing is
read before it is computed, no function calls itself, and nothing is so large that a small file eats the
memory or the day of whoever opens it. `SECURITY.md` has the limits in one table.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx_ir as ir

from hwopt.errors import BadInput
from hwopt.ir.vet_attributes import check_attributes
from hwopt.ir.vet_functions import all_nodes, check_calls
from hwopt.ir.vet_graphs import check_function, check_graph, graphs_of, title
from hwopt.ir.vet_names import check_names
from hwopt.ir.vet_operators import check_sizes
from hwopt.ir.vet_tensors import bytes_of, check_sparse, check_tensor
from hwopt.ir.vet_words import Unsound, shown

LARGEST_VALUE_BYTES = 2**30  # of an input or output whose size is fixed; two models are run on it
_UNKNOWN = -1  # what some exporters write for a size that varies


def vet(proto: onnx.ModelProto, path: Path) -> None:
    """Raises BadInput for a model that lies about itself, or asks for more than it could need.

    proto: as parsed, external data not read yet. The checks are linear in the size of the message, and
    nothing that it claims is allocated.
    """
    try:
        check_names(proto)
        check_calls(proto)
        check_graph(proto.graph)
        for function in proto.functions:
            check_function(function)
        for graph in _graphs(proto):
            _check_infos(graph)
            for tensor in graph.initializer:
                check_tensor(tensor)
            for sparse in graph.sparse_initializer:
                check_sparse(sparse)
        for node in _nodes(proto):
            if not node.op_type:
                raise Unsound(f"the node {title(node)} has no operator")
            check_attributes(node.attribute, title(node))
            check_sizes(node)
        for function in proto.functions:
            check_attributes(function.attribute_proto, f"the function {shown(function.name)}")
    except Unsound as error:
        raise BadInput(f"{path} is not a valid ONNX model: {error}") from None


def _graphs(proto: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    yield proto.graph
    for node in _nodes(proto):
        yield from graphs_of(node)


def _nodes(proto: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node of the model, those of graphs in nodes and of functions included."""
    yield from all_nodes(proto.graph.node)
    for function in proto.functions:
        yield from all_nodes(function.node)


def _check_infos(graph: onnx.GraphProto) -> None:
    """Declared sizes of inputs, outputs and values in between."""
    for info in (*graph.input, *graph.output, *graph.value_info):
        if not info.type.HasField("tensor_type"):
            continue
        dims = [dim.dim_value for dim in info.type.tensor_type.shape.dim if dim.HasField("dim_value")]
        if any(dim < _UNKNOWN for dim in dims):
            raise Unsound(f"{shown(info.name)} has a negative dimension")
        _check_declared(info, dims)


def _check_declared(info: onnx.ValueInfoProto, dims: list[int]) -> None:
    count = 1
    for dim in dims:
        count *= max(dim, 1)
    try:
        dtype = ir.DataType(info.type.tensor_type.elem_type)
    except ValueError:
        number = info.type.tensor_type.elem_type
        raise Unsound(f"{shown(info.name)} has the unknown element type {number}") from None
    known = ir.DataType.FLOAT if dtype == ir.DataType.UNDEFINED else dtype
    if bytes_of(count, known) > LARGEST_VALUE_BYTES and 0 not in dims:
        raise Unsound(
            f"{shown(info.name)} is declared with {bytes_of(count, known):,} bytes: "
            f"values of up to {LARGEST_VALUE_BYTES:,} are worked on"
        )
