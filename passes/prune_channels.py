"""A hidden channel group with C channels  -->  the C' < C strongest of them (LOSSY).

Hidden means: no residual addition couples the group to another block. Channels are ranked by
their saliency to the operators that read them, where calibration data gave it, else by the
product of the norms of all their weights (magnitude; Li et al., "Pruning Filters for Efficient
ConvNets", ICLR 2017, section 3). The operators that read them are refitted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import onnx_ir as ir

from hwopt.channels import Blocked, ChannelGroup, Slot
from hwopt.choice import Pass, Risk, Skip, Stage, Value
from hwopt.nodes import constant, constant_array, is_op
from hwopt.repair.marks import Origin, mark_origin, origin_of, request_fit, saliency_of
from hwopt.target import Target
from hwopt.widths import GroupRef, named_groups, resize_all, resolve, width_value

RATIOS = (5 / 6, 2 / 3, 1 / 2)
NARROWEST = 16  # fewer hidden channels than this are not worth a decision


class PruneChannels(Pass):
    """A few widths below the present one, each at a multiple that the target lists."""

    name = "prune_channels"
    stage = Stage.PRUNE
    risk = Risk.LOSSY
    summary = "a hidden channel group --> its strongest channels"

    def values(self, model: ir.Model, target: Target) -> Iterator[Value | Skip]:
        for found in named_groups(model):
            if isinstance(found, Blocked):
                yield Skip(self.name, found.node, found.reason)
            elif not residual(found.group) and found.group.slots_on("in"):
                for width in pruned_widths(found.group.width, min(target.channel_multiples)):
                    yield width_value(self, found, width, partial(prune_to, ref=found.ref, width=width))


def residual(group: ChannelGroup) -> bool:
    """Whether two computed tensors are added within the group."""
    return any(
        is_op(node, "Add", "Sub") and all(constant(value) is None for value in node.inputs)
        for node in group.nodes
    )


def pruned_widths(width: int, multiple: int) -> list[int]:
    """The curated ratios of a width, rounded to the multiple, without repeats."""
    rounded = {max(multiple, round(width * ratio / multiple) * multiple) for ratio in RATIOS}
    return sorted(w for w in rounded if NARROWEST <= w < width)


def prune_to(model: ir.Model, ref: GroupRef, width: int) -> None:
    """Keeps the strongest channels, in their old order, and asks for their readers to be refitted."""
    groups = resolve(model, ref)
    readers = _last_readers(groups)
    strength = salience(readers, groups[0].width)
    if strength is None:
        strength = np.prod([channel_strength(group) for group in groups], axis=0)
    strongest = np.argsort(-strength, kind="stable")[:width]
    resize_all(groups, sorted(int(i) for i in strongest))
    for node in readers:
        mark_origin(node, origin_of(node) or Origin(str(node.outputs[0].name)))
        request_fit(node)


def salience(readers: Sequence[ir.Node], width: int) -> np.ndarray | None:
    """[width]: how much the readers need each channel, where calibration data told it of all of them."""
    known = [saliency_of(node) for node in readers]
    usable = [order for order in known if order is not None and len(order) == width]
    return None if not usable or len(usable) < len(known) else np.asarray(np.sum(usable, axis=0))


def channel_strength(group: ChannelGroup) -> np.ndarray:
    """[width]: product over the group's weights of each channel's L2 norm."""
    norms = [_norms(slot) for slot in group.slots if slot.input == 1]
    return np.asarray(np.prod(norms, axis=0), dtype=np.float64)


def _norms(slot: Slot) -> np.ndarray:
    array = constant_array(slot.node.inputs[slot.input])
    assert array is not None
    squares = np.square(array.astype(np.float64))
    others = tuple(axis for axis in range(array.ndim) if axis != slot.axis)
    norms: np.ndarray = np.sqrt(squares.sum(axis=others))
    return norms


def _last_readers(groups: Sequence[ChannelGroup]) -> list[ir.Node]:
    """What mixes the channels, save what passes them on to another part of the same group."""
    producers = [slot.node for group in groups for slot in group.slots_on("out")]
    readers = [slot.node for group in groups for slot in group.slots_on("in")]
    return [node for node in readers if not any(node is producer for producer in producers)]


PASSES: tuple[Pass, ...] = (PruneChannels(),)
