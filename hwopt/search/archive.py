"""What a search has seen so far: its best plan, the closest one, the front, and when each came."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwopt.choice import KEEP
from hwopt.scope import Assignment, Price
from hwopt.search.arrays import Bools, Floats, Ints
from hwopt.search.problem import Objective, Outcome, Point, Task, objective_value
from hwopt.search.tables import Figures, Tables, figures_of, front, joined_figures, score
from hwopt.trace import Progress, emit

MOST_POINTS = 200  # of the front: beyond it, those closest to a neighbour go
_SUMS = frozenset({Objective.LATENCY, Objective.SIZE, Objective.DAMAGE})
WORTHLESS = 1e-6  # a change that saves less than this share of the objective is taken back


@dataclass(frozen=True)
class Looked:
    """A batch that was looked at. violation and objective: as `score` tells them, `cut` ones at inf."""

    figures: Figures
    violation: Floats
    objective: Floats

    def order(self) -> Ints:
        """Numbers of the plans, the best first: least violation, then least objective."""
        return np.lexsort((np.arange(len(self.figures)), self.objective, self.violation))


class Archive:
    """Plans are looked at through it, so that every strategy counts and remembers alike.

    Figures are the task's own `evaluate` where it has one (no plan is asked for twice), else the
    tables'. A plan that is in the task's cuts is never the best, nor in the front.
    """

    def __init__(self, task: Task, tables: Tables | None = None) -> None:
        self.task = task
        self.tables = Tables(task.problem) if tables is None else tables
        known = [cut for cut in task.cuts if self.tables.knows(cut)]
        self._cuts = {row.tobytes() for row in _rows(self.tables.encode(known))}
        self._asked: dict[bytes, Price | None] = {}
        self._codes: Ints = np.zeros((0, len(self.tables.choices)), np.int64)  # of the front
        self._front = figures_of([])
        self._best: NDArray[np.int64] | None = None
        self._closest: NDArray[np.int64] | None = None
        self._least = (np.inf, np.inf)  # violation and objective of the closest plan, the best one's at last
        self._curve: list[tuple[int, float]] = []
        self.evaluations = 0

    @property
    def left(self) -> int:
        """Plans that the task still allows to look at."""
        return max(0, self.task.evaluations - self.evaluations)

    @property
    def ended(self) -> bool:
        """Whether the search has to end: nothing left, or somebody stops it."""
        return not self.left or self.task.stopped()

    @property
    def best(self) -> Ints | None:
        """Codes of the best plan within the limits."""
        return self._best

    def starts(self) -> Ints:
        """Plans to begin from, as codes: the problem's own (the unchanged model), then the task's.

        Those of the task alone that this problem has and that can be written.
        """
        known = [self.task.problem.start, *(start for start in self.task.start if self.tables.knows(start))]
        codes = self.tables.encode(list({tuple(sorted(s.items())): s for s in known}.values()))
        usable = self.tables.evaluate(codes).possible
        usable[0] = True
        return codes[usable]

    def look(self, codes: NDArray[np.integer]) -> Looked:
        """The figures of these plans [plans, choices]; all of them count and are remembered.

        Plans beyond what the task allows are not looked at: the answer is as long as `left` was.
        """
        rows = _rows(codes[: self.left])
        figures = self._figures(rows)
        violation, objective = score(figures, self.task.budget)
        gone = self._cut(rows)
        violation = np.where(gone, np.inf, violation)
        objective = np.where(gone, np.inf, objective)
        looked = Looked(figures, violation, objective)
        self._remember(rows, looked)
        self.evaluations += len(rows)
        emit(self.task.listeners, Progress("search", self.evaluations, self.task.evaluations))
        return looked

    def outcome(self, strategy: str) -> Outcome:
        """All that was found. Of the best plan, what earns nothing is taken back where tables can tell."""
        best = None if self._best is None else self.tables.decode(self._best)
        if best is not None and self.task.evaluate is None:
            best = without_worthless(self.task, best, self.tables)
        closest = None
        if best is None and self._closest is not None:
            closest = self.tables.decode(self._closest)
        stopped = bool(self.left) and self.task.stopped()
        return Outcome(
            best,
            strategy,
            self.evaluations,
            closest=closest,
            front=self.front(),
            curve=tuple(self._curve),
            stopped=stopped,
        )

    def front(self) -> tuple[Point, ...]:
        """Plans within the limits that no other plan seen beats in latency, damage and footprint."""
        points = []
        for row in self._codes:
            price = self.price(row)
            if price is not None:
                points.append(Point(self.tables.decode(row), price))
        return tuple(points)

    def price(self, row: Ints) -> Price | None:
        """The price of a plan: as it was asked for, else by the tables."""
        key = row.tobytes()
        return self._asked[key] if key in self._asked else self.task.problem.total(self.tables.decode(row))

    def _figures(self, rows: Ints) -> Figures:
        evaluate = self.task.evaluate
        if evaluate is None:
            return self.tables.evaluate(rows)
        new = {row.tobytes(): row for row in rows if row.tobytes() not in self._asked}
        if new:
            answers = evaluate([self.tables.decode(row) for row in new.values()])
            self._asked.update(zip(new, answers, strict=True))
        return figures_of([self._asked[row.tobytes()] for row in rows])

    def _cut(self, rows: Ints) -> Bools:
        if not self._cuts:
            return np.zeros(len(rows), bool)
        return np.array([row.tobytes() in self._cuts for row in rows], bool)

    def _remember(self, rows: Ints, looked: Looked) -> None:
        self._note_best(rows, looked)
        fit = looked.violation == 0
        if not fit.any():
            return
        codes = np.concatenate((self._codes, rows[fit]))
        figures = joined_figures((self._front, looked.figures.rows(fit)))
        kept = front(figures)
        kept = kept[spread_out(figures.rows(kept), MOST_POINTS)]
        self._codes, self._front = codes[kept], figures.rows(kept)

    def _note_best(self, rows: Ints, looked: Looked) -> None:
        """Takes the batch in its order, so that the curve has every improvement at its count."""
        pairs = zip(looked.violation.tolist(), looked.objective.tolist(), strict=True)
        for number, pair in enumerate(pairs):
            if pair >= self._least or pair[0] == np.inf:
                continue
            self._least, self._closest = pair, rows[number].copy()
            if pair[0] == 0:
                self._best = self._closest
                self._curve.append((self.evaluations + number + 1, pair[1]))


def _rows(codes: NDArray[np.integer]) -> Ints:
    return np.ascontiguousarray(codes, dtype=np.int64)


def spread_out(figures: Figures, most: int) -> Ints:
    """At most so many plans of a front, in their order: the ends, and those farthest from their neighbours.

    The crowding distance of NSGA-II (Deb et al., "A fast and elitist multiobjective genetic
    algorithm", 2002, section III.B).
    """
    if len(figures) <= most:
        return np.arange(len(figures))
    room = np.zeros(len(figures))
    for figure in (figures.latency_us, figures.damage, figures.footprint_bytes.astype(np.float64)):
        order = np.argsort(figure, kind="stable")
        ranked = figure[order]
        wide = max(float(ranked[-1] - ranked[0]), 1e-12)
        room[order[1:-1]] += (ranked[2:] - ranked[:-2]) / wide
        room[order[[0, -1]]] = np.inf
    return np.sort(np.argsort(-room, kind="stable")[:most])


def without_worthless(task: Task, assignment: Assignment, tables: Tables) -> dict[str, str]:
    """The plan with every change taken back that earns nothing: between equals, fewer rewrites win."""
    kept = {choice: name for choice, name in assignment.items() if name != KEEP}
    price = task.problem.total(kept)
    assert price is not None, "a plan that was found is possible"
    best = objective_value(price, task.budget.objective)
    cuts = [{c: n for c, n in cut.items() if n != KEEP} for cut in task.cuts]
    now = best
    for choice in sorted(kept):
        fewer = {c: v for c, v in kept.items() if c != choice}
        more = _more(task, choice, kept, fewer)
        if more is not None and now + more > best * (1 + 2 * WORTHLESS):
            continue  # as its own scopes say already: the whole plan need not be added up
        violation, objective = score(tables.evaluate(tables.encode([fewer])), task.budget)
        if violation[0] == 0 and objective[0] <= best * (1 + WORTHLESS) and fewer not in cuts:
            kept, now = fewer, float(objective[0])
    return kept


def _more(task: Task, choice: str, one: Assignment, two: Assignment) -> float | None:
    """How much larger the objective of the second plan is, which differs in this choice alone.

    None where the objective is no sum over scopes, or a plan is impossible.
    """
    objective, more = task.budget.objective, 0.0
    if objective not in _SUMS:
        return None
    for scope in task.problem.scopes_of.get(choice, ()):
        before, after = scope.price(one), scope.price(two)
        if before is None or after is None:
            return None
        more += objective_value(after, objective) - objective_value(before, objective)
    return more
