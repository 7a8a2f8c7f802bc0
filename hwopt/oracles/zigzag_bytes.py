"""Operators that compute next to nothing: priced by the bytes they move through the described memories.

ZigZag has no figure for copies, elementwise operators with a broadcast operand, lone activations,
softmax or normalisations. What they cost at least follows from the description: every input is read
from the memory it lies in and every result written to it, at the bandwidth of the ports involved;
the transfers of a port add up, ports and memories work at the same time, and the arithmetic keeps
up (a vector unit or a table behind the array, which the target claims by listing the operator). Loop
nests of ZigZag rest on the same assumptions about transfers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import onnx_ir as ir

from hwopt.describe import VIEWS
from hwopt.nodes import ONNX_DOMAINS, constant
from hwopt.shapes import TensorInfo

_ELEMENTWISE = frozenset(
    {
        "Add", "Sub", "Mul", "Div", "Min", "Max", "Pow",
        "Clip", "Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Gelu", "Sigmoid", "HardSigmoid",
        "Tanh", "HardSwish", "Mish", "Softplus", "Softsign", "Abs", "Neg", "Sqrt", "Exp", "Log", "Erf",
        "Reciprocal", "Floor", "Ceil", "Round", "Sign",
    }
)  # fmt: skip
_SCALED = frozenset(
    {"BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization"}
)
_COPIES = frozenset(
    {"Concat", "Split", "Slice", "Pad", "Resize", "Upsample", "Transpose", "DepthToSpace", "SpaceToDepth"}
    | {"Expand", "Tile"}
)  # fmt: skip
_REDUCTIONS = frozenset(
    {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "Softmax", "LogSoftmax"}
)
MOVED = _ELEMENTWISE | _SCALED | _COPIES | _REDUCTIONS


@dataclass(frozen=True)
class Transfer:
    """Bytes that an operator reads and writes."""

    inputs: int
    outputs: int


@dataclass(frozen=True)
class Moved:
    """What a transfer costs, and the memory that decides: "on_chip" or "off_chip"."""

    cycles: float
    off_chip_bytes: int
    bound: str


def transfer_of(
    node: ir.Node,
    inputs: Sequence[ir.Value],
    outputs: Sequence[ir.Value],
    shapes: Mapping[str, TensorInfo],
    size: int,
) -> Transfer | None:
    """What a group reads and writes; None for operators that do more than move bytes, or of unknown shape.

    node: its anchor. inputs, outputs: activations at its ends. size: bytes of an element.
    """
    if node.domain not in ONNX_DOMAINS or node.op_type not in MOVED or node.op_type in VIEWS:
        return None
    infos = [shapes.get(value.name or "") for value in (*inputs, *outputs)]
    if any(info is None for info in infos):
        return None
    elements = [prod(info.shape) for info in infos if info is not None]
    read, written = sum(elements[: len(inputs)]), sum(elements[len(inputs) :])
    if node.op_type == "Slice":
        read = written  # what is cut away is never touched
    return Transfer(size * (read + _constants(node)), size * written)


def _constants(node: ir.Node) -> int:
    """Elements of constant operands; sizes, axes and limits of other operators are no data."""
    if node.op_type not in _SCALED and (node.op_type not in _ELEMENTWISE or node.op_type == "Clip"):
        return 0
    tensors = [constant(value) for value in node.inputs]
    return sum(int(tensor.size) for tensor in tensors if tensor is not None)


def move(transfer: Transfer, accelerator: Mapping[str, Any], stay: bool) -> Moved:
    """The time of a transfer from the outermost memory of activations, through those inside, and back.

    stay: the activations stay on chip where the innermost shared memory of inputs and results has
        room for both (data locality).
    """
    levels = _levels(accelerator)
    kept = [level for level in levels if {"I1", "O"} <= set(level["operands"]) and _room(level, transfer)]
    if stay and kept and kept[0] is not levels[-1]:
        levels = levels[: levels.index(kept[0]) + 1]
        off_chip = False
    else:
        off_chip = True
    times = [_time(level, transfer, level is levels[-1]) for level in levels]
    slowest = max(times)
    bound = "off_chip" if off_chip and slowest == times[-1] else "on_chip"
    return Moved(slowest, transfer.inputs + transfer.outputs if off_chip else 0, bound)


def _levels(accelerator: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Memories of activations that stand once for the whole array, innermost first."""
    dims = set(accelerator["operational_array"]["dimensions"])
    return [
        memory
        for memory in accelerator["memories"].values()
        if {"I1", "O"} & set(memory["operands"]) and dims <= set(memory["served_dimensions"])
    ]


def _room(level: Mapping[str, Any], transfer: Transfer) -> bool:
    return bool(8 * (transfer.inputs + transfer.outputs) <= level["size"])


def _time(level: Mapping[str, Any], transfer: Transfer, outermost: bool) -> float:
    """Cycles of the busiest port: a memory on the way takes data in and gives it out again."""
    flows = {"I1, tl": transfer.inputs, "O, fl": transfer.outputs}
    if not outermost:
        flows |= {"I1, fh": transfer.inputs, "O, th": transfer.outputs}
    return max(
        8 * sum(flows.get(item, 0) for item in port["allocation"]) / float(port["bandwidth_max"])
        for port in level["ports"]
    )
