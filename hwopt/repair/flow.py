"""The order in which a model computes, and where it can be cut cheaply.

A cut stands before one node: everything before it is done, and only the live values (computed
before, read after) need to be kept to go on from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from hwopt.nodes import Array, constant, constant_array
from hwopt.repair.marks import fit_of
from hwopt.runtime import Session, fixed_batch, part

PROBE_BATCH = 3  # an unlikely size for anything that is not the batch


@dataclass(frozen=True)
class Cut:
    """A place before node `index`, with the live values there and the bytes per sample of each."""

    index: int
    values: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Of all live values together."""
        return sum(self.sizes)


def probe_count(model: ir.Model) -> int:
    """How many samples `cuts` wants."""
    return fixed_batch(model) or PROBE_BATCH


def cuts(model: ir.Model, start: Mapping[str, Array]) -> list[Cut]:
    """Every usable cut downstream of the start values, in graph order.

    start: by value name, `probe_count` samples; a cut is usable where every live value has the
    samples on its first axis.
    """
    sizes = _bytes_per_sample(model, start)
    order = list(model.graph)
    last = _last_reads(model)
    born = dict.fromkeys(start, -1)
    for index, node in enumerate(order):
        born |= {
            str(v.name): index for v in node.outputs if str(v.name) in sizes and str(v.name) not in start
        }
    found = []
    for index in range(len(order) + 1):
        live = [name for name, at in born.items() if at < index <= last.get(name, -1)]
        if live and all(sizes.get(name, 0) > 0 for name in live):
            found.append(Cut(index, tuple(live), tuple(sizes[name] for name in live)))
    return found


def _last_reads(model: ir.Model) -> dict[str, int]:
    """Index of the last node that reads each value; one past the end for graph outputs."""
    last: dict[str, int] = {}
    for index, node in enumerate(model.graph):
        for value in _reads(node):
            last[value] = index
    for value_out in model.graph.outputs:
        last[str(value_out.name)] = len(model.graph)
    return last


def _reads(node: ir.Node) -> list[str]:
    """Names a node reads, those that its subgraphs capture included; constants left out."""
    values = [v for v in node.inputs if v is not None and constant(v) is None and not v.is_initializer()]
    names = [str(v.name) for v in values]
    for attribute in node.attributes.values():
        graphs: list[ir.Graph] = []
        if attribute.type == ir.AttributeType.GRAPH:
            graphs = [attribute.as_graph()]
        elif attribute.type == ir.AttributeType.GRAPHS:
            graphs = list(attribute.as_graphs())
        for graph in graphs:
            for inner in graph:
                names.extend(_reads(inner))
    return names


def _bytes_per_sample(model: ir.Model, start: Mapping[str, Array]) -> dict[str, int]:
    """Bytes per sample of every value downstream of the start; 0 where samples are not on axis 0."""
    names = downstream(model, set(start))
    count = probe_count(model)
    sizes = {name: array.nbytes // count for name, array in start.items()}
    if not names:
        return sizes
    values = Session(part(model, start, names)).run(start)
    for name, value in values.items():
        sizes[name] = value.nbytes // count if value.ndim and value.shape[0] == count else 0
    return sizes


def downstream(model: ir.Model, start: set[str]) -> list[str]:
    """Values that depend on the start values and otherwise on constants only, in graph order."""
    reached = set(start)
    found = []
    for node in model.graph:
        reads = _reads(node)
        if set(reads) <= reached:
            names = [str(v.name) for v in node.outputs if v.name and str(v.name) not in reached]
            found.extend(names if reads else [])
            reached |= set(names)
    return found


def unchanged(base: ir.Model, changed: ir.Model) -> set[str]:
    """Values of the changed model that surely equal those of the same name in the base."""
    same = {str(v.name) for v in base.graph.inputs} & {str(v.name) for v in changed.graph.inputs}
    known = {str(v.name): node for node in base.graph for v in node.outputs}
    for node in changed.graph:
        twin = known.get(str(node.outputs[0].name))
        if twin is not None and fit_of(node) is None and _same_node(twin, node, same):
            same |= {str(v.name) for v in node.outputs}
    return same


def _same_node(one: ir.Node, two: ir.Node, same: set[str]) -> bool:
    return (
        (one.op_type, one.domain) == (two.op_type, two.domain)
        and [v.name for v in one.outputs] == [v.name for v in two.outputs]
        and _same_attributes(one, two)
        and len(one.inputs) == len(two.inputs)
        and all(_same_input(a, b, same) for a, b in zip(one.inputs, two.inputs, strict=True))
    )


def _same_attributes(one: ir.Node, two: ir.Node) -> bool:
    if set(one.attributes) != set(two.attributes):
        return False
    pairs = [(one.attributes[name], two.attributes[name]) for name in one.attributes]
    return all(a.type == b.type and _same_value(a.value, b.value) for a, b in pairs)


def _same_value(one: object, two: object) -> bool:
    if isinstance(one, ir.TensorProtocol) and isinstance(two, ir.TensorProtocol):
        return one is two or bool(np.array_equal(one.numpy(), two.numpy()))
    if isinstance(one, ir.Graph) or isinstance(two, ir.Graph):
        return one is two  # a cloned subgraph counts as changed: slower, never wrong
    return one == two


def _same_input(one: ir.Value | None, two: ir.Value | None, same: set[str]) -> bool:
    if one is None or two is None:
        return one is two
    first, second = constant(one), constant(two)
    if first is None or second is None:
        return first is second and one.name == two.name and str(two.name) in same
    return first is second or bool(np.array_equal(_array(one), _array(two)))


def _array(value: ir.Value) -> Array:
    array = constant_array(value)
    assert array is not None
    return array
