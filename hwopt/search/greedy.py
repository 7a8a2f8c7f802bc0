"""Steepest steps first, then exchanges: quick, repeatable, and good where prices add up.

Every step takes the value with the most gain for what it charges to the limits, as NetAdapt shrinks a
network by the change that costs the least accuracy for its share of the latency (Yang et al.,
"NetAdapt: Platform-Aware Neural Network Adaptation for Mobile Applications", 2018). For values under one
limit this is the walk along the hulls of a multiple-choice knapsack, which ends less than one value
away from the optimum of its linear relaxation (Sinha and Zoltners, "The Multiple-Choice Knapsack
Problem", 1979). What a move is worth is looked at again only when it comes to the top (Minoux,
"Accelerated greedy algorithms for maximizing submodular set functions", 1978).
"""

from __future__ import annotations

from copy import copy

import numpy as np

from hwopt.search.archive import Archive, Looked
from hwopt.search.arrays import Bools, Floats, Ints
from hwopt.search.greedy_moves import (
    LEAST_ROOM,
    ROUNDING,
    Standing,
    better,
    doubles,
    neighbours,
    singles,
    standing,
)
from hwopt.search.problem import Outcome, Task
from hwopt.search.tables import score

NAME = "greedy"
LOOKED_AT = 8  # moves at the top that are looked at together
TRIED = 32  # exchanges that are looked at together
FORCED = 24  # changes beyond the limits that are tried before the walk ends
SWEPT = 128  # joint changes that are looked at together


def search(task: Task) -> Outcome:
    """The plan that no single change, joint change of two neighbours, or exchange makes any better.

    Hard limits that the start breaks are mended first, at the least loss elsewhere. Walks from every
    start of the task, the most promising first. Deterministic: the seed has no say.
    """
    archive = Archive(task)
    descend(archive)
    return archive.outcome(NAME)


def descend(archive: Archive) -> None:
    """The search itself, through an archive that a caller can read afterwards."""
    starts = archive.starts()
    looked = archive.look(starts)
    ends = [_walked(archive, starts[number]) for number in looked.order().tolist()]
    # A walk may end beside the best plan: on one that is cut, or that the limits' sums took for better.
    while archive.best is not None and not archive.ended and archive.best.tobytes() not in ends:
        ends += [archive.best.tobytes(), _walked(archive, archive.best)]


def _walked(archive: Archive, start: Ints) -> bytes:
    """Walks on until nothing improves, or the search has to end; the plan that it ended at."""
    walk = Walk(archive, start)
    walk.climb()
    while not archive.ended and (walk.exchange() or walk.joint() or walk.force()):
        walk.climb()
    return walk.plan.tobytes()


class Walk:
    """A plan, and what each move was worth when it was last looked at.

    Where the task asks an oracle, moves are ranked by the tables until the oracle has been asked.
    """

    def __init__(self, archive: Archive, start: Ints) -> None:
        self.archive = archive
        self.moves = singles(archive.tables.sizes)
        self.near = neighbours(archive.task.problem)
        self.plan = start.copy()
        self.here = self._by_tables(self.plan[None])
        known = self._look(self.plan[None])
        if np.isfinite(known.violation).all() and len(known.violation):  # a start may be cut
            self.here = known
        self.fixed = np.zeros(0, np.int64)  # choices that are not to be changed
        self.clock = 0
        self.moved = np.zeros(len(start), np.int64)  # when something near a choice last changed
        limits = self.here.over.shape[1]
        self.seen = np.full(len(self.moves), -1)  # when a move was last looked at
        self.gains = np.full((len(self.moves), 2), -np.inf)  # of the violation, of the objective
        self.charges = np.zeros((len(self.moves), limits))
        self._first_look()

    def _first_look(self) -> None:
        """All moves from the start: at the tables where an oracle would be asked; half the budget at most."""
        every = np.flatnonzero(~self.moves.idle(self.plan))
        if self.archive.task.evaluate is not None:
            self._note(every, self._by_tables(self.moves.applied(self.plan, every)))
            return
        affordable = every[: (self.archive.left + 1) // 2]
        for at in range(0, len(affordable), SWEPT):
            if not self.archive.ended:
                self._refresh(affordable[at : at + SWEPT])

    def climb(self) -> None:
        """Takes the steepest move until none improves anything."""
        while not self.archive.ended:
            merit = self.merit()
            top = np.argsort(-merit, kind="stable")[:LOOKED_AT]
            top = top[merit[top] > 0]
            old = self._outdated()
            if len(top) and self.seen[top[0]] == self.clock:
                self._take(int(top[0]))
            elif len(top):
                self._refresh(top[old[top] | (np.arange(len(top)) == 0)])
            elif old.any():
                self._refresh(np.flatnonzero(old)[: 4 * TRIED])
            else:
                return

    def merit(self) -> Floats:
        """Gain per charge of every move as far as it is known; not positive where it is no use.

        Without a plan within the limits, what breaks them is what has to shrink, at the least loss
        in the objective and in the other limits' room.
        """
        broken = float(self.here.violation[0]) > 0
        room = np.maximum(-self.here.over[0], LEAST_ROOM)
        rising = np.maximum(self.charges, 0.0)
        charge = np.where(self.here.over[0] > 0, 0.0, rising / room).sum(1)
        scale = max(abs(float(self.here.objective[0])), 1e-9)
        if broken:
            gain = self._mended()
            charge = charge + np.maximum(-self.gains[:, 1], 0.0) / scale
            allowed = gain > ROUNDING
        else:
            gain = self.gains[:, 1] / scale
            allowed = (gain > ROUNDING) & (self.here.over + self.charges <= ROUNDING).all(1)
        steep = np.where(allowed, gain, 0.0) / (charge + ROUNDING)
        closed = self.moves.idle(self.plan) | np.isin(self.moves.columns[:, 0], self.fixed)
        return np.where(closed, 0.0, steep)

    def _mended(self) -> Floats:
        """How much less every move leaves the limits broken: as it was seen from here, else at best."""
        over = self.here.over[0]
        sums = np.maximum(over, 0.0).sum() - np.maximum(over + self.charges, 0.0).sum(1)
        return np.where(self.seen == self.clock, self.gains[:, 0], np.maximum(sums, self.gains[:, 0]))

    def exchange(self) -> bool:
        """Takes the best pair of moves that improves the plan: one step on, another back or aside."""
        which = np.flatnonzero(np.isfinite(self.gains).all(1) & ~self.moves.idle(self.plan))
        pairs = self._promising(which)
        for at in range(0, len(pairs), TRIED):
            if self.archive.ended:
                return False
            some = pairs[at : at + TRIED]
            plans = self.moves.applied(self.plan, some[:, 0])
            rows = np.arange(len(plans))
            column = self.moves.columns[some[:, 1], 0]
            plans[rows, column] = self.moves.values[some[:, 1], 0]
            if self._take_best(plans):
                return True
        return False

    def _promising(self, which: Ints) -> Ints:
        """Pairs of moves [pairs, 2] that together should improve the plan, the best first."""
        gains, charges = self.gains[which], self.charges[which]
        column = self.moves.columns[which, 0]
        broken = float(self.here.violation[0]) > 0
        gain = gains[:, 0 if broken else 1]
        both = gain[:, None] + gain[None, :]
        fits = ~self.near[np.ix_(column, column)] & (both > 0)
        if not broken:
            for limit in range(charges.shape[1]):
                sums = charges[:, limit][:, None] + charges[:, limit][None, :]
                fits &= self.here.over[0, limit] + sums <= ROUNDING
        one, two = np.nonzero(np.triu(fits, 1))
        best = np.argsort(-both[one, two], kind="stable")[: 4 * TRIED]
        return np.column_stack((which[one[best]], which[two[best]]))

    def joint(self) -> bool:
        """Takes the best joint change of two neighbours out of the first batch that has one."""
        plans = self._joint_changes()
        for at in range(0, len(plans), SWEPT):
            if self.archive.ended:
                return False
            if self._take_best(plans[at : at + SWEPT]):
                return True
        return False

    def force(self) -> bool:
        """Takes a change that breaks limits, makes room for it as cheaply as can be, and climbs again.

        The most gainful changes come first; one that leads to nothing better is undone. So several
        changes can make room for one, or several small ones use the room of one.
        """
        gains = np.where(self.moves.idle(self.plan), -np.inf, self.gains[:, 1])
        for move in np.argsort(-gains, kind="stable")[:FORCED].tolist():
            if gains[move] <= 0 or self.archive.ended:
                return False
            trial = self._copied()
            trial.fixed = self.moves.columns[[move], 0]
            plan = self.moves.applied(self.plan, np.array([move]))
            found = trial._look(plan)
            if not len(found.objective) or not np.isfinite(found.objective[0]):
                continue
            trial._go(plan[0], found)
            trial.climb()
            if better(trial.here, self.here):
                self._adopt(trial)
                return True
        return False

    def _joint_changes(self) -> Ints:
        """The possible plans one joint change away; for an oracle, what the tables think best comes first."""
        pairs = doubles(self.archive.tables.sizes, self.near)
        plans = pairs.applied(self.plan, np.flatnonzero(~pairs.idle(self.plan)))
        figures = self.archive.tables.evaluate(plans)
        if self.archive.task.evaluate is None:
            return plans[figures.possible]
        violation, objective = score(figures, self.archive.task.budget)
        return plans[np.lexsort((objective, violation))][: int(figures.possible.sum())]

    def _take_best(self, plans: Ints) -> bool:
        """Goes to the best of some plans, if it is better than here."""
        found = self._look(plans)
        order = np.lexsort((found.objective, found.violation))
        if not len(order) or not better(found.row(int(order[0])), self.here):
            return False
        self._go(plans[order[0]], found.row(int(order[0])))
        return True

    def _take(self, move: int) -> None:
        """Goes where a move leads that was looked at from here."""
        plan = self.moves.applied(self.plan, np.array([move]))[0]
        violation, objective = self.here.violation, self.here.objective
        there = Standing(
            objective - self.gains[move, 1],
            np.maximum(violation - self.gains[move, 0], 0.0),
            self.here.over + self.charges[move],
        )
        self._go(plan, there)

    def _go(self, plan: Ints, there: Standing) -> None:
        self.clock += 1
        changed = np.flatnonzero(plan != self.plan)
        self.moved[self.near[changed].any(0)] = self.clock
        self.plan, self.here = plan, there

    def _copied(self) -> Walk:
        twin = copy(self)
        for name in ("moved", "seen", "gains", "charges"):
            setattr(twin, name, getattr(self, name).copy())
        return twin

    def _adopt(self, other: Walk) -> None:
        fixed = self.fixed
        self.__dict__.update(other.__dict__)
        self.fixed = fixed

    def _outdated(self) -> Bools:
        """Moves whose worth has changed since they were looked at, because a neighbour did."""
        return (self.seen < self.moved[self.moves.columns[:, 0]]) & ~self.moves.idle(self.plan)

    def _refresh(self, which: Ints) -> None:
        found = self._look(self.moves.applied(self.plan, which))
        which = which[: len(found.objective)]
        self._note(which, found)
        self.seen[which] = self.clock

    def _note(self, which: Ints, found: Standing) -> None:
        with np.errstate(invalid="ignore"):
            self.gains[which, 0] = self.here.violation - found.violation
            self.gains[which, 1] = self.here.objective - found.objective
        self.gains[which] = np.where(np.isfinite(found.objective)[:, None], self.gains[which], -np.inf)
        self.charges[which] = found.over - self.here.over

    def _look(self, plans: Ints) -> Standing:
        return standing(self.archive, plans, self.archive.look(plans))

    def _by_tables(self, plans: Ints) -> Standing:
        figures = self.archive.tables.evaluate(plans)
        return standing(self.archive, plans, Looked(figures, *score(figures, self.archive.task.budget)))
