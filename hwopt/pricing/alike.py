"""Joint values that come to the same in one cell: one of them is written, and prices them all.

A width of the whole model is, in each cell, a width of the few channel groups that reach into it. Where two
joint values append as many channels to these, the cell's groups become the same, whatever happens elsewhere.
Channels that go are another matter: which ones are left can depend on widths farther away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.channels.flood import SEGMENTS
from hwopt.choice import Kind, Value, in_order
from hwopt.describe import target_op

_WIDTHS = (Kind.WIDTH, Kind.MODEL)


@dataclass(frozen=True)
class _Padded:
    """What values of one pass append to the groups that reach into a cell: each one's width behind them."""

    pass_name: str
    widths: frozenset[tuple[str, int]]


def groups_at(region: ir.Model, nodes: Collection[ir.Node], names: Collection[str] = ()) -> frozenset[str]:
    """The channel groups, by the ids of their width choices, whose widths decide what these nodes cost.

    They are those of the tensors that the nodes read or make, and of those with these names. Besides, a price
    depends on the kinds of neighbours. A width can change that of a grouped convolution, which is depthwise
    once it has one channel in each group: beside one, all groups of the region count.
    """
    every = [*region.graph.inputs, *(value for node in region.graph for value in node.outputs)]
    if any(target_op(node) == "GroupedConv" for node in region.graph if node not in nodes):
        values = set(every)
    else:
        values = {v for node in nodes for v in (*node.inputs, *node.outputs) if v is not None}
        values.update(value for value in every if value.name in names)
    return frozenset(name for value in values for name, _ in value.meta.get(SEGMENTS, ()))


def gather_alike(joints: Sequence[Sequence[Value | None]], groups: Collection[str]) -> list[list[int]]:
    """The numbers of the joint values, together those that come to the same; the first in order leads.

    groups: whose widths count, see `groups_at`.
    """
    found: dict[Hashable, list[int]] = defaultdict(list)
    for number, joint in enumerate(joints):
        values = in_order(value for value in joint if value is not None)
        found[_comes_to(values, groups)].append(number)
    return list(found.values())


def _comes_to(values: Iterable[Value], groups: Collection[str]) -> Hashable:
    """What is written for these values, in order, where only these groups count."""
    written: list[tuple[str, str] | _Padded] = []
    for value in values:
        own = _padded(value, groups)
        if own is None:
            written.append((value.choice, value.name))
        elif own.widths:
            last = written[-1] if written else None
            if isinstance(last, _Padded) and last.pass_name == own.pass_name:
                own = _Padded(own.pass_name, own.widths | last.widths)
                written.pop()
            written.append(own)
    return tuple(written)


def _padded(value: Value, groups: Collection[str]) -> _Padded | None:
    """What a value appends to these groups; None where it may do something else."""
    if value.kind not in _WIDTHS or not value.widths or not groups:
        return None
    if value.kind == Kind.WIDTH and value.choice not in groups:
        return None  # the choice is one of the cell's, but no tensor says where the group is
    widths = {group: value.widths[group] for group in groups if group in value.widths}
    if any(new < old for old, new in widths.values()):
        return None
    return _Padded(value.pass_name, frozenset((group, new) for group, (_, new) in widths.items()))
