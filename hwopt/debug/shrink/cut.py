"""A model as nodes that can be taken out, and the piece that some of them make.

Nodes of the main graph count, Constant nodes do not: they come along with whoever reads them. A node that
holds graphs of its own (If, Loop) is one node, and reads what its graphs read from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from hwopt.ir.checker import CHECK_FAILED
from hwopt.nodes import Array, constant, is_op
from hwopt.places import has_place, place_of
from hwopt.runtime import Feeds

Nodes = frozenset[ir.Node]
Recorded = Callable[[ir.Value], Array | None]
_RANDOM = ("RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli")


@dataclass(frozen=True)
class Outline:
    """Who feeds whom in the main graph.

    nodes: those that count, in graph order. reads: what each takes from others, constants left out.
    settled: values that constants and shapes alone decide; a piece may hold them as constants.
    """

    model: ir.Model
    nodes: tuple[ir.Node, ...]
    reads: Mapping[ir.Node, tuple[ir.Value, ...]]
    readers: Mapping[ir.Value, tuple[ir.Node, ...]]
    settled: frozenset[ir.Value]

    @classmethod
    def of(cls, model: ir.Model) -> Outline:
        """The outline of a model, which must not be edited while it is used."""
        nodes = tuple(node for node in model.graph if not is_op(node, "Constant"))
        reads = {node: tuple(dict.fromkeys(_reads(node, model.graph))) for node in nodes}
        readers: dict[ir.Value, list[ir.Node]] = {}
        for node, values in reads.items():
            for value in values:
                readers.setdefault(value, []).append(node)
        fixed = {value: tuple(found) for value, found in readers.items()}
        return cls(model, nodes, reads, fixed, _settled(nodes, reads))

    def at(self, places: Iterable[str]) -> Nodes:
        """The nodes at these places; a place that only a rewrite makes is left out."""
        wanted = frozenset(places)
        return frozenset(node for node in self.nodes if has_place(node) and place_of(node) in wanted)

    def ordered(self, nodes: Collection[ir.Node]) -> list[ir.Node]:
        """The nodes in graph order."""
        return [node for node in self.nodes if node in nodes]

    def joined(self, nodes: Nodes) -> Nodes:
        """The nodes, each with a shortest way from one before it; the first have none."""
        found: set[ir.Node] = set()
        for node in self.ordered(nodes):
            found.update(self._way(node, found) or [node])
        return frozenset(found)

    def _way(self, end: ir.Node, starts: Collection[ir.Node]) -> list[ir.Node]:
        """A shortest way from one of the starts to the end, with both; [] where there is none."""
        behind: dict[ir.Node, ir.Node | None] = {end: None}
        for node in (waiting := [end]):
            if node in starts:
                way: list[ir.Node] = []
                step: ir.Node | None = node
                while step is not None:
                    way.append(step)
                    step = behind[step]
                return way
            fresh = [other for other in self.before(node) if other not in behind]
            behind.update(dict.fromkeys(fresh, node))
            waiting.extend(dict.fromkeys(fresh))
        return []

    def hull(self, nodes: Nodes) -> Nodes:
        """The nodes, and every node on a way from one of them to another."""
        below = self._reached(self.nodes, nodes, self.before)
        above = self._reached(reversed(self.nodes), nodes, self.behind)
        return nodes | (below & above)

    def ring(self, nodes: Nodes) -> Nodes:
        """The nodes with all that feed them and all that they feed."""
        near = [other for node in nodes for other in (*self.before(node), *self.behind(node))]
        return nodes | frozenset(near)

    def closed(self, nodes: Nodes, inner: Nodes) -> Nodes:
        """The nodes, and who reads from the inner ones of them: what those make stays in the piece."""
        return nodes | frozenset(reader for node in nodes & inner for reader in self.behind(node))

    def before(self, node: ir.Node) -> Iterator[ir.Node]:
        """The nodes that feed this one."""
        return (producer for value in self.reads[node] if (producer := value.producer()) is not None)

    def behind(self, node: ir.Node) -> Iterator[ir.Node]:
        """The nodes that this one feeds."""
        return (reader for value in node.outputs for reader in self.readers.get(value, ()))

    def _reached(
        self, order: Iterable[ir.Node], nodes: Nodes, near: Callable[[ir.Node], Iterator[ir.Node]]
    ) -> Nodes:
        found = set(nodes)
        for node in order:
            if any(other in found for other in near(node)):
                found.add(node)
        return frozenset(found)

    def sources(self, nodes: Nodes) -> list[ir.Value]:
        """What the nodes read and none of them makes, in the order in which it is read."""
        read = dict.fromkeys(value for node in self.ordered(nodes) for value in self.reads[node])
        return [value for value in read if value.producer() not in nodes]

    def sinks(self, nodes: Nodes) -> list[ir.Value]:
        """What the nodes make for others: read outside, an output of the model, or the end of a dead end."""
        found: list[ir.Value] = []
        for node in self.ordered(nodes):
            named = [value for value in node.outputs if value.name]
            wanted = [value for value in named if self._leaves(value, nodes)]
            dead = not wanted and not any(value in self.readers for value in named)
            found.extend(named[:1] if dead else wanted)
        return found

    def _leaves(self, value: ir.Value, nodes: Nodes) -> bool:
        return value.is_graph_output() or any(node not in nodes for node in self.readers.get(value, ()))


def cut(outline: Outline, nodes: Nodes, recorded: Recorded) -> tuple[ir.Model, dict[str, Array]]:
    """The model that these nodes make, and its inputs.

    recorded: what a value holds when the whole model runs; None where nobody knows: the input then keeps
    the type it has, and is not among the feeds. Sizes are fixed, except around nodes that hold graphs.
    Raises ValueError where a cut goes through something that is no tensor, or the nodes make nothing.
    """
    sources, sinks = outline.sources(nodes), outline.sinks(nodes)
    held = [value for value in sources if value in outline.settled and recorded(value) is not None]
    graph = ir.convenience.extract(outline.model.graph, sources, sinks)
    piece = ir.Model(graph, ir_version=outline.model.ir_version, functions=_functions(outline.model))
    graph.opset_imports.update(outline.model.graph.opset_imports)
    if (objection := outline.model.graph.meta.get(CHECK_FAILED)) is not None:
        graph.meta[CHECK_FAILED] = objection
    free = any(holds_graphs(node) for node in nodes)
    feeds: dict[str, Array] = {}
    for value, known in zip([*graph.inputs, *graph.outputs], [*sources, *sinks], strict=True):
        _describe(value, known, recorded(known), free)
    for value, known in zip(tuple(graph.inputs), sources, strict=True):
        array = recorded(known)
        if known in held and array is not None:
            _hold(graph, value, array)
        elif array is not None:
            feeds[str(value.name)] = array
    return piece, feeds


def input_arrays(model: ir.Model, feeds: Feeds) -> dict[str, Array]:
    """What the inputs of a model hold: what is fed, else the default that an initializer gives."""
    found = {name: np.asarray(array) for name, array in feeds.items()}
    for value in model.graph.inputs:
        if value.name and value.name not in found and value.const_value is not None:
            found[value.name] = np.asarray(value.const_value.numpy())
    return found


def _functions(model: ir.Model) -> tuple[ir.Function, ...]:
    return tuple(function.clone() for function in model.functions.values())


def _describe(value: ir.Value, known: ir.Value, array: Array | None, free: bool) -> None:
    """Gives an end of a piece the type and the shape that it has; sizes that vary do so still where `free`.

    A branch that is not taken may have no use for the sizes of the one that is.
    """
    if array is not None:
        value.type = ir.TensorType(ir.DataType.from_numpy(array.dtype))
        value.shape = _free_shape(known, array.ndim) if free else ir.Shape(array.shape)
    elif not isinstance(known.type, ir.TensorType | None):
        raise ValueError(f"'{known.name}' is no tensor: it cannot be cut")


def _free_shape(value: ir.Value, rank: int) -> ir.Shape:
    known = value.shape
    return ir.Shape([None] * rank) if known is None or len(known) != rank else known.copy()


def _hold(graph: ir.Graph, value: ir.Value, array: Array) -> None:
    """An input becomes a constant."""
    graph.inputs.remove(value)
    value.const_value = ir.tensor(np.ascontiguousarray(array).reshape(array.shape), name=value.name)
    graph.register_initializer(value)


def _reads(node: ir.Node, graph: ir.Graph) -> Iterator[ir.Value]:
    """What a node takes from the main graph, for itself or for the graphs that it holds."""
    inner = [one for attribute in node.attributes.values() for one in _graphs(attribute)]
    everyone = [node, *(one for held in inner for one in ir.traversal.RecursiveGraphIterator(held))]
    for reader in everyone:
        for value in reader.inputs:
            if value is not None and value.graph is graph and constant(value) is None:
                yield value


def holds_graphs(node: ir.Node) -> bool:
    """Whether the node is an If, a Loop, a Scan ..."""
    return any(map(_graphs, node.attributes.values()))


def _graphs(attribute: ir.Attr) -> tuple[ir.Graph, ...]:
    if attribute.type == ir.AttributeType.GRAPH:
        return (attribute.as_graph(),)
    return tuple(attribute.as_graphs()) if attribute.type == ir.AttributeType.GRAPHS else ()


def _settled(nodes: Iterable[ir.Node], reads: Mapping[ir.Node, tuple[ir.Value, ...]]) -> frozenset[ir.Value]:
    """Values that do not depend on what is in the inputs, only on how large they are."""
    found: set[ir.Value] = set()
    for node in nodes:
        if is_op(node, *_RANDOM) or not node.inputs or holds_graphs(node):
            continue
        if is_op(node, "Shape", "Size") or found.issuperset(reads[node]):
            found.update(node.outputs)
    return frozenset(found)
