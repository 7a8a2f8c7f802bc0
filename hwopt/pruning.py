"""Which channels of a group go, and how one value resizes many groups at once.

What `prune_channels`, `align_channels` and `depth_multiplier` share: they differ in the widths
that they offer, not in how a group becomes narrower or wider.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from hwopt.channels.groups import ChannelGroup, Slot, padded_selection
from hwopt.nodes import constant_array
from hwopt.repair.linear import as_linear
from hwopt.repair.marks import Origin, mark_origin, origin_of, request_fit
from hwopt.widths import GroupRef, KnownGroups, NamedGroup, names_within, order_of, resize_all, resolve


@dataclass(frozen=True)
class Resizing:
    """One group's way from a width to another."""

    ref: GroupRef
    old: int
    new: int


def new_widths(plan: Sequence[Resizing]) -> dict[str, tuple[int, int]]:
    """The width choice of every group that a plan resizes, with its channels before and after."""
    return {step.ref.choice: (step.old, step.new) for step in plan}


def why_not(found: NamedGroup) -> str:
    """Why a group cannot be pruned and repaired; empty where it can."""
    readers = found.group.slots_on("in")
    if not readers:
        return "nothing that could be refitted reads its channels"
    if not any(as_linear(slot.node) is not None for slot in readers):
        return "none of its readers can be refitted"
    return ""


def prune_to(model: ir.Model, ref: GroupRef, width: int, old: int | None = None) -> None:
    """Keeps the strongest channels, in their old order, and asks for their readers to be refitted.

    old: the width that the group must have. Raises RewriteFailed where it has another.
    """
    _prune(resolve(model, ref, old), width, order_of(model, ref))


def pad_to(model: ir.Model, ref: GroupRef, width: int, old: int | None = None) -> None:
    """Appends zero channels to the group until it has that width."""
    groups = resolve(model, ref, old)
    resize_all(groups, padded_selection(groups[0], width))


class Resizings:
    """The ways of many groups, in the order in which they are gone.

    A cut-out piece has few of them: which, is looked up by what the piece has, not tried one by one.
    """

    def __init__(self, plan: Sequence[Resizing]) -> None:
        self._plan = tuple(plan)
        self._by_name: dict[str, list[int]] = defaultdict(list)
        for number, step in enumerate(self._plan):
            for name in dict.fromkeys((step.ref.choice, *(place for place, _, _ in step.ref.anchors))):
                self._by_name[name].append(number)

    def within(self, model: ir.Model) -> list[Resizing]:
        """Those whose groups, or parts of them, the model may have."""
        found = {number for name in names_within(model) for number in self._by_name.get(name, ())}
        return [self._plan[number] for number in sorted(found)]


def resize_many(model: ir.Model, plan: Resizings) -> None:
    """Resizes all these groups; those that a cut-out piece does not have are left out.

    A piece that has none of them stays as it is: in it the value costs what keeping costs. Raises
    RewriteFailed where a group has another width already.
    """
    wanted = plan.within(model)
    known = KnownGroups(model) if wanted else None
    for step in wanted:
        assert known is not None
        groups = known.resolve(step.ref, step.old)
        if not groups:
            continue
        known.forget_beside(groups)
        if step.new < step.old:
            _prune(groups, step.new, order_of(model, step.ref))
        else:
            resize_all(groups, padded_selection(groups[0], step.new))


def _prune(groups: Sequence[ChannelGroup], width: int, order: Sequence[float] | None) -> None:
    old = groups[0].width
    strength = np.asarray(order) if order is not None and len(order) == old else None
    if strength is None:
        strength = np.prod([channel_strength(group) for group in groups], axis=0)
    resize_all(groups, strongest(strength, width, max(group.parts for group in groups)))
    for node in _last_readers(groups):
        if as_linear(node) is not None:
            mark_origin(node, origin_of(node) or Origin(str(node.outputs[0].name)))
            request_fit(node)


def strongest(strength: npt.NDArray[np.float64], width: int, parts: int = 1) -> list[int]:
    """The strongest channels in their old order, as many of each part."""
    size, chosen = len(strength) // parts, list[int]()
    for part in range(parts):
        best = np.argsort(-strength[part * size : (part + 1) * size], kind="stable")[: width // parts]
        chosen += sorted(part * size + int(channel) for channel in best)
    return chosen


def channel_strength(group: ChannelGroup) -> npt.NDArray[np.float64]:
    """[width]: product over the group's weights of each channel's L2 norm.

    All ones where a cut-out piece has none of its weights.
    """
    strength: npt.NDArray[np.float64] = np.ones(group.width)
    for slot in group.slots:
        if slot.input == 1:
            strength = strength * _norms(slot, group.width)
    return strength


def _norms(slot: Slot, width: int) -> npt.NDArray[np.float64]:
    array = constant_array(slot.node.inputs[slot.input])
    assert array is not None
    squares = np.square(array.astype(np.float64))
    if slot.groups > 1:
        parts = np.stack(np.split(squares, slot.groups))  # [groups, out, in, ...]
        return np.asarray(np.sqrt(parts.sum(axis=(1, *range(3, parts.ndim)))).reshape(-1))
    lane = np.moveaxis(squares, slot.axis, 0).reshape(squares.shape[slot.axis], -1).sum(axis=1)
    begin = slot.start * slot.block
    own = lane[begin : begin + width * slot.block].reshape(width, slot.block)
    return np.asarray(np.sqrt(own.sum(axis=1)))


def _last_readers(groups: Sequence[ChannelGroup]) -> list[ir.Node]:
    """What mixes the channels, save what passes them on to another part of the same group."""
    producers = [slot.node for group in groups for slot in group.slots_on("out")]
    readers = {slot.node: None for group in groups for slot in group.slots_on("in")}
    passing = len(groups) > 1
    return [node for node in readers if not (passing and any(node is p for p in producers))]
