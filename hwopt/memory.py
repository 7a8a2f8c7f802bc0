"""Memory on the target: when each activation lives, where it lies in the arena, what weights weigh.

Liveness follows the graph's own order of nodes. What is fused into a group never
materialises, views share the memory of their input, and nothing is computed in place.
The arena is laid out greedily by size with best fit, as in Pisarchyk & Lee, "Efficient Memory
Management for Deep Neural Net Inference" (2020), section 5.2; TFLite's planner does the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from hwopt.describe import Shapes
from hwopt.partition import Partition, Subgraph
from hwopt.shapes import TensorInfo
from hwopt.signature import VIEW, Signature, biases
from hwopt.target import Target

_ALIGNMENT = 16
Offsets = npt.NDArray[np.int64]
_BIAS_BYTES = {"int8": 4, "fp16": 2, "fp32": 4}


@dataclass(frozen=True)
class Interval:
    """A buffer of so many bytes that must exist from step `first` to step `last`, both included."""

    name: str
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Placement:
    """Where a buffer lies in the arena while it lives."""

    offset: int
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Step:
    """One subgraph of the schedule: bytes alive while it runs.

    tensors: those that are alive then, largest first; () where it is not the peak.
    """

    subgraph: str
    live_bytes: int
    tensors: tuple[str, ...]


@dataclass(frozen=True)
class MemoryPlan:
    """The arena of activations.

    peak_bytes: size of the arena with its layout. lower_bound_bytes: the most bytes alive at
    one step; no layout of this schedule can do with less. placements: by tensor name.
    unknown: tensors without a known size, which are in none of these figures.
    """

    peak_bytes: int
    lower_bound_bytes: int
    steps: tuple[Step, ...]
    placements: Mapping[str, Placement]
    unknown: tuple[str, ...]

    @property
    def peak_step(self) -> Step | None:
        """The first step at which most bytes are alive."""
        return max(self.steps, key=lambda step: step.live_bytes, default=None)


def plan_memory(model: ir.Model, shapes: Shapes, partition: Partition, target: Target) -> MemoryPlan:
    """Lays out every activation of the model in one arena, at the target's precision."""
    intervals, unknown = live_intervals(model, shapes, partition, target)
    placements = place(intervals)
    steps = _steps(partition.subgraphs, intervals)
    return MemoryPlan(
        peak_bytes=max((p.offset + p.size for p in placements.values()), default=0),
        lower_bound_bytes=max((step.live_bytes for step in steps), default=0),
        steps=steps,
        placements=placements,
        unknown=unknown,
    )


def weight_bytes(signature: Signature, target: Target) -> int:
    """Bytes of a subgraph's constants on the target: encoded where its weight stream is compressed."""
    if signature.weight is None:
        return 0
    elements = signature.weight.elements * target.element_bytes
    weights = signature.weight.encoded_bytes if target.weights_compressed else elements
    return weights + biases(signature) * _BIAS_BYTES[target.precision]


def tensor_bytes(info: TensorInfo, target: Target) -> int:
    """Bytes of an activation: floats at the target's precision, everything else as it is."""
    floating = info.dtype.is_floating_point()
    return info.elements * (target.element_bytes if floating else max(int(info.dtype.itemsize), 1))


def live_intervals(
    model: ir.Model, shapes: Shapes, partition: Partition, target: Target
) -> tuple[list[Interval], tuple[str, ...]]:
    """When each tensor is alive, counted in subgraphs, and the names of those of unknown size.

    Inputs of the graph are alive from the first step, its outputs until the last.
    """
    owner = view_owners(partition.subgraphs)
    spans: dict[ir.Value, list[int]] = {}
    final = max(len(partition.subgraphs) - 1, 0)
    for value in model.graph.inputs:
        if value.uses() and not value.is_initializer():
            spans[value] = [0, 0]
    for step, subgraph in enumerate(partition.subgraphs):
        outputs = [value for value in subgraph.outputs if value.name]  # an omitted output has none
        for value in outputs:
            spans.setdefault(owner.get(value, value), [step, step])
        for value in (*subgraph.inputs, *outputs):
            spans.setdefault(owner.get(value, value), [0, 0])[1] = step
    for value in model.graph.outputs:
        if owner.get(value, value) in spans:
            spans[owner.get(value, value)][1] = final
    return _sized(spans, shapes, target)


def place(intervals: Sequence[Interval]) -> dict[str, Placement]:
    """Offsets for buffers such that no two overlap in time and in space.

    Largest first, then in the order given; each goes into the smallest gap that holds it among the buffers
    that live at the same time, else behind the last of them. Names decide nothing.
    """
    ordered = sorted(intervals, key=lambda b: (-b.size, b.first))
    first, last, start, stop = np.zeros((4, len(ordered)), np.int64)
    for number, buffer in enumerate(ordered):
        while_it_lives = (first[:number] <= buffer.last) & (last[:number] >= buffer.first)
        busy = np.flatnonzero(while_it_lives)
        offset = _best_gap(start[busy], stop[busy], buffer.size)
        first[number], last[number] = buffer.first, buffer.last
        start[number], stop[number] = offset, offset + _aligned(buffer.size)
    return {
        b.name: Placement(offset, b.size, b.first, b.last)
        for b, offset in zip(ordered, start.tolist(), strict=True)
    }


def _best_gap(start: Offsets, stop: Offsets, size: int) -> int:
    """Where the smallest gap that holds so many bytes begins, else where the last busy byte ends."""
    if not len(start):
        return 0
    order = np.lexsort((stop, start))
    ends = np.maximum.accumulate(stop[order])
    begins = np.concatenate(([0], ends[:-1]))
    gaps = start[order] - begins
    fits = np.flatnonzero(gaps >= size)
    return int(begins[fits[np.argmin(gaps[fits])]] if len(fits) else ends[-1])


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def view_owners(subgraphs: Sequence[Subgraph]) -> dict[ir.Value, ir.Value]:
    """For the output of each view, the value whose memory it shares."""
    owner: dict[ir.Value, ir.Value] = {}
    for subgraph in subgraphs:
        if subgraph.kind == VIEW and subgraph.inputs:
            source = owner.get(subgraph.inputs[0], subgraph.inputs[0])
            owner.update(dict.fromkeys(subgraph.outputs, source))
    return owner


def _sized(
    spans: Mapping[ir.Value, Sequence[int]], shapes: Shapes, target: Target
) -> tuple[list[Interval], tuple[str, ...]]:
    intervals, unknown = [], []
    for value, (first, last) in spans.items():
        name = value.name or ""
        info = shapes.get(name)
        if info is None:
            unknown.append(name)
            continue
        intervals.append(Interval(name, tensor_bytes(info, target), first, last))
    return intervals, tuple(unknown)


def _steps(subgraphs: Sequence[Subgraph], intervals: Sequence[Interval]) -> tuple[Step, ...]:
    change = [0] * (len(subgraphs) + 1)
    for interval in intervals:
        if interval.first < len(subgraphs):
            change[interval.first] += interval.size
            change[min(interval.last + 1, len(subgraphs))] -= interval.size
    alive = list(accumulate(change[:-1]))
    peak = max(range(len(alive)), key=alive.__getitem__, default=None)
    there = [i for i in intervals if peak is not None and i.first <= peak <= i.last]
    names = tuple(i.name for i in sorted(there, key=lambda i: (-i.size, i.name)))
    return tuple(
        Step(subgraph.label, held, names if number == peak else ())
        for number, (subgraph, held) in enumerate(zip(subgraphs, alive, strict=True))
    )
