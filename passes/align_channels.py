"""Conv with C channels  -->  a multiple of the parallelism factor: padded (EXACT) or pruned (LOSSY).

A MAC array runs whole tiles: channels up to the next multiple can be free, and on some
accelerators (Ethos-U55 with 24 input channels) the padded shape is even faster; the channels
beyond the last whole tile can cost a tile of their own. Up, the new channels are zero; down, the
weakest go, as in `prune_channels`. The whole model evened to one multiple is one value of the
choice about all groups at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import onnx_ir as ir

from hwopt.channels.groups import Blocked
from hwopt.choice import Pass, Risk, Skip, Stage, Value
from hwopt.pruning import Resizing, Resizings, new_widths, pad_to, prune_to, resize_many, why_not
from hwopt.target import Target
from hwopt.widths import (
    LEAST_ALIGNED,
    NamedGroup,
    named_groups,
    next_lower,
    steps,
    whole_model_value,
    width_value,
)

WIDEST = 3 / 2  # times as many channels at most


class AlignChannels(Pass):
    """One value per multiple that the target lists and the width does not have, and per direction."""

    name = "align_channels"
    stage = Stage.ALIGN
    risk = Risk.LOSSY
    summary = "a channel group --> padded or pruned to a multiple of the parallelism factor"

    def values(self, model: ir.Model, target: Target) -> Iterator[Value | Skip]:
        groups: list[NamedGroup] = []
        for found in named_groups(model):
            if isinstance(found, Blocked):
                yield Skip(self.name, found.node, found.reason)
                continue
            groups.append(found)
            yield from self._single(found, target.channel_multiples)
        yield from self._evened(groups, target.channel_multiples)

    def _single(self, found: NamedGroup, multiples: Sequence[int]) -> Iterator[Value]:
        own, old = steps(found.group, multiples), found.group.width
        for width in padded_widths(old, own):
            yield width_value(self, found, width, partial(pad_to, ref=found.ref, width=width, old=old))
        for width in [] if why_not(found) else next_lower(old, own, LEAST_ALIGNED):
            yield width_value(self, found, width, partial(prune_to, ref=found.ref, width=width, old=old))

    def _evened(self, groups: Sequence[NamedGroup], multiples: Sequence[int]) -> Iterator[Value]:
        """Every group at once: all up to a multiple, or each to the nearest one."""
        seen: set[tuple[Resizing, ...]] = set()
        for multiple in multiples:
            for name, plan in (
                (f"up{multiple}", tuple(_up(groups, multiple))),
                (f"even{multiple}", tuple(_nearest(groups, multiple))),
            ):
                if len(plan) > 1 and plan not in seen:
                    seen.add(plan)
                    lossy = any(step.new < step.old for step in plan)
                    risk = Risk.LOSSY if lossy else Risk.EXACT
                    refs = {step.ref for step in plan}
                    places = [p for found in groups if found.ref in refs for p in found.places]
                    yield whole_model_value(self, name, risk, places,
                                            partial(resize_many, plan=Resizings(plan)),
                                            {"multiple": multiple, "groups": len(plan)},
                                            widths=new_widths(plan))  # fmt: skip


def padded_widths(width: int, multiples: Sequence[int]) -> list[int]:
    """Distinct larger widths at the target's multiples; at most half as much again."""
    padded = {-(-width // multiple) * multiple for multiple in multiples}
    return sorted(p for p in padded if width < p <= width * WIDEST)


def _up(groups: Sequence[NamedGroup], multiple: int) -> Iterator[Resizing]:
    for found in groups:
        for width in padded_widths(found.group.width, steps(found.group, [multiple])):
            yield Resizing(found.ref, found.group.width, width)


def _nearest(groups: Sequence[NamedGroup], multiple: int) -> Iterator[Resizing]:
    """Down where that is nearer and the readers can be refitted, else up."""
    for found in groups:
        width, own = found.group.width, steps(found.group, [multiple])
        lower = [] if why_not(found) else next_lower(width, own, LEAST_ALIGNED)
        reachable = sorted([*lower, *padded_widths(width, own)], key=lambda w: (abs(w - width), w))
        if reachable:
            yield Resizing(found.ref, width, reachable[0])


PASSES: tuple[Pass, ...] = (AlignChannels(),)
