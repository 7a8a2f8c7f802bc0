"""Drops values that no plan within any limits can need, before any search.

A value goes when another value of its choice (or *keep*) is possible wherever it is, and then costs
no more latency, weight bytes, damage, unpriced nodes and bytes alive at every step of the schedule:
on that full vector, whatever the other choices are. Dominance, as in the tables of dynamic programs;
here over joint tables, so that the worst joint value of each scope counts.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush

import numpy as np

from hwopt.choice import Choice, Risk
from hwopt.scope import Problem, Scope
from hwopt.search.arrays import (
    DAMAGE,
    LATENCY,
    UNPRICED,
    WEIGHTS,
    Arrays,
    Bools,
    Floats,
    Ints,
    Joint,
    arrays,
    joined,
    steps_that_matter,
)

Pinned = frozenset[tuple[str, str]]  # (choice, value) that must stay


@dataclass(frozen=True)
class Dropped:
    """A value that went, and the one of the same choice that is never worse; *keep* may be that."""

    choice: str
    value: str
    by: str


@dataclass(frozen=True)
class Curated:
    """What is left to search, and why the rest is not."""

    problem: Problem
    dropped: tuple[Dropped, ...]


def curate(problem: Problem, keep: Pinned = frozenset()) -> Curated:
    """The problem without dominated values. The best plan stays, for every objective and all limits.

    keep: values that stay all the same, as do those of the problem's start and wishes. Values that
    only training can mend stay, too, and make no other go: how little they train counts, which no
    table says. Of equal values *keep* stays, else the first. A plan that is cut off for reasons of
    its own does not cut off what it dominates: curated problems do not bring that back.
    """
    whole = arrays(problem)
    if not any(value.risk == Risk.RETRAIN for choice in problem.choices for value in choice.values):
        whole = joined(whole)  # tighter; not with values that damage tables do not have until they are opened
    pinned = keep.union(problem.start.items(), problem.wishes)
    table = _Curation(whole.with_steps(steps_that_matter(whole)), _fixed(problem.choices, pinned))
    table.run()
    dropped = tuple(table.dropped(problem.choices))
    gone = {(d.choice, d.value) for d in dropped}
    return Curated(_without(problem, gone), dropped)


def _fixed(choices: Iterable[Choice], keep: Pinned) -> tuple[list[set[int]], list[set[int]]]:
    """Per choice, the codes that must stay, and those that make no other go."""
    stay, silent = [], []
    for choice in choices:
        retrain = {n for n, v in enumerate(choice.values, 1) if v.risk == Risk.RETRAIN}
        pinned = {n for n, v in enumerate(choice.values, 1) if (choice.id, v.name) in keep}
        stay.append(retrain | pinned | {0})
        silent.append(retrain)
    return stay, silent


class _Curation:
    """Values still alive, and what made the others go; runs until nothing more goes."""

    def __init__(self, whole: Arrays, fixed: tuple[list[set[int]], list[set[int]]]) -> None:
        self.stay, self.silent = fixed
        self.names = whole.names
        self.joints = list(whole.joints)
        self.gone: list[dict[int, int]] = [{} for _ in whole.names]
        self._having: list[list[int]] = [[] for _ in whole.names]  # the joints that a choice is in
        for number, joint in enumerate(self.joints):
            for column in joint.columns:
                self._having[column].append(number)

    def run(self) -> None:
        order = list(range(len(self.names)))  # a heap
        waiting = set(order)
        while order:
            column = heappop(order)
            waiting.remove(column)
            if self._thin(column):
                for beside in {c for number in self._having[column] for c in self.joints[number].columns}:
                    if beside not in waiting:
                        waiting.add(beside)
                        heappush(order, beside)

    def _thin(self, column: int) -> bool:
        """Drops what is dominated of one choice; whether anything was."""
        size, gone = len(self.names[column]), self.gone[column]
        if size - len(gone) < 2:
            return False
        never_worse = self._never_worse(column, size)
        before = len(gone)
        for value in reversed(range(1, size)):
            rivals = [
                other
                for other in range(size)
                if other not in gone and other != value and other not in self.silent[column]
                if never_worse[value, other]
            ]
            if value not in gone and value not in self.stay[column] and rivals:
                gone[value] = rivals[0]
        if len(gone) > before:
            self._forget(column)
        return len(gone) > before

    def _never_worse(self, column: int, size: int) -> Bools:
        """[value, other]: whether the other costs no more, all scopes together."""
        total = np.zeros((size, size, 1))  # a choice that no scope has costs nothing
        with np.errstate(invalid="ignore"):
            for number in self._having[column]:
                total = total + excesses(self.joints[number], column, size)
        total = np.where(np.isnan(total), -np.inf, total)  # inf - inf: `value` is nowhere possible
        never: Bools = total.max(-1) <= 0
        return never

    def _forget(self, column: int) -> None:
        gone = np.array(sorted(self.gone[column]), np.int64)
        for number in self._having[column]:
            joint = self.joints[number]
            alive = ~np.isin(joint.codes[:, joint.columns.index(column)], gone)
            rows = (joint.codes[alive], joint.sums[alive], joint.held[alive])
            self.joints[number] = Joint(joint.columns, *rows)

    def dropped(self, choices: Iterable[Choice]) -> Iterable[Dropped]:
        """Each with a value that is still there."""
        for choice, names, gone in zip(choices, self.names, self.gone, strict=True):
            for value in sorted(gone):
                by = gone[value]
                while by in gone:
                    by = gone[by]
                yield Dropped(choice.id, names[value], names[by])


def excesses(joint: Joint, column: int, size: int) -> Floats:
    """How much more `other` costs than `value` at worst: [value, other, figures].

    Over the joint settings of the other choices at which `value` is possible; inf where `other` is
    not possible at one of them, -inf where there is none.
    """
    figures = np.hstack((joint.sums[:, [LATENCY, WEIGHTS, DAMAGE, UNPRICED]], joint.held))
    place = joint.columns.index(column)
    settings = _numbered(np.delete(joint.codes, place, axis=1))
    cost = np.full((size, int(settings.max(initial=-1)) + 1, figures.shape[1]), np.inf)
    cost[joint.codes[:, place], settings] = figures
    worst = np.full((size, size, figures.shape[1]), -np.inf)
    for value in range(size):
        at = np.isfinite(cost[value, :, 0])
        worst[value] = (cost[:, at] - cost[value, at]).max(1, initial=-np.inf)
    return worst


def _numbered(rows: Ints) -> Ints:
    """A number for each row, equal where rows are: [rows]."""
    if not rows.shape[1]:
        return np.zeros(len(rows), np.int64)
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)


def _without(problem: Problem, gone: Container[tuple[str, str]]) -> Problem:
    choices = tuple(
        replace(choice, values=tuple(v for v in choice.values if (choice.id, v.name) not in gone))
        for choice in problem.choices
    )
    return replace(problem, choices=choices, scopes=tuple(_thinned(scope, gone) for scope in problem.scopes))


def _thinned(scope: Scope, gone: Container[tuple[str, str]]) -> Scope:
    def stays(key: Sequence[str]) -> bool:
        return not any(pair in gone for pair in zip(scope.choices, key, strict=True))

    return replace(scope, table={key: price for key, price in scope.table.items() if stays(key)})
