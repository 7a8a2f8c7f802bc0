"""A parsed model, looked at in plain Python before anything native is handed it.

Shape inference, the checker and ONNX Runtime are written in C++ and trust much of what a file says of
itself. What they are handed has passed here: text is text, no tensor claims more than there is, nothing is
read before it is computed, no function calls itself, and nothing is so large that a small file eats the
memory or the day of whoever opens it. `SECURITY.md` has the limits in one table.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
import onnx_ir as ir

from hwopt.ir.vet_attributes import check_attributes
from hwopt.ir.vet_functions import Key, all_nodes, check_calls
from hwopt.ir.vet_graphs import check_function, check_graph, graphs_of, title
from hwopt.ir.vet_names import check_names
from hwopt.ir.vet_operators import check_sizes
from hwopt.ir.vet_schemas import Versions, check_schema, versions_of
from hwopt.ir.vet_tensors import MOST_AXES, bytes_of, check_sparse, check_tensor
from hwopt.ir.vet_windows import check_bodies, check_windows
from hwopt.ir.vet_words import Unsound, invalid_model, shown

LARGEST_VALUE_BYTES = 2**30  # of an input or output whose size is fixed; two models are run on it
_FIRST_WITH_IMPORTS = 3  # IR version; older models are in opset 1
_UNKNOWN = -1  # what some exporters write for a size that varies


def vet(proto: onnx.ModelProto, path: Path) -> None:
    """Raises BadInput for a model that lies about itself, or asks for more than it could need.

    proto: as parsed, external data not read yet. The checks are linear in the size of the message, and
    nothing that it claims is allocated.
    """
    try:
        check_names(proto)
        functions = check_calls(proto)
        check_graph(proto.graph)
        versions = versions_of(proto.opset_import) if proto.ir_version >= _FIRST_WITH_IMPORTS else {"": 1}
        _check_nodes(proto.graph.node, versions, functions)
        for function in proto.functions:
            check_function(function)
            check_attributes(function.attribute_proto, f"the function {shown(function.name)}")
            _check_nodes(function.node, {**versions, **versions_of(function.opset_import)}, functions)
        for graph in _graphs(proto):
            _check_values(graph)
        check_windows(proto.graph, functions)  # reads tensors: they are sound by now
        for function in proto.functions:
            check_bodies(function.node, functions, ChainMap())
    except Unsound as error:
        raise invalid_model(path, str(error)) from None


def _check_nodes(nodes: Sequence[onnx.NodeProto], versions: Versions, functions: frozenset[Key]) -> None:
    """Each by itself, those of graphs in nodes included."""
    for node in all_nodes(nodes):
        if not node.op_type:
            raise Unsound(f"the node {title(node)} has no operator")
        check_attributes(node.attribute, title(node))
        check_sizes(node)
        check_schema(node, versions, functions)


def _check_values(graph: onnx.GraphProto) -> None:
    """Weights, and declared sizes of inputs, outputs and values in between."""
    for tensor in graph.initializer:
        check_tensor(tensor)
    for sparse in graph.sparse_initializer:
        check_sparse(sparse)
    for info in (*graph.input, *graph.output, *graph.value_info):
        if info.type.HasField("tensor_type"):
            _check_declared(info)


def _graphs(proto: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The main graph and those in nodes."""
    yield proto.graph
    for nodes in (proto.graph.node, *(function.node for function in proto.functions)):
        for node in all_nodes(nodes):
            yield from graphs_of(node)


def _check_declared(info: onnx.ValueInfoProto) -> None:
    dims = [dim.dim_value for dim in info.type.tensor_type.shape.dim if dim.HasField("dim_value")]
    if len(info.type.tensor_type.shape.dim) > MOST_AXES:
        raise Unsound(f"{shown(info.name)} is declared with more than {MOST_AXES} axes")
    if any(dim < _UNKNOWN for dim in dims):
        raise Unsound(f"{shown(info.name)} has a negative dimension")
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
            f"values of up to {LARGEST_VALUE_BYTES:,} bytes are worked on"
        )
