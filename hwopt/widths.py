"""References to channel groups that stay valid while the blocks around them change form.

A group is named by all the convolutions (and Gemms) that produce or mix its channels. A form
rewrite may remove some of them; those that survive still name the group. Where a rewrite
splits one group in two (a depthwise convolution made dense), the survivors name both halves,
and both are resized alike. Where an axis holds several groups (behind a Concat), the place
among them is part of the name.

A group is resized at most once: whoever resizes it says from which width, and one that has
another width already is left to whoever gave it that (`RewriteFailed`). So a value for the whole
model and values for single groups exclude one another wherever they are tried together.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.channels.flood import SEGMENTS
from hwopt.channels.groups import Blocked, ChannelGroup, groups_of, note_segments, noted_names, resize, whole
from hwopt.choice import Kind, Parameter, Pass, Risk, Value
from hwopt.edit import names_standing
from hwopt.errors import RewriteFailed
from hwopt.places import has_place, place_of

WHOLE_MODEL = "width:model"  # the choice about all groups at once
CLOSE = 1 / 48  # a width this near to the wished one (a share of the old) may be a coarser multiple
LEAST_ALIGNED = 2 / 3  # what pruning down to a multiple may leave
_ORDER = "hwopt.channel_order"
_STANDING = "hwopt.groups"  # in graph.meta, within `groups_standing`

Anchor = tuple[str, str, int]


@dataclass(frozen=True)
class GroupRef:
    """anchors: (place, "in" | "out", number of the group on that axis) of every operator that mixes
    or produces the channels."""

    anchors: tuple[Anchor, ...]

    @property
    def choice(self) -> str:
        """The structural id of the group's width choice."""
        text = ";".join(f"{place}.{side}" + (f".{at}" if at else "") for place, side, at in self.anchors)
        return "width:" + hashlib.sha256(text.encode()).hexdigest()[:10]


@dataclass(frozen=True)
class NamedGroup:
    """A channel group of one model with its reference and the places that resizing it touches."""

    ref: GroupRef
    group: ChannelGroup
    places: tuple[str, ...]


def named_groups(model: ir.Model) -> Iterator[NamedGroup | Blocked]:
    """Every channel group that a convolution or Gemm of the main graph produces, once each."""
    groups = groups_of(model)
    anchors = _anchors(groups)
    note_segments(groups, [GroupRef(names).choice for names in anchors])
    for item, names in zip(groups, anchors, strict=True):
        if isinstance(item, Blocked):
            if _produces(item.group):
                yield item
        elif _produces(item):
            places = tuple(sorted(place_of(n) for n in item.nodes if has_place(n)))
            yield NamedGroup(GroupRef(names), item, places)


def _produces(group: ChannelGroup) -> bool:
    return bool(group.slots_on("out"))


def _anchors(groups: Sequence[ChannelGroup | Blocked]) -> list[tuple[Anchor, ...]]:
    """The anchors of every group: the number of a group is its rank among those on the same axis."""
    every = [whole(item) for item in groups]
    starts: dict[tuple[int, str], set[int]] = defaultdict(set)
    mixing = [[slot for side in ("in", "out") for slot in group.slots_on(side)] for group in every]
    for slot in (slot for slots in mixing for slot in slots):
        starts[id(slot.node), slot.side].add(slot.start)
    return [
        tuple(
            sorted(
                {
                    (place_of(s.node), s.side, sorted(starts[id(s.node), s.side]).index(s.start))
                    for s in slots
                    if has_place(s.node)
                }
            )
        )
        for slots in mixing
    ]


def resolve(model: ir.Model, ref: GroupRef, width: int | None = None) -> list[ChannelGroup]:
    """The group, or the parts it fell into, in a model derived from the one it was found in.

    width: what it must have now. Raises RewriteFailed where nothing of it is left, where it can no
    longer be resized, or where it has another width. Within `groups_standing` it is about to be resized.
    """
    known = _standing(model)
    found = _checked(_parts(groups_of(model), ref) if known is None else known.parts(ref), ref, width)
    if not found:
        raise RewriteFailed(f"nothing is left of channel group {ref.choice}")
    if known is not None:
        known.forget_beside(found)
    return found


@contextmanager
def groups_standing(model: ir.Model) -> Iterator[None]:
    """Within it a model's groups are looked for once, not for each that is resized.

    Nothing may be edited there but the widths of groups that `resolve` gave.
    """
    model.graph.meta[_STANDING] = KnownGroups(model)
    try:
        yield
    finally:
        del model.graph.meta[_STANDING]


def _standing(model: ir.Model) -> KnownGroups | None:
    """A clone has its model's notes, and groups of its own."""
    known = model.graph.meta.get(_STANDING)
    return known if isinstance(known, KnownGroups) and known.graph is model.graph else None


class KnownGroups:
    """The groups of a model, found once, and again where one that was resized had a tensor in common."""

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self.graph = model.graph
        self._find()

    def _find(self) -> None:
        self._groups = groups_of(self._model)
        self._stale = set[int]()
        self._named: dict[object, list[int]] = defaultdict(list)
        self._at: dict[ir.Value, list[int]] = defaultdict(list)
        for number, (item, names) in enumerate(zip(self._groups, _anchors(self._groups), strict=True)):
            for name in (*names, *noted_names(whole(item))):
                self._named[name].append(number)
            for lane in whole(item).lanes:
                self._at[lane.value].append(number)

    def resolve(self, ref: GroupRef, width: int) -> list[ChannelGroup]:
        """The parts of a group as `hwopt.widths.resolve` finds them; [] where the model does not have it."""
        return _checked(self.parts(ref), ref, width)

    def parts(self, ref: GroupRef) -> list[ChannelGroup | Blocked]:
        """The parts of a group, whether they can be resized or not."""
        numbers = self._numbers(ref)
        if not self._stale.isdisjoint(numbers):
            self._find()
            numbers = self._numbers(ref)
        return [self._groups[number] for number in numbers]

    def _numbers(self, ref: GroupRef) -> list[int]:
        return sorted({n for name in (*ref.anchors, ref.choice) for n in self._named.get(name, ())})

    def forget_beside(self, groups: Sequence[ChannelGroup]) -> None:
        """These groups are about to be resized."""
        for group in groups:
            for lane in group.lanes:
                self._stale.update(self._at[lane.value])


def names_within(model: ir.Model) -> Iterator[str]:
    """Places and names by which groups can be found that a model, or a cut-out piece of one, may have."""
    for node in model.graph:
        if has_place(node):
            yield place_of(node)
    for value in (*model.graph.inputs, *(value for node in model.graph for value in node.outputs)):
        yield from (name for name, _ in value.meta.get(SEGMENTS, ()))


def _parts(groups: Sequence[ChannelGroup | Blocked], ref: GroupRef) -> list[ChannelGroup | Blocked]:
    wanted = set(ref.anchors)
    return [
        item
        for item, names in zip(groups, _anchors(groups), strict=True)
        if not wanted.isdisjoint(names) or ref.choice in noted_names(whole(item))
    ]


def _checked(found: Sequence[ChannelGroup | Blocked], ref: GroupRef, width: int | None) -> list[ChannelGroup]:
    groups: list[ChannelGroup] = []
    for item in found:
        if isinstance(item, Blocked):
            raise RewriteFailed(f"channel group {ref.choice} can no longer be resized: {item.reason}")
        if width is not None and item.width != width:
            raise RewriteFailed(f"channel group {ref.choice} has {item.width} channels already, not {width}")
        groups.append(item)
    return groups


def width_value(item: Pass, found: NamedGroup, width: int, rewrite: Callable[[ir.Model], None]) -> Value:
    """The value that gives a group another width; passes that offer widths differ in how they do it."""
    lossy = width < found.group.width
    return Value(
        choice=found.ref.choice,
        kind=Kind.WIDTH,
        name=f"w{width}",
        pass_name=item.name,
        risk=Risk.LOSSY if lossy else Risk.EXACT,
        stage=item.stage,
        places=found.places,
        rewrite=rewrite,
        parameters={"from": found.group.width, "to": width},
        strength=1.0 - width / found.group.width if lossy else None,
        widths={found.ref.choice: (found.group.width, width)},
    )


def resize_all(groups: Sequence[ChannelGroup], selection: Sequence[int]) -> None:
    """Applies one selection to every part of a group, the last on a common axis first: it moves none."""
    with ExitStack() as standing:
        for graph in dict.fromkeys(group.graph for group in groups):
            if graph is not None:
                standing.enter_context(names_standing(graph))
        for group in sorted(groups, key=lambda g: -max((lane.start for lane in g.lanes), default=0)):
            resize(group, selection)


def steps(group: ChannelGroup, multiples: Sequence[int]) -> list[int]:
    """The target's multiples as this group can keep them: whole in each of its equal parts."""
    return sorted({multiple * group.parts // _gcd(multiple, group.parts) for multiple in multiples})


def narrowest(group: ChannelGroup) -> int:
    """The least channels that leave every operator what it is.

    A grouped convolution with one channel in each of its groups is a depthwise one with a multiplier: what it
    reads and what it makes would be one group from then on, which others have a name and a width for.
    """
    return 2 * group.parts if any(slot.groups > 1 for slot in group.slots_on("in")) else 1


def _gcd(one: int, two: int) -> int:
    while two:
        one, two = two, one % two
    return one


def rounded(width: int, ratio: float, multiples: Sequence[int]) -> int:
    """A share of a width at the coarsest multiple that comes close, else at the finest."""
    wished = width * ratio
    for multiple in sorted(multiples, reverse=True):
        near = max(multiple, round(wished / multiple) * multiple)
        if abs(near - wished) <= CLOSE * width:
            return near
    finest = min(multiples)
    return max(finest, round(wished / finest) * finest)


def next_lower(width: int, multiples: Sequence[int], least: float) -> list[int]:
    """For each multiple that the width does not have the next one below, if `least` of it is left."""
    lower = {width // multiple * multiple for multiple in multiples if width % multiple}
    return sorted(w for w in lower if w >= max(least * width, 1))


def mark_order(model: ir.Model, ref: GroupRef, order: Sequence[float]) -> None:
    """Writes on a group's anchors how much each of its channels is needed: more is more."""
    wanted = {place for place, _, _ in ref.anchors}
    for node in model.graph:
        if has_place(node) and place_of(node) in wanted:
            known = dict(node.meta.get(_ORDER, {}))
            known[ref.choice] = tuple(float(o) for o in order)
            node.meta[_ORDER] = known


def order_of(model: ir.Model, ref: GroupRef) -> tuple[float, ...] | None:
    """How much each channel of a group is needed, where calibration data told it."""
    for node in model.graph:
        orders = node.meta.get(_ORDER)
        if orders is not None and ref.choice in orders:
            found: tuple[float, ...] = orders[ref.choice]
            return found
    return None


def whole_model_value(
    item: Pass,
    name: str,
    risk: Risk,
    places: Sequence[str],
    rewrite: Callable[[ir.Model], None],
    parameters: dict[str, Parameter],
    strength: float | None = None,
    *,
    widths: Mapping[str, tuple[int, int]],
) -> Value:
    """A value of the one choice about all channel groups at once."""
    return Value(
        choice=WHOLE_MODEL,
        kind=Kind.MODEL,
        name=name,
        pass_name=item.name,
        risk=risk,
        stage=item.stage,
        places=tuple(sorted(set(places))),
        rewrite=rewrite,
        parameters=parameters,
        strength=strength,
        widths=widths,
    )
