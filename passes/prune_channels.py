"""A channel group with C channels  -->  the C' < C that its readers need most (LOSSY).

Hidden groups, and residual streams that several blocks share (one choice for all of them).
Channels are ranked by what calibration data say of them (`hwopt.repair.saliency`), else by the
product of the norms of all their weights (magnitude; Li et al., "Pruning Filters for Efficient
ConvNets", ICLR 2017, section 3). The operators that read them are refitted.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import onnx_ir as ir

from hwopt.channels.groups import Blocked, ChannelGroup
from hwopt.choice import Pass, Risk, Skip, Stage, Value
from hwopt.nodes import constant, is_op, label
from hwopt.pruning import prune_to, why_not
from hwopt.target import Target
from hwopt.widths import LEAST_ALIGNED, named_groups, next_lower, rounded, steps, width_value

__all__ = ["PruneChannels", "prune_to", "pruned_widths", "shared"]

HIDDEN_RATIOS = (7 / 8, 5 / 6, 3 / 4, 2 / 3, 1 / 2)
SHARED_RATIOS = (7 / 8, 3 / 4)
NARROWEST = 8  # fewer channels than this are not worth a decision


class PruneChannels(Pass):
    """A few widths below the present one, each at a multiple that the target lists."""

    name = "prune_channels"
    stage = Stage.PRUNE
    risk = Risk.LOSSY
    summary = "a channel group --> its strongest channels"

    def values(self, model: ir.Model, target: Target) -> Iterator[Value | Skip]:
        for found in named_groups(model):
            if isinstance(found, Blocked):
                yield Skip(self.name, found.node, found.reason)
                continue
            widths = pruned_widths(found.group, target.channel_multiples)
            reason = why_not(found) or ("" if widths else "it is too narrow to lose a multiple of the target")
            if reason:
                yield Skip(self.name, label(found.group.slots_on("out")[0].node), reason)
                continue
            for width in widths:
                rewrite = partial(prune_to, ref=found.ref, width=width, old=found.group.width)
                yield width_value(self, found, width, rewrite)


def shared(group: ChannelGroup) -> bool:
    """Whether several blocks share the channels: two computed tensors are added within the group."""
    return any(
        is_op(node, "Add", "Sub", "Sum") and all(constant(value) is None for value in node.inputs)
        for node in group.nodes
    )


def pruned_widths(group: ChannelGroup, multiples: tuple[int, ...]) -> list[int]:
    """The curated ratios of a width at the target's multiples; those of align_channels are left out."""
    ratios = SHARED_RATIOS if shared(group) else HIDDEN_RATIOS
    own = steps(group, multiples)
    found = {rounded(group.width, ratio, own) for ratio in ratios}
    taken = next_lower(group.width, own, LEAST_ALIGNED)
    return sorted(w for w in found if NARROWEST <= w < group.width and w not in taken)


PASSES: tuple[Pass, ...] = (PruneChannels(),)
