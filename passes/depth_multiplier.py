"""All channels C  -->  one share of them everywhere, at the target's multiples (LOSSY, RETRAIN).

The width multiplier of mobile networks (Howard et al., "MobileNets", 2017, section 3.3; called
depth multiplier in its first code), applied to a trained network: the weakest channels of every
group go, as in `prune_channels`, and what reads them is refitted. Mild shares are LOSSY; beyond
them only training brings the accuracy back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import onnx_ir as ir

from hwopt.channels.groups import Blocked
from hwopt.choice import Pass, Risk, Skip, Stage, Value
from hwopt.pruning import Resizing, Resizings, new_widths, resize_many, why_not
from hwopt.target import Target
from hwopt.widths import NamedGroup, named_groups, narrowest, rounded, steps, whole_model_value

MILD = (0.9, 0.8, 0.75)
HARSH = (0.5, 0.35, 0.25)  # the multipliers that mobile networks are published with


class DepthMultiplier(Pass):
    """One value per ratio of a curated list, for the whole model."""

    name = "depth_multiplier"
    stage = Stage.PRUNE
    risk = Risk.RETRAIN
    summary = "all channel groups --> the same share of their channels"

    def values(self, model: ir.Model, target: Target) -> Iterator[Value | Skip]:
        groups: list[NamedGroup] = []
        for found in named_groups(model):
            reason = found.reason if isinstance(found, Blocked) else why_not(found)
            if isinstance(found, Blocked) or reason:
                node = found.node if isinstance(found, Blocked) else found.places[0]
                yield Skip(self.name, node, reason)
            else:
                groups.append(found)
        seen: set[tuple[Resizing, ...]] = set()
        for ratio in (*MILD, *HARSH):
            plan = tuple(scaled(groups, ratio, target.channel_multiples))
            if plan and plan not in seen:
                seen.add(plan)
                risk = Risk.LOSSY if ratio in MILD else Risk.RETRAIN
                places = [p for found in groups for p in found.places]
                yield whole_model_value(self, f"x{ratio:g}", risk, places,
                                            partial(resize_many, plan=Resizings(plan)),
                                        {"ratio": ratio, "groups": len(plan)}, 1.0 - ratio,
                                        widths=new_widths(plan))  # fmt: skip


def scaled(groups: Sequence[NamedGroup], ratio: float, multiples: Sequence[int]) -> Iterator[Resizing]:
    """Every group that a ratio makes narrower."""
    for found in groups:
        old = found.group.width
        own = steps(found.group, multiples)
        new = max(rounded(old, ratio, own), -(-narrowest(found.group) // min(own)) * min(own))
        if new < old:
            yield Resizing(found.ref, old, new)


PASSES: tuple[Pass, ...] = (DepthMultiplier(),)
