"""What a walk over plans can do next, and what each step was worth when it was last looked at."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from hwopt.scope import Problem
from hwopt.search.archive import Archive, Looked
from hwopt.search.arrays import Bools, Floats, Ints
from hwopt.search.problem import Budget, Objective
from hwopt.search.tables import Figures, limited

LEAST_ROOM = 1e-3  # of a limit: what a step charges is told in shares of the room that is left, or of this
ROUNDING = 1e-9
_SHARP = 32.0  # order of the norm that stands for a peak which is to shrink


@dataclass(frozen=True)
class Standing:
    """Where plans stand. over: [plans, limits], the excess over each limit as a share of it.

    A memory limit's violation is summed over the steps that break it, and an arena that is to shrink is
    taken as a norm over all steps: where several hold the same peak, emptying one of them counts.
    """

    objective: Floats
    violation: Floats
    over: Floats

    def row(self, number: int) -> Standing:
        """One of the plans."""
        one = slice(number, number + 1)
        return Standing(self.objective[one], self.violation[one], self.over[one])


def standing(archive: Archive, codes: Ints, looked: Looked) -> Standing:
    """Where plans stand that were looked at."""
    budget, figures = archive.task.budget, looked.figures
    over = np.column_stack(
        [np.zeros((len(figures), 0))]
        + [(figure - limit) / (limit if limit > 0 else 1.0) for figure, limit in limited(figures, budget)]
    )
    violation, objective = looked.violation, looked.objective
    if about_memory(budget):
        held = archive.tables.held(codes[: len(figures)])
        violation = np.where(violation > 0, violation + _excess(held, figures, budget), 0.0)
        objective = objective + _nearly_peak(held, budget)
    return Standing(objective, violation, over)


def better(one: Standing, two: Standing) -> bool:
    """Whether the first of two single plans breaks limits less, or, within them, has the better objective."""
    broken, before = float(one.violation[0]), float(two.violation[0])
    if before > 0 or broken > 0:
        return broken < before - ROUNDING or (before > 0 and broken == 0)
    figure, base = float(one.objective[0]), float(two.objective[0])
    return figure < base - ROUNDING * max(abs(base), 1e-9)


def about_memory(budget: Budget) -> bool:
    """Whether anything that is asked for depends on the peak."""
    wanted = budget.objective in (Objective.MEMORY, Objective.FOOTPRINT)
    return wanted or budget.peak_bytes is not None or budget.footprint_bytes is not None


def _excess(held: Floats, figures: Figures, budget: Budget) -> Floats:
    """How far all steps together are above the memory limits, as shares of them."""
    found = np.zeros(len(held))
    for limit, more in ((budget.peak_bytes, 0.0), (budget.footprint_bytes, figures.weight_bytes)):
        if limit is not None:
            needed = held + np.broadcast_to(more, len(held))[:, None]
            found += np.maximum(needed / max(limit, 1) - 1.0, 0.0).sum(1)
    return found


def _nearly_peak(held: Floats, budget: Budget) -> Floats:
    """What the norm over all steps adds to the peak, where the peak is to shrink."""
    if budget.objective not in (Objective.MEMORY, Objective.FOOTPRINT) or not held.shape[1]:
        return np.zeros(len(held))
    peak = np.maximum(held.max(1), 1.0)
    return np.asarray(peak * (((held / peak[:, None]) ** _SHARP).sum(1) ** (1 / _SHARP) - 1.0))


@dataclass(frozen=True)
class Moves:
    """Changes of one or two choices. columns, values: [moves, 2]; a single change stands there twice."""

    columns: Ints
    values: Ints

    def __len__(self) -> int:
        return len(self.columns)

    def idle(self, plan: Ints) -> Bools:
        """Those that change nothing, or less than they name."""
        return np.asarray((plan[self.columns] == self.values).any(1))

    def applied(self, plan: Ints, which: Ints) -> Ints:
        """The plans after some of the moves [moves, choices]."""
        plans = np.repeat(plan[None], len(which), axis=0)
        rows = np.arange(len(which))
        for side in (0, 1):
            plans[rows, self.columns[which, side]] = self.values[which, side]
        return plans


def singles(sizes: Ints) -> Moves:
    """Every value of every choice, *keep* among them; the first values of all choices come first."""
    pairs = sorted((value, column) for column, size in enumerate(sizes.tolist()) for value in range(size))
    pairs = [*(p for p in pairs if p[0]), *(p for p in pairs if not p[0])]
    table = np.array(pairs, np.int64).reshape(len(pairs), 2)
    return Moves(np.repeat(table[:, 1:], 2, axis=1), np.repeat(table[:, :1], 2, axis=1))


def doubles(sizes: Ints, near: Bools) -> Moves:
    """Every joint change of two choices that are priced together in some scope."""
    rows = [
        (one, two, a, b)
        for one, two in combinations(range(len(sizes)), 2)
        if near[one, two]
        for a in range(int(sizes[one]))
        for b in range(int(sizes[two]))
    ]
    table = np.array(rows, np.int64).reshape(len(rows), 4)
    return Moves(table[:, :2], table[:, 2:])


def neighbours(problem: Problem) -> Bools:
    """[choices, choices]: which share a scope, so that what one is worth depends on the other."""
    position = {choice.id: number for number, choice in enumerate(problem.choices)}
    near = np.eye(len(position), dtype=bool)
    for scope in problem.scopes:
        columns = [position[choice] for choice in scope.choices]
        near[np.ix_(columns, columns)] = True
    return near
