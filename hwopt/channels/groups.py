"""Coupled channel groups: which weights must change together when a channel goes or comes.

Starting at one tensor, a group is flooded through everything that keeps channels apart
(activations, pooling, depthwise convolutions, residual additions, gates) up to the operators that
mix them (convolutions, Gemm). A Concat lays several groups side by side, a Split takes them apart:
each is resized by itself, and then covers a part of an axis only. Grouped convolutions want as
many channels in every group. The idea of handling coupled layers as one group is from
Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023, section 3.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from hwopt.channels.flood import OPEN, SEGMENTS, Cut, Flood, Stop, rank_of, size_of
from hwopt.channels.rules import RULES
from hwopt.channels.slots import PADDING, Count, Lane, Slot, select
from hwopt.edit import PIECE, set_made
from hwopt.nodes import attr_int, constant, dims_of, is_op
from hwopt.provenance import note_channels
from hwopt.repair.marks import Origin, mark_origin, origin_of

__all__ = [
    "PADDING", "Blocked", "ChannelGroup", "Slot", "channel_group", "channel_groups", "groups_of",
    "note_segments", "noted_names", "open_boundary", "padded_selection", "resize", "select",
    "whole",
]  # fmt: skip


@dataclass(frozen=True)
class ChannelGroup:
    """Everything that is resized together.

    width: channels. lanes: where they stand in tensors. parts: the number of equal parts of which
    each keeps, loses and gains as many channels (the groups of convolutions); 1: no such ties.
    """

    width: int
    slots: tuple[Slot, ...]
    lanes: tuple[Lane, ...]
    counts: tuple[Count, ...]
    nodes: tuple[ir.Node, ...]
    parts: int = 1

    @property
    def graph(self) -> ir.Graph | None:
        """What its tensors are in."""
        graph = self.lanes[0].value.graph if self.lanes else None
        return graph if isinstance(graph, ir.Graph) else None

    @property
    def values(self) -> tuple[ir.Value, ...]:
        """The tensors that carry the channels."""
        return tuple({id(lane.value): lane.value for lane in self.lanes}.values())

    def slots_on(self, side: str) -> tuple[Slot, ...]:
        """The weight slots of one side; biases are left out."""
        return tuple(slot for slot in self.slots if slot.side == side and slot.input == 1)


@dataclass(frozen=True)
class Blocked:
    """Why a group's channels cannot be resized. group: as far as it was understood."""

    node: str
    reason: str
    group: ChannelGroup


def open_boundary(value: ir.Value) -> None:
    """Declares a graph input or output of a cut-out region as free to change its channels."""
    value.meta[OPEN] = True
    if value.graph is not None:
        value.graph.meta[PIECE] = True


def hand_on_boundary(value: ir.Value, successor: ir.Value) -> None:
    """What is known of a region's output holds for what stands in its place, too."""
    successor.meta.update({key: value.meta[key] for key in (OPEN, SEGMENTS) if key in value.meta})


def channel_group(value: ir.Value) -> ChannelGroup | Blocked:
    """The one group of channels that a tensor's axis 1 belongs to, or why there is none."""
    found = channel_groups(value)
    if len(found) == 1:
        return found[0]
    first = found[0] if isinstance(found[0], ChannelGroup) else found[0].group
    return Blocked(str(value.name), f"its channels belong to {len(found)} groups", first)


def channel_groups(value: ir.Value) -> list[ChannelGroup | Blocked]:
    """The groups that a tensor's axis 1 is made of, in the order of their channels."""
    total = size_of(value)
    if total is None:
        nothing = ChannelGroup(0, (), (), (), ())
        return [Blocked(str(value.name), "nothing tells how many channels it has", nothing)]
    found: list[ChannelGroup | Blocked] = []
    todo = [(0, total)]
    while todo:
        start, stop = todo.pop(0)
        try:
            flood = Flood(RULES, stop - start).run(Lane(value, 1, rank_of(value), start, total))
        except Cut as cut:
            todo[:0] = [(start, start + cut.at), (start + cut.at, stop)]
        else:
            found.append(_finished(flood))
    return found


def _finished(flood: Flood) -> ChannelGroup | Blocked:
    group = ChannelGroup(
        flood.width, tuple(flood.slots), tuple(flood.lanes), tuple(flood.counts), tuple(flood.nodes),
        flood.parts,
    )  # fmt: skip
    stop = flood.stop
    if stop is None and flood.width % flood.parts:
        name = str(flood.lanes[0].value.name)
        stop = Stop(name, f"{flood.width} channels are not {flood.parts} equal parts")
    return group if stop is None else Blocked(stop.node, stop.reason, group)


def groups_of(model: ir.Model) -> list[ChannelGroup | Blocked]:
    """Every group of the main graph that a convolution or a matrix makes or reads, once each."""
    missing: dict[int, int] = {}  # channels of a tensor that no group found so far has
    found: list[ChannelGroup | Blocked] = []
    for value in _starts(model):
        if missing.get(id(value)) == 0 or (id(value) not in missing and size_of(value) is None):
            continue
        for item in channel_groups(value):
            if id(value) in missing and _among(found, value, whole(item)):
                continue
            found.append(item)
            for lane in whole(item).lanes:
                left = missing.get(id(lane.value), lane.total)
                missing[id(lane.value)] = left - whole(item).width
    return found


def whole(item: ChannelGroup | Blocked) -> ChannelGroup:
    """The group, whether it can be resized or not."""
    return item.group if isinstance(item, Blocked) else item


def _among(found: Sequence[ChannelGroup | Blocked], value: ir.Value, group: ChannelGroup) -> bool:
    """Whether a group that was started at a tensor is known from another start."""
    starts = {lane.start for lane in group.lanes if lane.value is value}
    return any(lane.value is value and lane.start in starts for item in found for lane in whole(item).lanes)


def _starts(model: ir.Model) -> Iterator[ir.Value]:
    """What mixing operators make, then what they read (a cut-out piece may lack the makers)."""
    mixing = [node for node in model.graph if _mixes(node)]
    for node in mixing:
        shape = dims_of_weight(node)
        if not (is_op(node, "Conv", "ConvTranspose") and attr_int(node, "group", 1) > 1 and shape[1] == 1):
            yield node.outputs[0]
    for node in mixing:
        if node.inputs[0] is not None and constant(node.inputs[0]) is None:
            yield node.inputs[0]
    yield from (value for value in model.graph.inputs if value.meta.get(OPEN))


def _mixes(node: ir.Node) -> bool:
    return is_op(node, "Conv", "ConvTranspose", "Gemm", "MatMul") and len(dims_of_weight(node)) > 1


def dims_of_weight(node: ir.Node) -> tuple[int, ...]:
    """The shape of a node's constant second input; () where it has none."""
    tensor = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return () if tensor is None else dims_of(tensor)


def note_segments(groups: Sequence[ChannelGroup | Blocked], names: Sequence[str]) -> None:
    """Writes on every tensor whose channels stand there, in order: cut-out regions show too little."""
    pieces: dict[int, list[tuple[Lane, str, int]]] = defaultdict(list)
    for item, name in zip(groups, names, strict=True):
        group = whole(item)
        for lane in group.lanes:
            pieces[id(lane.value)].append((lane, name, group.width))
    for parts in pieces.values():
        parts.sort(key=lambda part: part[0].start)
        parts[0][0].value.meta[SEGMENTS] = tuple((name, width) for _, name, width in parts)


def noted_names(group: ChannelGroup) -> set[str]:
    """The names that `note_segments` wrote where the group's channels are."""
    found = set()
    for lane in group.lanes:
        begin = 0
        for name, size in lane.value.meta.get(SEGMENTS, ()):
            if begin == lane.start:
                found.add(name)
            begin += size
    return found


def padded_selection(group: ChannelGroup, width: int) -> list[int]:
    """All channels of a group and zeros up to a width, as many in each of its parts."""
    old, new = group.width // group.parts, width // group.parts
    chosen: list[int] = []
    for part in range(group.parts):
        chosen += [*range(part * old, (part + 1) * old), *[PADDING] * (new - old)]
    return chosen


def resize(group: ChannelGroup, selection: Sequence[int]) -> None:
    """Rebuilds every constant of the group from a selection of its channels, in place.

    selection: for each new channel the old one, or PADDING for a channel that is zero in
    every weight and bias. Reordering and dropping are possible; Origin marks follow, save in a cut-out
    piece, which nobody repairs or compares. Raises ValueError where the parts of the group would not
    stay equal.
    """
    _check_balance(group, selection)
    piece = group.graph is not None and PIECE in group.graph.meta
    for count in group.counts:
        count.add(len(selection) - group.width)
    for slot in sorted(group.slots, key=lambda slot: -slot.start):
        dims = _retake(slot, selection)
        if not piece and slot.input == 1 and (slot.side == "out" or origin_of(slot.node) is not None):
            _select_origin(slot, dims[slot.axis], selection)
    if not piece:
        _note_lanes(group, selection)
    _resize_lanes(group, len(selection))


def _retake(slot: Slot, selection: Sequence[int]) -> tuple[int, ...]:
    """Selects the channels of one constant: its shape before."""
    tensor = constant(slot.node.inputs[slot.input])
    assert tensor is not None
    dims = dims_of(tensor)
    set_made(
        slot.node, slot.input, tensor.dtype, slot.dims_after(dims, len(selection)),
        lambda: slot.taken(np.asarray(tensor.numpy()), selection),
    )  # fmt: skip
    return dims


def _check_balance(group: ChannelGroup, selection: Sequence[int]) -> None:
    if group.parts == 1:
        return
    if len(selection) % group.parts:
        raise ValueError(f"{len(selection)} channels are not {group.parts} equal parts")
    size = group.width // group.parts
    for part, chosen in enumerate(np.split(np.asarray(selection), group.parts)):
        if any(channel != PADDING and channel // size != part for channel in chosen):
            raise ValueError(f"part {part} of {group.parts} would hold channels of another part")


def _note_lanes(group: ChannelGroup, selection: Sequence[int]) -> None:
    """Says on every tensor of the group which of its entries are left, for whoever compares it."""
    for lane in sorted(group.lanes, key=lambda lane: -lane.start):
        block = lane.block or _block(group, lane)
        if block is not None:
            part = slice(lane.start * block, (lane.start + group.width) * block)
            own = [PADDING if c == PADDING else c * block + b for c in selection for b in range(block)]
            note_channels(lane.value, lane.axis, lane.total * block, part, own)


def _block(group: ChannelGroup, lane: Lane) -> int | None:
    """Entries of the axis per channel, from a weight that reads the tensor, else its recorded shape."""
    for slot in group.slots_on("in"):
        if slot.node.inputs[0] is lane.value:
            return slot.block
    shape = lane.value.shape
    size = None if shape is None or lane.axis >= len(shape) else shape[lane.axis]
    return max(size // lane.total, 1) if isinstance(size, int) else None


def _resize_lanes(group: ChannelGroup, width: int) -> None:
    """Corrects the recorded shapes, so that no stale shape is written, and the notes on segments."""
    for lane in sorted(group.lanes, key=lambda lane: -lane.start):
        value = lane.value
        if value.shape is not None and lane.axis < len(value.shape):
            dims = list(value.shape.dims)
            size = dims[lane.axis]
            if isinstance(size, int):
                block = lane.block or max(size // lane.total, 1)
                dims[lane.axis] = size + (width - group.width) * block
                value.shape = ir.Shape(dims)
        if SEGMENTS in value.meta:
            parts = list(value.meta[SEGMENTS])
            starts = [sum(size for _, size in parts[:number]) for number in range(len(parts))]
            if lane.start in starts:
                at = starts.index(lane.start)
                parts[at] = (parts[at][0], width)
            value.meta[SEGMENTS] = tuple(parts)


def _select_origin(slot: Slot, size: int, selection: Sequence[int]) -> None:
    """Every producer remembers which channels of its own first output are left."""
    if slot.side == "in":
        return
    origin = origin_of(slot.node) or Origin(str(slot.node.outputs[0].name))
    old = origin.channels
    kept = slot.indices(size, selection)
    now = [i if i == PADDING or old is None else old[i] for i in kept]
    mark_origin(slot.node, Origin(origin.value, tuple(now)))
