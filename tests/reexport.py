"""The same network as another export writes it: other names, another order, nothing else."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import onnx


def reexport(source: Path, target: Path, seed: int, *, interface: bool = False, strip: bool = False) -> None:
    """Writes the model with renamed nodes and values, everything that has no order shuffled.

    interface: rename inputs and outputs, too. strip: nodes have no names at all.
    """
    rng = random.Random(seed)
    proto = onnx.load(source)
    _rename(proto.graph, rng, interface, strip)
    initializers = list(proto.graph.initializer)
    rng.shuffle(initializers)
    nodes = _shuffled(list(proto.graph.node), rng)
    del proto.graph.initializer[:], proto.graph.node[:], proto.graph.value_info[:]
    proto.graph.initializer.extend(initializers)
    proto.graph.node.extend(nodes)
    proto.graph.name, proto.graph.doc_string, proto.producer_name = f"g{seed}", "", "another exporter"
    onnx.save(proto, target)


def _rename(graph: onnx.GraphProto, rng: random.Random, interface: bool, strip: bool) -> None:
    ends = {value.name for value in (*graph.input, *graph.output)}
    names = sorted({n for node in graph.node for n in (*node.input, *node.output)} | ends - {""})
    numbers = list(range(len(names)))
    rng.shuffle(numbers)
    inner = {n for node in graph.node for n in _inner_names(node)}  # subgraphs read by these names
    fixed = inner | {""} | (set() if interface else ends)
    new = {name: name if name in fixed else f"v{number}" for name, number in zip(names, numbers, strict=True)}
    new[""] = ""
    for node in graph.node:
        node.name = "" if strip else f"node{rng.random()}"
        node.input[:] = [new[name] for name in node.input]
        node.output[:] = [new[name] for name in node.output]
        attributes = list(node.attribute)
        rng.shuffle(attributes)
        del node.attribute[:]
        node.attribute.extend(attributes)
    for item in (*graph.initializer, *graph.input, *graph.output):
        item.name = new.get(item.name, item.name)


def _inner_names(node: onnx.NodeProto) -> Iterator[str]:
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from (*inner.input, *inner.output, *_inner_names(inner))
        yield from (value.name for value in attribute.g.output)


def _shuffled(nodes: list[onnx.NodeProto], rng: random.Random) -> list[onnx.NodeProto]:
    """A random topological order."""
    made = {name for node in nodes for name in node.output}
    waiting = [{n for n in (*node.input, *_inner_names(node)) if n in made} for node in nodes]
    readers: dict[str, list[int]] = defaultdict(list)
    for number, names in enumerate(waiting):
        for name in names:
            readers[name].append(number)
    ready, done = [n for n, names in enumerate(waiting) if not names], list[onnx.NodeProto]()
    while ready:
        node = nodes[ready.pop(rng.randrange(len(ready)))]
        done.append(node)
        for name in node.output:
            for reader in readers[name]:
                waiting[reader].discard(name)
                if not waiting[reader]:
                    ready.append(reader)
            readers[name] = []
    assert len(done) == len(nodes)
    return done
