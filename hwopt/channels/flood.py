"""The flood that finds a channel group: from one tensor through everything that keeps channels apart.

Where only a part of the flooded channels goes on (a Concat from behind, a Split from before), the
flood is cut there and started again with each part.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import lcm

import onnx_ir as ir

from hwopt.channels.slots import Count, Lane, Slot, split_sizes
from hwopt.nodes import attr_int, constant, dims_of, is_op, label

OPEN = "hwopt.open"
SEGMENTS = "hwopt.segments"  # on a value: (name, width) of the groups that its channels belong to, in order
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "BatchNormalization")  # their weights say how many channels
OUTPUT = -1  # in place of an input's number: the node's own output was reached

Rule = Callable[["Flood", ir.Node, Lane, int], None]


class Stop(Exception):
    """The channels cannot be resized, for something at a node."""

    def __init__(self, node: str, reason: str) -> None:
        super().__init__(reason)
        self.node, self.reason = node, reason


class Cut(Exception):
    """The flooded channels are two groups: those before `at` and those from there on."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


@dataclass
class Flood:
    """One group in the making. stop: the first reason found why it cannot be resized."""

    rules: dict[str, Rule]
    width: int
    lanes: list[Lane] = field(default_factory=list)
    slots: dict[Slot, None] = field(default_factory=dict)
    counts: dict[Count, None] = field(default_factory=dict)
    nodes: dict[ir.Node, None] = field(default_factory=dict)
    parts: int = 1
    stop: Stop | None = None
    _pending: deque[Lane] = field(default_factory=deque)
    _of: dict[int, list[Lane]] = field(default_factory=dict)

    def run(self, lane: Lane) -> Flood:
        """Spread from a lane until nothing new is reached. Raises Cut."""
        self.reach(lane)
        while self._pending:
            self._spread(self._pending.popleft())
        return self

    def reach(self, lane: Lane) -> None:
        """The group's channels are at that lane too."""
        for known in self._of.get(id(lane.value), []):
            if (known.axis, known.start) == (lane.axis, lane.start):
                return
            if known.axis != lane.axis or abs(known.start - lane.start) < self.width:
                raise Stop(str(lane.value.name), "one channel stands in two places of a tensor")
        self.lanes.append(lane)
        self._of.setdefault(id(lane.value), []).append(lane)
        self._pending.append(lane)

    def _spread(self, lane: Lane) -> None:
        value = lane.value
        self._cut_at_open_end(lane)
        producer = value.producer()
        if producer is not None:
            self._visit(producer, lane, OUTPUT)
        elif not value.meta.get(OPEN):
            self._refuse(Stop(str(value.name), "its channels are those of a graph input"))
        if value.is_graph_output() and not value.meta.get(OPEN):
            self._refuse(Stop(str(value.name), "its channels are those of a graph output"))
        for use in value.uses():
            self._visit(use.node, lane, use.idx)

    def _cut_at_open_end(self, lane: Lane) -> None:
        """A cut-out region does not show where a tensor is split outside: a note on it does."""
        position = 0
        for _, size in lane.value.meta.get(SEGMENTS, ()) if lane.value.meta.get(OPEN) else ():
            position += size
            if lane.start < position < lane.start + self.width:
                raise Cut(position - lane.start)

    def _refuse(self, stop: Stop) -> None:
        self.stop = self.stop or stop

    def _visit(self, node: ir.Node, lane: Lane, index: int) -> None:
        try:
            self._follow(node, lane, index)
        except Stop as stop:
            self._refuse(stop)

    def _follow(self, node: ir.Node, lane: Lane, index: int) -> None:
        self.nodes[node] = None
        rule = self.rules.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if rule is None:
            raise Stop(label(node), f"{node.op_type} is not understood by the channel analysis")
        if lane.value.graph is not None and node.graph is not lane.value.graph:
            raise Stop(label(node), "it stands in a subgraph")
        rule(self, node, lane, index)

    def slot(
        self, node: ir.Node, index: int, axis: int, side: str, lane: Lane, groups: int = 1, fill: float = 0.0
    ) -> int:
        """A constant has entries for the lane's channels: how many for each of them."""
        tensor = constant(node.inputs[index])
        assert tensor is not None
        size = dims_of(tensor)[axis] * groups
        block = lane.block or max(size // lane.total, 1)
        if size != lane.total * block:
            raise Stop(
                label(node), f"coupled tensors disagree on the channel count: {size} and {lane.total * block}"
            )
        self.slots[Slot(node, index, axis, side, lane.start, self.width, block, groups, fill)] = None
        return block

    def balance(self, node: ir.Node, lane: Lane, parts: int) -> None:
        """The channels are as many equal parts, of which each must lose or gain as many."""
        if (lane.start, lane.total, lane.block) != (0, self.width, 1):
            raise Stop(label(node), f"{parts} convolution groups of channels that come from several tensors")
        self.parts = lcm(self.parts, parts)


def size_of(value: ir.Value, axis: int = 1) -> int | None:
    """How long an axis is, as far as shapes or weights tell.

    Where nothing stands at the value itself, axis 1 is followed upwards, however deep: without recursion.
    """
    told = _told(value, axis)
    if told is not None or axis != 1:
        return told
    known: dict[ir.Value, int | None] = {}
    stack = [value]
    while stack:
        top = stack[-1]
        open_ones = [] if top in known else _undecided(top, known)
        if open_ones:
            stack.append(open_ones[0])
        else:
            known.setdefault(top, _made_by(top, known))
            stack.pop()
    return known[value]


def _told(value: ir.Value, axis: int = 1) -> int | None:
    """The length of an axis, as a constant, a recorded shape or the weight of what makes it tells."""
    tensor = constant(value)
    if tensor is not None:
        dims = dims_of(tensor)
        return dims[axis] if axis < len(dims) else None
    if value.shape is not None and axis < len(value.shape):
        dim = value.shape.dims[axis]
        if isinstance(dim, int):
            return dim
    producer = value.producer()
    if axis != 1 or producer is None or not is_op(producer, *_WEIGHTED):
        return None
    weight = constant(producer.inputs[1]) if len(producer.inputs) > 1 else None
    return None if weight is None else _outputs(producer, dims_of(weight))


def _asked(value: ir.Value) -> list[ir.Value]:
    """The inputs of what makes a value that decide how many channels it has."""
    node = value.producer()
    if constant(value) is not None or node is None or is_op(node, *_WEIGHTED):
        return []
    present = [v for v in node.inputs if v is not None]
    if is_op(node, "Concat"):
        return present
    return [v for v in present if constant(v) is None] if is_op(node, "Split", *KEEPING) else []


def _undecided(value: ir.Value, known: dict[ir.Value, int | None]) -> list[ir.Value]:
    """What must be known before the value: nothing where one channel count above 1 decides all."""
    if _told(value) is not None:
        return []
    asked = _asked(value)
    if is_op(value.producer(), *KEEPING) and any((known.get(v) or _told(v) or 0) > 1 for v in asked):
        return []
    return [v for v in asked if v not in known]


def _made_by(value: ir.Value, known: dict[ir.Value, int | None]) -> int | None:
    told, node, asked = _told(value), value.producer(), _asked(value)
    if told is not None or node is None or not asked:
        return told
    sizes = [_told(v) if known.get(v) is None else known[v] for v in asked]
    found = [size for size in sizes if size is not None]
    if is_op(node, "Concat"):
        return sum(found) if attr_int(node, "axis", 1) == 1 and len(found) == len(sizes) else None
    if is_op(node, "Split"):
        if sizes[0] is None or attr_int(node, "axis", 0) != 1:
            return None
        parts = split_sizes(node, sizes[0])
        return None if parts is None else parts[next(n for n, v in enumerate(node.outputs) if v is value)]
    return max(found, default=None) if value is node.outputs[0] else None


def _outputs(node: ir.Node, dims: tuple[int, ...]) -> int:
    if is_op(node, "ConvTranspose"):
        return dims[1] * attr_int(node, "group", 1)
    if is_op(node, "Gemm"):
        return dims[0 if attr_int(node, "transB", 0) else 1]
    return dims[0]


def rank_of(value: ir.Value) -> int | None:
    """How many axes a tensor has, as far as shapes or weights tell."""
    at: ir.Value | None = value
    while at is not None:
        tensor, node = constant(at), at.producer()
        if tensor is not None:
            return len(dims_of(tensor))
        if at.shape is not None:
            return len(at.shape)
        if node is None:
            return None
        weight = constant(node.inputs[1]) if len(node.inputs) > 1 else None
        if is_op(node, "Conv", "ConvTranspose") and weight is not None:
            return len(dims_of(weight))
        if is_op(node, "Gemm", "Flatten"):
            return 2
        at = node.inputs[0] if node.inputs and is_op(node, *KEEPING, "Concat") else None
    return None


# Operators whose output is shaped like their largest input, as far as channels go.
POINTWISE = (
    "Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Elu", "Selu", "Celu",
    "Softplus", "Softsign", "Mish", "Gelu", "Erf", "Abs", "Neg", "Sqrt", "Exp", "Identity", "Dropout", "Cast",
    "ThresholdedRelu", "Swish",
)  # fmt: skip
POOLS = ("MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool")
BINARY = ("Add", "Sub", "Mul", "Div", "Sum", "Max", "Min", "Mean")
KEEPING = (*POINTWISE, *POOLS, *BINARY, "PRelu", "InstanceNormalization", "Resize", "Upsample", "Pad")
