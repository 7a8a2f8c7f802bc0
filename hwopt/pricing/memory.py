"""Memory of a model that is priced piece by piece: who counts which tensor, and at which step.

The schedule is cut into turns: runs of fused groups that one cell owns, in graph order. A tensor is
counted by the cell that makes it, from the group that makes it on; during the turns of the cells
that read it, by these, because they know when they are done with it. So every cell's table says by
itself what its joint values hold, and sums over cells are what liveness (hwopt.memory) finds in the
rewritten model. Where a rewrite moves work into another cell's turn, the most that each holds
during it is added up: never below the truth.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, groupby

import onnx_ir as ir

from hwopt.memory import Interval, live_intervals, tensor_bytes, view_owners
from hwopt.partition import Partition, Subgraph
from hwopt.places import has_place, place_of
from hwopt.shapes import TensorInfo
from hwopt.signature import VIEW
from hwopt.target import Target

Live = tuple[tuple[int, int], ...]  # (step of the schedule, bytes), see hwopt.scope.Price
Shapes = Mapping[str, TensorInfo]
_END = 1 << 30  # after the last group of a turn


@dataclass(frozen=True)
class Stay:
    """How long a tensor of the unchanged model lives, in turns.

    first, last: both included. readers: turns in which it is made or read; the cell whose turn comes
    first among them answers for it. size: bytes. leaves: whether other cells or the caller read it,
    too. result: whether the caller does: then it lives to the end.
    """

    first: int
    last: int
    readers: frozenset[int]
    size: int
    leaves: bool
    result: bool

    @cached_property
    def home(self) -> int:
        """The turn that makes it; of an input of the graph the first that reads it."""
        return min(self.readers)


@dataclass(frozen=True)
class Timetable:
    """The turns of a schedule.

    steps: the first step of each turn. begins: where in the graph each turn begins. position: of
    every place. owners: for a view the tensor whose memory it shares.
    """

    steps: tuple[int, ...]
    begins: tuple[int, ...]
    position: Mapping[str, int]
    owners: Mapping[str, str]
    target: Target

    def turn(self, position: int) -> int:
        """The turn in which a node at that position of the graph runs."""
        return max(bisect_right(self.begins, position) - 1, 0)

    def owner(self, name: str) -> str:
        """The tensor whose memory the tensor of that name uses: mostly its own."""
        return self.owners.get(name, name)


@dataclass(frozen=True)
class Share:
    """What one cell answers for. turns: its own. made: tensors that live longer than its own groups say;
    read: tensors of others that it reads, and the turns of its own in which it does."""

    table: Timetable
    turns: frozenset[int]
    made: Mapping[str, Stay]
    read: Mapping[str, tuple[Stay, tuple[int, ...]]]


def shares(
    model: ir.Model, shapes: Shapes, parts: Partition, target: Target, cells: Sequence[Sequence[int]]
) -> tuple[list[Share], Live]:
    """What each of these cells (given by its steps) answers for, and what lives whatever they hold."""
    cell_of = {step: number for number, steps in enumerate(cells) for step in steps}
    runs = [list(run) for _, run in groupby(range(len(parts.subgraphs)), key=cell_of.__getitem__)]
    turn_of = {step: turn for turn, run in enumerate(runs) for step in run}
    index = {node: number for number, node in enumerate(model.graph)}
    table = Timetable(
        tuple(run[0] for run in runs),
        tuple(index[parts.subgraphs[run[0]].nodes[0]] for run in runs),
        {place_of(node): number for node, number in index.items() if has_place(node)},
        {str(v.name): str(o.name) for v, o in view_owners(parts.subgraphs).items()},
        target,
    )
    turns = [frozenset(turn_of[step] for step in steps) for steps in cells]
    turns_beside = {turn: own for own in turns for turn in own}
    touched, results = _touched(model, parts, table, turn_of)
    stays, idle = {}, 0
    for interval in live_intervals(model, shapes, parts, target)[0]:
        if interval.name in touched:
            stays[interval.name] = _stay(interval, touched[interval.name], turn_of, turns_beside, results)
        else:  # an input of the graph that only a node without work reads
            idle += interval.size
    near = _by_turn(stays)
    return [_share(table, own, near) for own in turns], ((0, idle),) if idle else ()


def _by_turn(stays: Mapping[str, Stay]) -> Mapping[int, Sequence[tuple[int, str, Stay]]]:
    """The tensors that are made or read in each turn, each with its number."""
    found: dict[int, list[tuple[int, str, Stay]]] = defaultdict(list)
    for number, (name, stay) in enumerate(stays.items()):
        for turn in stay.readers:
            found[turn].append((number, name, stay))
    return found


def _touched(
    model: ir.Model, parts: Partition, table: Timetable, turn_of: Mapping[int, int]
) -> tuple[dict[str, set[int]], set[str]]:
    """The turns in which each tensor is made or read, and the tensors that the caller reads."""
    touched: dict[str, set[int]] = defaultdict(set)
    for step, group in enumerate(parts.subgraphs):
        for value in (*group.inputs, *group.outputs):
            touched[table.owner(str(value.name))].add(turn_of[step])
    return touched, {table.owner(str(value.name)) for value in model.graph.outputs}


def _stay(
    interval: Interval,
    touched: set[int],
    turn_of: Mapping[int, int],
    turns_beside: Mapping[int, frozenset[int]],
    results: set[str],
) -> Stay:
    own = turns_beside[min(touched)]
    result = interval.name in results
    first, last = turn_of[interval.first], turn_of[interval.last]
    return Stay(first, last, frozenset(touched), interval.size, result or not touched <= own, result)


def _share(
    table: Timetable, own: frozenset[int], near: Mapping[int, Sequence[tuple[int, str, Stay]]]
) -> Share:
    mine = {number: (name, stay) for turn in own for number, name, stay in near.get(turn, ())}
    stays = dict(mine[number] for number in sorted(mine))
    made = {
        name: stay
        for name, stay in stays.items()
        if stay.home in own and (stay.leaves or stay.first < stay.home)
    }
    read = {
        name: (stay, tuple(sorted(stay.readers & own)))
        for name, stay in stays.items()
        if stay.home not in own and stay.readers & own
    }
    return Share(table, own, made, read)


def live_of(share: Share, groups: Sequence[Subgraph], model: ir.Model, shapes: Shapes) -> Live:
    """What a cell holds at the steps of the schedule when these are its groups, in a changed piece of
    the model whose tensors have these shapes."""
    return _Diary(share, _in_turns(share, groups, model), shapes).live()


class Idle:
    """What lives whatever is chosen, added up turn by turn: in one list, however long a tensor lives."""

    def __init__(self, table: Timetable, always: int = 0) -> None:
        self._steps = table.steps
        self._changes = [0] * (len(table.steps) + 1)
        if always and table.steps:
            self.add(0, len(table.steps) - 1, always)

    def add(self, first: int, last: int, size: int) -> None:
        """So many bytes more in these turns, both included."""
        self._changes[first] += size
        self._changes[last + 1] -= size

    def add_cell(self, share: Share, groups: Sequence[Subgraph], model: ir.Model, shapes: Shapes) -> None:
        """What a cell holds that no choice touches. As `live_of`."""
        _Diary(share, _in_turns(share, groups, model), shapes).add_to(self)

    def live(self) -> Live:
        """At the first step of each turn."""
        alive = accumulate(self._changes[:-1])
        return tuple((step, held) for step, held in zip(self._steps, alive, strict=True) if held)


def _in_turns(share: Share, groups: Sequence[Subgraph], model: ir.Model) -> list[tuple[int, Subgraph]]:
    """The groups with the turns in which they run, in order."""
    table = share.table
    if all(has_place(group.nodes[0]) for group in groups):
        placed = [(table.position[place_of(group.nodes[0])], group) for group in groups]
    else:
        known = _positions(share, model)
        placed = [(known[group.nodes[0]], group) for group in groups]
    placed.sort(key=lambda item: item[0])
    return [(table.turn(position), group) for position, group in placed]


def _positions(share: Share, model: ir.Model) -> dict[ir.Node, int]:
    """Where every node stands: a new one where the cell's next node does, before which it was inserted."""
    table = share.table
    found, following = {}, table.begins[min(share.turns)]
    for node in reversed(list(model.graph)):
        if has_place(node):
            found[node] = table.position[place_of(node)]
            if table.turn(found[node]) in share.turns:
                following = found[node]
        else:
            found[node] = following
    return found


Moment = tuple[int, int]  # a turn, and the number of a group in it


class _Diary:
    """Adds up what is alive at every group of a cell, and in the turns between."""

    def __init__(self, share: Share, placed: Sequence[tuple[int, Subgraph]], shapes: Shapes) -> None:
        self._table, self._share, self._shapes = share.table, share, shapes
        self._held: dict[int, list[int]] = {turn: [0] for turn in share.turns}
        self._made: dict[str, Moment] = {}
        self._touched: dict[str, list[Moment]] = defaultdict(list)
        self._named: dict[str, str] = {}
        self._idle: Idle | None = None
        self._read_groups(placed)

    def _read_groups(self, placed: Sequence[tuple[int, Subgraph]]) -> None:
        count: dict[int, int] = defaultdict(int)
        views = view_owners([group for _, group in placed])
        for turn, group in placed:
            moment = (turn, count[turn])
            count[turn] += 1
            outputs = [value for value in group.outputs if value.name]  # an omitted output has none
            for value in (*group.inputs, *outputs):
                owner = str(views.get(value, value).name)
                name = self._table.owner(owner)
                self._named.setdefault(name, owner)
                self._touched[name].append(moment)
                if group.kind != VIEW and value in outputs:
                    self._made.setdefault(name, moment)
        self._held.update({turn: [0] * number for turn, number in count.items()})

    def live(self) -> Live:
        self._count()
        steps = self._table.steps
        return tuple((steps[turn], max(held)) for turn, held in sorted(self._held.items()) if any(held))

    def add_to(self, idle: Idle) -> None:
        """The same, added to what others hold."""
        self._idle = idle
        self._count()
        for turn, held in self._held.items():
            idle.add(turn, turn, max(held))

    def _count(self) -> None:
        for name in {**self._touched, **self._share.made, **self._share.read}:
            if name in self._share.read:
                self._count_read(name, *self._share.read[name])
            else:
                self._count_made(name, self._share.made.get(name))

    def _size(self, name: str, stay: Stay | None) -> int:
        info = self._shapes.get(self._named.get(name, name))
        if info is not None:
            return tensor_bytes(info, self._table.target)
        return 0 if stay is None else stay.size

    def _count_made(self, name: str, stay: Stay | None) -> None:
        """From the group that makes it to its last use; where others read it until they are done."""
        uses = list(self._touched[name])
        first = self._made.get(name) or ((min(uses)[0], 0) if stay is None else (stay.first, 0))
        if stay is not None and stay.leaves:
            uses.append((stay.last, _END))
        if uses:
            elsewhere = frozenset() if stay is None else stay.readers - self._share.turns
            self._add(first, max(uses), self._size(name, stay), elsewhere)

    def _count_read(self, name: str, stay: Stay, turns: Iterable[int]) -> None:
        """In the turns in which the cell reads it: to their end where it lives on, else to its last use."""
        size, uses = self._size(name, stay), self._touched[name]
        for turn in turns:
            here = [(turn, _END)] if turn < stay.last or stay.result else [u for u in uses if u[0] == turn]
            if here:
                self._add((turn, 0), max(here), size)
        later = [use for use in uses if use[0] > stay.last]
        if later:
            self._add((stay.last + 1, 0), max(later), size)

    def _add(self, first: Moment, last: Moment, size: int, elsewhere: frozenset[int] = frozenset()) -> None:
        turns: Iterable[int] = range(first[0], last[0] + 1)
        if self._idle is not None:
            turns = self._own_turns(self._idle, first[0], last[0], size, elsewhere)
        for turn in turns:
            if turn in elsewhere:
                continue
            held = self._held.setdefault(turn, [0])
            start = first[1] if turn == first[0] else 0
            stop = last[1] if turn == last[0] else _END
            for number in range(start, min(stop + 1, len(held))):
                held[number] += size

    def _own_turns(
        self, idle: Idle, first: int, last: int, size: int, elsewhere: frozenset[int]
    ) -> list[int]:
        """Those of these turns in which a group of the cell runs; in the others bytes are added at once."""
        own = [turn for turn in sorted(self._held) if first <= turn <= last]
        idle.add(first, last, size)
        for turn in {*own, *(turn for turn in elsewhere if first <= turn <= last)}:
            idle.add(turn, turn, -size)
        return own
