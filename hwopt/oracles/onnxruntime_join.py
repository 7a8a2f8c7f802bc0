"""Parts of networks, run one after another as branches of one model.

A part that runs alone finds its weights in the nearest cache and its buffers untouched; in a
network neither is so. Behind one another in one session, many parts make a network of their
own: weights come from far away, and buffers are those that the part before has just left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from hwopt.oracles.onnxruntime_context import GUARD, add_guards, given_name, interface_shapes, name_nodes
from hwopt.oracles.onnxruntime_rows import GUARDED, producers


@dataclass(frozen=True)
class Joined:
    """Models as one, and what is needed to tell their nodes apart.

    model: what to run. firsts: number of the first node of each model (nodes are numbered
    through). outputs: first output of each numbered node, by its own model's name for it.
    producer: number of the node that each value of `model` is charged to.
    """

    model: onnx.ModelProto
    firsts: tuple[int, ...]
    outputs: tuple[str, ...]
    producer: Mapping[str, int]

    def model_of(self, number: int) -> int:
        """Which of the models a node belongs to."""
        return sum(first <= number for first in self.firsts) - 1


def joinable(model: onnx.ModelProto) -> str | None:
    """Models with the same word can be joined; None: it has to run alone."""
    nested = any(a.HasField("g") or a.graphs for node in model.graph.node for a in node.attribute)
    if nested or model.functions or model.graph.sparse_initializer:
        return None
    opsets = sorted((opset.domain, opset.version) for opset in model.opset_import)
    return f"{model.ir_version} {opsets}"


def join(models: Sequence[onnx.ModelProto], guards: bool) -> Joined:
    """The models behind one another, each between guards where asked for; they are changed in place."""
    firsts: list[int] = []
    outputs: list[str] = []
    producer: dict[str, int] = {}
    for index, model in enumerate(models):
        prefix = f"p{index}." if len(models) > 1 else ""
        firsts.append(len(outputs))
        name_nodes(model, len(outputs))
        for name, number in producers(model).items():
            known = name if given_name(name) == name else prefix + name
            producer[known] = number if number == GUARDED else number + len(outputs)
        outputs += [node.output[0] for node in model.graph.node]
        if guards:
            add_guards(model, interface_shapes(model))
        if prefix:
            _rename(model.graph, prefix)
    first = models[0]
    for other in models[1:]:
        for name in ("node", "input", "output", "initializer"):
            getattr(first.graph, name).extend(getattr(other.graph, name))
    return Joined(first, tuple(firsts), tuple(outputs), producer)


def _rename(graph: onnx.GraphProto, prefix: str) -> None:
    """Puts a prefix before the name of every value; empty names mean none and stay."""
    del graph.value_info[:]
    for node in graph.node:
        node.input[:] = [prefix + name if name else "" for name in node.input]
        node.output[:] = [prefix + name if name else "" for name in node.output]
        if GUARD in node.name:
            node.name = f"{node.name}.{prefix}"
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = prefix + value.name
