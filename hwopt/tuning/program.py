"""A piece of an ONNX model as a PyTorch program: float32, on the CPU, differentiable.

The piece is what lies between some values that are given (the live values at a cut) and some
that are wanted. Weights are tensors by name, so that they can be trained.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from hwopt.nodes import ONNX_DOMAINS, Array, constant, constant_array, label
from hwopt.tuning.operators import OPERATORS, Operator, Unsupported, tensor_of

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Program", "Unsupported", "compiled"]


@dataclass(frozen=True)
class Step:
    """One node: its function, the names it reads (None: left out), writes, and lets go of."""

    operator: Operator
    reads: tuple[str | None, ...]
    writes: tuple[str | None, ...]
    last_reads: tuple[str, ...]


@dataclass(frozen=True)
class Program:
    """Steps in graph order, and the constants by name, which may be replaced by trained ones.

    feeds: names to be given; wanted: names that come out.
    """

    steps: tuple[Step, ...]
    constants: Mapping[str, Tensor]
    feeds: tuple[str, ...]
    wanted: tuple[str, ...]

    def run(self, feeds: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The wanted values. weights: tensors that stand in for constants of the same name."""
        values = {**self.constants, **weights, **feeds}
        for _ in self._outputs(values):
            pass
        return {name: values[name] for name in self.wanted}

    def bytes_of(self, feeds: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> int:
        """Bytes of everything that is computed on the way, which a backward pass has to keep."""
        values = {**self.constants, **weights, **feeds}
        return sum(x.nelement() * x.element_size() for outputs in self._outputs(values) for x in outputs)

    def _outputs(self, values: dict[str, Tensor]) -> Iterator[Sequence[Tensor]]:
        """Computes step by step into `values`, which holds what is still to be read."""
        for step in self.steps:
            outputs = step.operator([None if name is None else values[name] for name in step.reads])
            for name, value in zip(step.writes, outputs, strict=False):
                if name is not None:
                    values[name] = value
            yield outputs
            for name in step.last_reads:
                del values[name]


def compiled(model: ir.Model, feeds: Collection[str], wanted: Sequence[str]) -> Program:
    """The program that computes some values of a model from others.

    Raises Unsupported, with the node and the reason, where a node cannot be expressed.
    """
    nodes = needed(model, feeds, wanted)
    last = {str(v.name): index for index, node in enumerate(nodes) for v in node.inputs if v is not None}
    constants: dict[str, Tensor] = {}
    steps = []
    for index, node in enumerate(nodes):
        operator = _operator(node)
        reads = tuple(None if v is None else str(v.name) for v in node.inputs)
        for value in node.inputs:
            array = None if value is None else constant_array(value)
            if value is not None and array is not None:
                constants[str(value.name)] = tensor_of(array)
        gone = {
            name
            for name in reads
            if name is not None and last[name] == index and name not in constants and name not in wanted
        }
        writes = tuple(str(v.name) if v.name else None for v in node.outputs)
        steps.append(Step(operator, reads, writes, tuple(sorted(gone))))
    return Program(tuple(steps), constants, tuple(feeds), tuple(wanted))


def needed(model: ir.Model, feeds: Collection[str], wanted: Sequence[str]) -> list[ir.Node]:
    """Nodes that the wanted values need, in graph order, Constant nodes left out.

    Raises Unsupported where something else than the feeds is needed.
    """
    todo, found = set(wanted) - set(feeds), []
    for node in reversed(list(model.graph)):
        if todo.isdisjoint(str(v.name) for v in node.outputs):
            continue
        todo -= {str(v.name) for v in node.outputs}
        todo |= {
            str(v.name)
            for v in node.inputs
            if v is not None and constant(v) is None and str(v.name) not in feeds
        }
        found.append(node)
    if todo:
        raise Unsupported(f"{sorted(todo)[0]!r} is needed and not given")
    return found[::-1]


def _operator(node: ir.Node) -> Operator:
    build = OPERATORS.get(node.op_type) if node.domain in ONNX_DOMAINS else None
    if build is None:
        raise Unsupported(f"{label(node)}: the operator {node.op_type} has no gradient here")
    try:
        return build(node)
    except Unsupported as error:
        raise Unsupported(f"{label(node)}: {error}") from error


def as_tensors(arrays: Mapping[str, Array]) -> dict[str, Tensor]:
    """Arrays as tensors, images with their channels last in memory: twice as fast there."""
    import torch

    found = {}
    for name, array in arrays.items():
        tensor = torch.from_numpy(np.array(array))
        found[name] = tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
    return found
