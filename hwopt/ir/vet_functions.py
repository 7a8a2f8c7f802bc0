"""Functions that call each other: never themselves, and never so that a small file becomes a huge graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import onnx

from hwopt.ir.vet_graphs import graphs_of
from hwopt.ir.vet_words import Unsound, shown

MOST_NODES = 500_000  # of a model, every call counted with the body of what it calls
_DEEPEST_CALL = 100

Key = tuple[str, str, str]


def check_calls(proto: onnx.ModelProto) -> frozenset[Key]:
    """Raises Unsound where functions call each other in a circle, too deeply, or too often.

    Returns what functions there are.
    """
    bodies: dict[Key, onnx.FunctionProto] = {}
    for function in proto.functions:
        key = domain_of(function.domain), function.name, function.overload
        if key in bodies:
            raise Unsound(f"the function {shown(function.name)} is there more than once")
        bodies[key] = function
    calls = {key: Counter(key_of(node) for node in all_nodes(body.node)) for key, body in bodies.items()}
    sizes: dict[Key, int] = {}
    for key in bodies:
        _measure(key, calls, sizes)
    total = _size(Counter(key_of(node) for node in all_nodes(proto.graph.node)), sizes)
    if total > MOST_NODES:
        raise Unsound(
            f"the model has {_many(total)} nodes with all calls written out: {MOST_NODES:,} are read"
        )
    return frozenset(bodies)


def _measure(start: Key, calls: Mapping[Key, Counter[Key]], sizes: dict[Key, int]) -> None:
    """Fills in the size of a function and of all that it calls, without recursion."""
    path = {start: iter(calls[start])}  # functions that are being measured, and what is left to look at
    while path:
        key, left = next(reversed(path.items()))
        call = next((call for call in left if call in calls and call not in sizes), None)
        if call is None:
            sizes[key] = _size(calls[key], sizes)
            path.popitem()
        elif call in path:
            raise Unsound(f"the function {shown(call[1])} calls itself")
        elif len(path) >= _DEEPEST_CALL:
            raise Unsound(f"functions call each other more than {_DEEPEST_CALL} deep")
        else:
            path[call] = iter(calls[call])


def _size(calls: Counter[Key], sizes: Mapping[Key, int]) -> int:
    return sum(count * (1 + sizes.get(key, 0)) for key, count in calls.items())


def all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes and those of the graphs inside them."""
    for node in nodes:
        yield node
        for graph in graphs_of(node):
            yield from all_nodes(graph.node)


def key_of(node: onnx.NodeProto) -> Key:
    """The function that a node would call, if there is one."""
    return domain_of(node.domain), node.op_type, node.overload


def domain_of(name: str) -> str:
    """The standard domain has two names."""
    return "" if name == "ai.onnx" else name


def _many(number: int) -> str:
    return f"{number:,}" if number < 10**12 else "more than 10^12"
