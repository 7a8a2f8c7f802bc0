"""A priced problem as arrays: what the evaluator, the curation and the integer program work on."""

from __future__ import annotations

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
    prices = [problem.fixed, *(price for scope in problem.scopes for price in scope.table.values())]
    steps = tuple(sorted({step for price in prices for step, _ in price.live}))
    position = {choice.id: number for number, choice in enumerate(problem.choices)}
    codes = [{name: code for code, name in enumerate(choice)} for choice in names]
    at = {step: number for number, step in enumerate(steps)}
    joints = tuple(_joint(scope, position, codes, at) for scope in problem.scopes)
    sums, held = _figures([problem.fixed], at)
    return Arrays(tuple(position), names, steps, joints, sums[0], held[0])


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
            held[row, at[step]] += size
    return sums, held


def joined(arrays: Arrays) -> Arrays:
    """The same problem with every scope added into one that has all of its choices, where there is one."""
    joints = sorted(arrays.joints, key=lambda joint: -len(joint.columns))
    merged: list[Joint] = []
    for joint in joints:
        hosts = [i for i, host in enumerate(merged) if set(joint.columns) <= set(host.columns)]
        if hosts:
            smallest = min(hosts, key=lambda i: (merged[i].entries, i))
            merged[smallest] = _added(merged[smallest], joint)
        else:
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
    """Of these steps, those that no other one exceeds under every plan; of equal ones the first."""
    most = arrays.held[:, None] - arrays.held[None, :]  # [s, t]: how much more s can hold than t
    for joint in arrays.joints:
        if joint.entries:
            most += _widest(joint.held)
    kept: list[int] = []
    alive = np.ones(len(numbers), dtype=bool)
    for step in range(len(numbers)):
        others = alive.copy()
        others[step] = False
        alive[step] = not bool((most[step, others] <= 0).any())
        if alive[step]:
            kept.append(numbers[step])
    return kept


def _widest(held: Floats) -> Floats:
    """The largest difference between every two columns over all rows: [steps, steps]."""
    low, free = held.min(0), np.flatnonzero(held.max(0) > held.min(0))
    most: Floats = low[:, None] - low[None, :]
    most[free, :] += (held.max(0) - low)[free, None]
    varied = held[:, free]
    for number, step in enumerate(free):
        most[step, free] = (varied[:, [number]] - varied).max(0)
    return most
