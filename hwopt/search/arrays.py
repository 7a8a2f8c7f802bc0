"""A priced problem as arrays: what the evaluator, the curation and the integer program work on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hwopt.choice import KEEP
from hwopt.scope import Price, Problem, Scope

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
LATENCY, WEIGHTS, MACS, DAMAGE, UNPRICED = range(5)  # columns of `sums`
_MOST_STEPS = 1024  # so many are held against one another, each against each


@dataclass(frozen=True)
class Joint:
    """One scope. codes: [entries, its choices]; sums: [entries, 5]; held: bytes alive [entries, steps].

    columns: the choices' numbers in the problem. Joint values without an entry are impossible.
    """

    columns: tuple[int, ...]
    codes: Ints
    sums: Floats
    held: Floats

    @property
    def entries(self) -> int:
        return len(self.codes)


@dataclass(frozen=True)
class Arrays:
    """A whole problem. names: of each choice's values, *keep* first; steps: the schedule's numbers."""

    choices: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]
    steps: tuple[int, ...]
    joints: tuple[Joint, ...]
    sums: Floats
    held: Floats

    def with_steps(self, kept: Sequence[int]) -> Arrays:
        """The same with these columns of `held` alone."""
        rows = list(kept)
        joints = tuple(replace(joint, held=joint.held[:, rows]) for joint in self.joints)
        steps = tuple(self.steps[row] for row in rows)
        return replace(self, steps=steps, joints=joints, held=self.held[rows])


def arrays(problem: Problem) -> Arrays:
    """The arrays of a problem. Entries for values that its choices do not have are left out."""
    names = tuple((KEEP, *(value.name for value in choice.values)) for choice in problem.choices)
    steps = _steps_in_question(problem)
    position = {choice.id: number for number, choice in enumerate(problem.choices)}
    codes = [{name: code for code, name in enumerate(choice)} for choice in names]
    at = {step: number for number, step in enumerate(steps)}
    joints = tuple(_joint(scope, position, codes, at) for scope in problem.scopes)
    sums, held = _figures([problem.fixed], at)
    return Arrays(tuple(position), names, steps, joints, sums[0], held[0])


def _steps_in_question(problem: Problem) -> tuple[int, ...]:
    """The steps that may hold the peak, as far as each table by itself tells; the safest one of the others.

    What is left out is what `steps_that_matter` would leave out: here before there is a column for it.
    """
    low: dict[int, int] = dict(problem.fixed.live)
    high = dict(low)
    for scope in problem.scopes:
        least, most, seen = dict[int, int](), dict[int, int](), dict[int, int]()
        for price in scope.table.values():
            for step, held in price.live:
                least[step] = min(least.get(step, held), held)
                most[step] = max(most.get(step, held), held)
                seen[step] = seen.get(step, 0) + 1
        for step, held in least.items():
            always = seen[step] == len(scope.table)
            low[step] = low.get(step, 0) + (held if always else min(held, 0))
            high[step] = high.get(step, 0) + (most[step] if always else max(most[step], 0))
    steps = sorted(low)
    if not steps:
        return ()
    safest = max(steps, key=low.__getitem__)
    return tuple(step for step in steps if step == safest or high[step] > low[safest])


def _joint(
    scope: Scope,
    position: Mapping[str, int],
    codes: Sequence[Mapping[str, int]],
    at: Mapping[int, int],
) -> Joint:
    columns = tuple(position[choice] for choice in scope.choices)
    known = [
        (tuple(codes[column][name] for column, name in zip(columns, key, strict=True)), price)
        for key, price in scope.table.items()
        if all(name in codes[column] for column, name in zip(columns, key, strict=True))
    ]
    keys = np.array([key for key, _ in known], np.int64).reshape(len(known), len(columns))
    return Joint(columns, keys, *_figures([price for _, price in known], at))


def _figures(prices: Sequence[Price], at: Mapping[int, int]) -> tuple[Floats, Floats]:
    sums = np.array(
        [(p.latency_us.value, p.weight_bytes, p.macs, p.damage, len(p.unpriced)) for p in prices], np.float64
    ).reshape(len(prices), 5)
    held = np.zeros((len(prices), len(at)))
    for row, price in enumerate(prices):
        for step, size in price.live:
            if step in at:
                held[row, at[step]] += size
    return sums, held


def joined(arrays: Arrays) -> Arrays:
    """The same problem with every scope added into one that has all of its choices, where there is one."""
    joints = sorted(arrays.joints, key=lambda joint: -len(joint.columns))
    merged: list[Joint] = []
    having: dict[int, set[int]] = defaultdict(set)  # a column, and the numbers of the joints that have it
    for joint in joints:
        hosts = set(range(len(merged))) if not joint.columns else having[joint.columns[0]]
        for column in joint.columns[1:]:
            hosts = hosts & having[column]
        if hosts:
            smallest = min(hosts, key=lambda i: (merged[i].entries, i))
            merged[smallest] = _added(merged[smallest], joint)
        else:
            for column in joint.columns:
                having[column].add(len(merged))
            merged.append(joint)
    return replace(arrays, joints=tuple(merged))


def _added(host: Joint, guest: Joint) -> Joint:
    places = [host.columns.index(column) for column in guest.columns]
    rows = {tuple(key): row for row, key in enumerate(guest.codes.tolist())}
    found = np.array([rows.get(tuple(key), -1) for key in host.codes[:, places].tolist()], np.int64)
    kept, rest = found >= 0, found[found >= 0]
    sums, held = host.sums[kept] + guest.sums[rest], host.held[kept] + guest.held[rest]
    return Joint(host.columns, host.codes[kept], sums, held)


def steps_that_matter(arrays: Arrays) -> list[int]:
    """Numbers of the steps of which one holds the peak, whatever the plan; the others never need a look.

    A step is left out where it can never hold more than some step always does, or never more than
    one other step holds under the same plan. Exact: the maximum over the rest is the peak.
    """
    if not arrays.steps:
        return []
    low = arrays.held + sum((j.held.min(0, initial=np.inf) for j in arrays.joints if j.entries), start=0.0)
    high = arrays.held + sum((j.held.max(0, initial=-np.inf) for j in arrays.joints if j.entries), start=0.0)
    safest = int(np.argmax(low))
    open_steps = [s for s in range(len(low)) if s == safest or high[s] > low[safest]]
    return _undominated(arrays.with_steps(open_steps), open_steps)


def _undominated(arrays: Arrays, numbers: Sequence[int]) -> list[int]:
    """Of these steps, those that no other one exceeds under every plan; of equal ones the first.

    Of very many steps each is held against those near it alone.
    """
    kept: list[int] = []
    if len(numbers) > _MOST_STEPS:
        for at in range(0, len(numbers), _MOST_STEPS):
            some = numbers[at : at + _MOST_STEPS]
            kept += _undominated(arrays.with_steps(range(at, at + len(some))), some)
        return kept
    most = _surpassing(arrays)
    alive = np.ones(len(numbers), dtype=bool)
    for step in range(len(numbers)):
        others = alive.copy()
        others[step] = False
        alive[step] = not bool((most[step, others] <= 0).any())
        if alive[step]:
            kept.append(numbers[step])
    return kept


def _surpassing(arrays: Arrays) -> Floats:
    """How much more one step can hold than another one under some plan, at most: [steps, steps]."""
    least, most = arrays.held.copy(), arrays.held.copy()
    apart: list[tuple[Ints, Floats]] = []
    for joint in arrays.joints:
        if joint.entries:
            low, high = joint.held.min(0), joint.held.max(0)
            least, most = least + low, most + high
            free = np.flatnonzero(high > low)  # between these, one and the same entry counts
            varied = joint.held[:, free]
            widest = np.array([(varied[:, [number]] - varied).max(0) for number in range(len(free))])
            apart.append((free, widest.reshape(len(free), len(free)) - (high[free, None] - low[free])))
    found: Floats = most[:, None] - least[None, :]
    for free, less in apart:
        found[np.ix_(free, free)] += less
    return found
