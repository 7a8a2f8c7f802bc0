"""Graphs of a parsed model: who computes what, in which order, in which graph inside which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import onnx

from hwopt.ir.vet_words import Unsound, shown

DEEPEST_GRAPH = 24  # a graph in an attribute of a node in a graph ...; protobuf itself stops near 33


Scopes = tuple[set[str], ...]  # names that can be read, of this graph and of those around it


def check_graph(graph: onnx.GraphProto, outer: Scopes = (), depth: int = 0) -> None:
    """Raises Unsound where a value is computed twice, or read before anybody computes it.

    outer: of the graphs around this one.
    """
    if depth > DEEPEST_GRAPH:
        raise Unsound(f"graphs stand in each other more than {DEEPEST_GRAPH} deep")
    names = [info.name for info in graph.input]
    _once(names, "input")
    constants = [tensor.name for tensor in graph.initializer]
    constants += [sparse.values.name for sparse in graph.sparse_initializer]
    _once(constants, "initializer")
    scopes = {*names, *constants}, *outer
    _check_nodes(graph.node, scopes, depth)
    _check_outputs((info.name for info in graph.output), scopes)


def check_function(function: onnx.FunctionProto) -> None:
    """The same for the body of a function, which sees nothing but its inputs."""
    _once(function.input, "input")
    scopes = (set(function.input),)
    _check_nodes(function.node, scopes, 0)
    _check_outputs(function.output, scopes)


def _check_nodes(nodes: Sequence[onnx.NodeProto], scopes: Scopes, depth: int) -> None:
    """The same for a list of nodes, whose results are added to the first scope."""
    known = scopes[0]
    for node in nodes:
        for name in node.input:
            if name and not _readable(name, scopes):
                raise Unsound(_missing(node, name, nodes))
        for graph in graphs_of(node):
            check_graph(graph, scopes, depth + 1)
        for name in node.output:
            if name in known:
                raise Unsound(f"the value {shown(name)} is computed more than once")
            if name:
                known.add(name)


def _readable(name: str, scopes: Scopes) -> bool:
    return any(name in scope for scope in scopes)


def graphs_of(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs in a node's attributes."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def title(node: onnx.NodeProto) -> str:
    """A node by its operator and its name, or by what it computes."""
    name = node.name or next(iter(node.output), "")
    return f"{shown(node.op_type)[1:-1]} {shown(name)}"


def _missing(node: onnx.NodeProto, name: str, nodes: Sequence[onnx.NodeProto]) -> str:
    later = any(name in other.output for other in nodes)
    why = "only it or a later node computes: a cycle, or nodes out of order" if later else "nobody computes"
    return f"{title(node)} reads {shown(name)}, which {why}"


def _once(names: Iterable[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise Unsound(f"the {what} {shown(name)} is there more than once")
        seen.add(name)


def _check_outputs(names: Iterable[str], scopes: Scopes) -> None:
    for name in names:
        if not _readable(name, scopes):
            raise Unsound(f"nobody computes the output {shown(name)}")
