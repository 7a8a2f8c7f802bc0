"""Small, safe edits of a graph: fresh names, constants of one's own, nodes replaced in place.

Constants are never edited in place: another node may read them. The reader gets a new one,
and the old one goes when nobody reads it any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from hwopt.ir.external import EMBEDDED_BYTES, EXTERNAL
from hwopt.ir.stored import stored_array
from hwopt.nodes import dims_of, is_op

PIECE = "hwopt.piece"  # in graph.meta: cut out to be priced, written nowhere and run nowhere
_RESERVED = "hwopt.names"  # in graph.meta, which survives clones
_KNOWN = "hwopt.known_names"  # in graph.meta while steps are made
_GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
AttributeValue = int | float | str | Sequence[int] | Sequence[float]


def fresh_name(graph: ir.Graph, hint: str) -> str:
    """A value name that means nothing yet: the hint itself, or the hint with a number.

    Neither the graph uses it, nor did the input model: what has a name of the input's is that value.
    """
    known, reserved = _known(graph) or _Known.of(graph), graph.meta.get(_RESERVED, frozenset())
    name, number = hint, 0
    while name in reserved or known.taken(name):
        number += 1
        name = f"{hint}.{number}"
    return name


@dataclass(frozen=True)
class _Known:
    """How many values of one graph have a name, initializers apart. A clone shares the meta, not this.

    new: names that were given to nodes since `renamed` was last told.
    """

    graph: ir.Graph
    names: Counter[str]
    new: set[str]

    @classmethod
    def of(cls, graph: ir.Graph) -> _Known:
        """A look at every node."""
        values = [*graph.inputs, *(value for node in _nodes(graph) for value in node.outputs)]
        for inner in _inner(graph):
            values += [*inner.inputs, *inner.initializers.values()]
        return cls(graph, Counter(value.name for value in values if value.name), set())

    def taken(self, name: str) -> bool:
        """Whether a value of the graph has the name."""
        return bool(self.names[name]) or name in self.new or name in self.graph.initializers


def know_names(graph: ir.Graph) -> None:
    """From now on `fresh_name` looks at no node of this graph; `renamed` has to say what changes."""
    graph.meta[_KNOWN] = _Known.of(graph)


def renamed(graph: ir.Graph, old: Iterable[str], new: Iterable[str]) -> None:
    """Tells a graph whose names are known that values of its nodes had these names, and have those now."""
    known = _known(graph)
    if known is not None:
        known.names.subtract(old)
        known.names.update(new)
        known.new.clear()


def _known(graph: object) -> _Known | None:
    known = graph.meta.get(_KNOWN) if isinstance(graph, ir.Graph) else None
    return known if isinstance(known, _Known) and known.graph is graph else None


def forget_names(graph: ir.Graph) -> None:
    """Ends what `know_names` began."""
    graph.meta.pop(_KNOWN, None)


@contextmanager
def names_standing(graph: ir.Graph) -> Iterator[None]:
    """No node's output gets another name inside, so that `fresh_name` looks at the nodes once."""
    if _known(graph) is not None:
        yield
        return
    know_names(graph)
    try:
        yield
    finally:
        forget_names(graph)


def reserve_names(graph: ir.Graph) -> None:
    """Keeps every name that a value of the graph has now, or a nested graph's, from becoming another's."""
    graph.meta[_RESERVED] = frozenset(_names(graph))


def _names(graph: ir.Graph) -> set[str]:
    values = [*graph.inputs, *graph.initializers.values()]
    for inner in _inner(graph):
        values += [*inner.inputs, *inner.initializers.values()]
    for node in _nodes(graph):
        values += node.outputs
    return {value.name for value in values if value.name}


def _nodes(graph: ir.Graph) -> Iterable[ir.Node]:
    """The nodes of a graph and of those inside it."""
    return graph.all_nodes() if _nests(graph) else graph


def _inner(graph: ir.Graph) -> Iterable[ir.Graph]:
    return graph.subgraphs() if _nests(graph) else ()


def _nests(graph: ir.Graph) -> bool:
    """Whether a node holds a graph: asked first, for onnx_ir's walk through graphs costs much more."""
    return any(
        attribute.type in _GRAPHS
        for node in graph
        if node.attributes
        for attribute in node.attributes.data.values()
    )


def add_constant(graph: ir.Graph, array: npt.NDArray[np.generic], hint: str) -> ir.Value:
    """A new initializer with this data under a fresh name.

    In a model that came with external data its bytes go to a temporary file, too, so that a model larger
    than the memory can be rewritten layer by layer (`hwopt.ir.stored`).
    """
    name = fresh_name(graph, hint)
    contiguous = np.ascontiguousarray(array).reshape(array.shape)
    large = EXTERNAL in graph.meta and array.nbytes > EMBEDDED_BYTES
    # Not ir.tensor(): its checks of protocols at run time cost ten times the tensor.
    return _registered(graph, stored_array(contiguous, name) if large else ir.Tensor(contiguous, name=name))


def _registered(graph: ir.Graph, tensor: ir.TensorProtocol) -> ir.Value:
    shape = ir.Shape(dims_of(tensor))
    value = ir.Value(name=tensor.name, type=ir.TensorType(tensor.dtype), shape=shape, const_value=tensor)
    graph.register_initializer(value)
    return value


def set_constant(node: ir.Node, index: int, array: npt.NDArray[np.generic]) -> None:
    """Gives the node a constant of its own at that input; the old one goes if nobody else reads it."""
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    _put_constant(node, index, add_constant(graph, array, _hint(node, index)))


def set_made(
    node: ir.Node,
    index: int,
    dtype: ir.DataType,
    dims: Sequence[int],
    make: Callable[[], npt.NDArray[np.generic]],
) -> None:
    """As `set_constant`, of what `make` gives, which has this type and this shape.

    In a cut-out piece, of which shapes are priced and hardly ever numbers, it is made when somebody asks.
    """
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    if PIECE not in graph.meta:
        set_constant(node, index, make())
        return
    tensor = ir.LazyTensor(
        lambda: ir.Tensor(np.asarray(make())), dtype, ir.Shape(dims, frozen=True),
        cache=EXTERNAL not in graph.meta, name=fresh_name(graph, _hint(node, index)),
    )  # fmt: skip
    _put_constant(node, index, _registered(graph, tensor))


def _hint(node: ir.Node, index: int) -> str:
    old = node.inputs[index] if index < len(node.inputs) else None
    return old.name if old is not None and old.name else f"{node.outputs[0].name}.input{index}"


def _put_constant(node: ir.Node, index: int, new: ir.Value) -> None:
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    old = node.inputs[index] if index < len(node.inputs) else None
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, new)
    if old is not None:
        drop_if_unused(graph, old)


def drop_if_unused(graph: ir.Graph, value: ir.Value) -> None:
    """Removes a constant (initializer or Constant node) that nothing reads any more."""
    if value.uses() or value.is_graph_output() or value.is_graph_input():
        return
    producer = value.producer()
    if producer is not None and producer.graph is graph and is_op(producer, "Constant"):
        graph.remove(producer, safe=True)
    elif value.is_initializer() and value.name:
        graph.initializers.pop(value.name, None)


def remove_nodes(graph: ir.Graph, nodes: Sequence[ir.Node]) -> None:
    """Removes nodes whose outputs nobody outside reads, with the constants that only they read."""
    constants = [value for node in nodes for value in node.inputs if value is not None]
    graph.remove(list(nodes), safe=True)
    for value in constants:
        drop_if_unused(graph, value)


def set_attribute(node: ir.Node, name: str, value: int | Sequence[int]) -> None:
    """Sets an integer or integer-list attribute."""
    node.attributes[name] = (
        ir.AttrInt64(name, value) if isinstance(value, int) else ir.AttrInt64s(name, [int(v) for v in value])
    )


def insert_node(
    before: ir.Node,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, AttributeValue],
    output_name: str,
) -> ir.Node:
    """A new node of the standard domain, placed right before another one, with one named output."""
    node = ir.node(op_type, list(inputs), attributes=dict(attributes))
    node.outputs[0].name = output_name
    before.prepend(node)
    known = _known(before.graph)
    if known is not None:
        known.new.add(output_name)
    return node


def set_channels(value: ir.Value, channels: int) -> None:
    """Corrects axis 1 of a value's recorded shape, so that no stale shape is written."""
    if value.shape is not None and len(value.shape) > 1:
        dims = list(value.shape.dims)
        dims[1] = channels
        value.shape = ir.Shape(dims)
