"""References to channel groups that stay valid while the blocks around them change form.

A group is named by all the convolutions (and Gemms) that produce or mix its channels. A form
rewrite may remove some of them; those that survive still name the group. Where a rewrite
splits one group in two (a depthwise convolution made dense), the survivors name both halves,
and both are resized alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.channels import Blocked, ChannelGroup, channel_group, resize
from hwopt.choice import Kind, Pass, Value
from hwopt.errors import RewriteFailed
from hwopt.nodes import is_op
from hwopt.places import has_place, place_of


@dataclass(frozen=True)
class GroupRef:
    """anchors: (place, "in" | "out") of every operator that mixes or produces the channels."""

    anchors: tuple[tuple[str, str], ...]

    @property
    def choice(self) -> str:
        """The structural id of the group's width choice."""
        text = ";".join(f"{place}.{side}" for place, side in self.anchors)
        return "width:" + hashlib.sha256(text.encode()).hexdigest()[:10]


@dataclass(frozen=True)
class NamedGroup:
    """A channel group of one model with its reference and the places that resizing it touches."""

    ref: GroupRef
    group: ChannelGroup
    places: tuple[str, ...]


def reference(group: ChannelGroup) -> GroupRef:
    """The reference of a group, independent of the order in which it was found."""
    anchors = {(place_of(s.node), s.side) for side in ("in", "out") for s in group.slots_on(side)}
    return GroupRef(tuple(sorted(anchors)))


def named_groups(model: ir.Model) -> Iterator[NamedGroup | Blocked]:
    """Every channel group that a convolution or Gemm of the main graph produces, once each."""
    seen: set[str] = set()
    for node in model.graph:
        if not is_op(node, "Conv", "ConvTranspose", "Gemm"):
            continue
        group = channel_group(node.outputs[0])
        if isinstance(group, Blocked):
            yield group
            continue
        ref = reference(group)
        if ref.choice not in seen:
            seen.add(ref.choice)
            yield NamedGroup(ref, group, tuple(sorted(place_of(n) for n in group.nodes if has_place(n))))


def resolve(model: ir.Model, ref: GroupRef) -> list[ChannelGroup]:
    """The group, or the parts it fell into, in a model derived from the one it was found in.

    Raises RewriteFailed where nothing of it is left.
    """
    sides = dict.fromkeys(ref.anchors)
    found: list[ChannelGroup] = []
    for node in model.graph:
        if not has_place(node):
            continue
        for side, value in (("in", node.inputs[0] if node.inputs else None), ("out", node.outputs[0])):
            if value is None or (place_of(node), side) not in sides:
                continue
            group = channel_group(value)
            if isinstance(group, Blocked):
                raise RewriteFailed(f"channel group {ref.choice} can no longer be resized: {group.reason}")
            if not any(value is known for other in found for known in other.values):
                found.append(group)
    if not found:
        raise RewriteFailed(f"nothing is left of channel group {ref.choice}")
    return found


def width_value(item: Pass, found: NamedGroup, width: int, rewrite: Callable[[ir.Model], None]) -> Value:
    """The value that gives a group another width; passes that offer widths differ in how they do it."""
    return Value(
        choice=found.ref.choice,
        kind=Kind.WIDTH,
        name=f"w{width}",
        pass_name=item.name,
        risk=item.risk,
        stage=item.stage,
        places=found.places,
        rewrite=rewrite,
        parameters={"from": found.group.width, "to": width},
        strength=1 - width / found.group.width if width < found.group.width else None,
    )


def resize_all(groups: Sequence[ChannelGroup], selection: Sequence[int]) -> None:
    """Applies one selection to every part of a group."""
    for group in groups:
        resize(group, selection)
