"""Conv with C channels  -->  Conv with C' > C channels, the new ones zero (EXACT).

A MAC array runs whole tiles: channels up to the next multiple can be free, and on some
accelerators (Ethos-U55 with 24 input channels) the padded shape is even faster.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import onnx_ir as ir

from hwopt.channels import PADDING, Blocked
from hwopt.choice import Pass, Risk, Skip, Stage, Value
from hwopt.target import Target
from hwopt.widths import GroupRef, named_groups, resize_all, resolve, width_value


class AlignChannels(Pass):
    """One value per multiple that the target lists and the width does not have."""

    name = "align_channels"
    stage = Stage.ALIGN
    risk = Risk.EXACT
    summary = "a channel group --> zero-padded to a multiple of the parallelism factor"

    def values(self, model: ir.Model, target: Target) -> Iterator[Value | Skip]:
        for found in named_groups(model):
            if isinstance(found, Blocked):
                yield Skip(self.name, found.node, found.reason)
            else:
                for width in padded_widths(found.group.width, target.channel_multiples):
                    yield width_value(self, found, width, partial(pad_to, ref=found.ref, width=width))


def padded_widths(width: int, multiples: tuple[int, ...]) -> list[int]:
    """Distinct larger widths at the target's multiples; at most half as much again."""
    padded = {-(-width // multiple) * multiple for multiple in multiples}
    return sorted(p for p in padded if width < p <= width * 3 // 2)


def pad_to(model: ir.Model, ref: GroupRef, width: int) -> None:
    """Appends zero channels to the group until it has that width."""
    groups = resolve(model, ref)
    old = groups[0].width
    resize_all(groups, [*range(old), *[PADDING] * (width - old)])


PASSES: tuple[Pass, ...] = (AlignChannels(),)
