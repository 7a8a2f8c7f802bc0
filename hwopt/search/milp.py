"""The best plan as a mixed-integer program, with a proof of how good it is.

See `program` for what is solved, `highs` for what solves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hwopt.scope import Assignment, Problem
from hwopt.search.archive import without_worthless
from hwopt.search.arrays import Floats, Ints
from hwopt.search.highs import Solved, minimise
from hwopt.search.problem import Budget, Objective, Outcome, Point, Task, objective_value
from hwopt.search.program import Linear, Program, known_cuts
from hwopt.search.tables import Tables, figures_of, front, score

NAME = "milp"


def search(task: Task) -> Outcome:
    """The plan with the smallest objective within the budget, and the bound that proves it.

    Sums come from the tables alone; stops on counts (branch-and-bound nodes), never on clocks.
    Where no plan meets the limits, `closest` has the least relative excess over them, added up. A bound
    beside no plan means that none was found, not that there is none.
    """
    return _Search(task).outcome()


def solve(problem: Problem, budget: Budget, seed: int = 0, cuts: Sequence[Assignment] = ()) -> Outcome:
    """`search` for those who only have a problem and a budget."""
    return search(Task(problem, budget, seed, cuts=cuts))


def frontier(task: Task, damage_limits: Sequence[float]) -> tuple[Point, ...]:
    """The front of latency, damage and footprint, by one limit on damage after the other.

    For each limit, within the task's own, the plan of least latency and that of least footprint,
    each begun from the one before; what another plan of them beats in all three is left out. By
    latency. The epsilon-constraint method (Haimes, Lasdon and Wismer, "On a bicriterion formulation
    of the problems of integrated system identification and system optimization", 1971).
    """
    found: list[Assignment] = []
    for objective in (Objective.LATENCY, Objective.FOOTPRINT):
        for limit in sorted(damage_limits):
            own = task.budget.damage
            allowed = limit if own is None else min(limit, own)
            budget = replace(task.budget, objective=objective, damage=allowed)
            outcome = search(replace(task, budget=budget, start=[*found[-1:], *task.start]))
            if outcome.assignment is not None:
                found.append(outcome.assignment)
            if outcome.stopped:
                break
    prices = [task.problem.total(assignment) for assignment in found]
    points = [(a, p) for a, p in zip(found, prices, strict=True) if p is not None]
    return tuple(Point(*points[n]) for n in front(figures_of([price for _, price in points])))


class _Search:
    """One task: its program, its tables, and the plans that solutions stand for."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.tables = Tables(task.problem)
        self.cuts = known_cuts(task.cuts, self.tables)

    def outcome(self) -> Outcome:
        begin, nodes = self._begin(), 0
        while True:
            program = self._program(elastic=False)[0]
            solved = self._solve(program, program.figure(self.task.budget.objective), begin)
            nodes += solved.nodes
            if solved.values is None:
                return (
                    self._found(begin, solved, nodes) if begin is not None else self._refused(solved, nodes)
                )
            plan = program.codes(solved.values)
            if self._holds(plan):
                return self._found(plan, solved, nodes)
            self.cuts.append(
                self.tables.decode(plan)
            )  # within the solver's tolerance of a limit, but over it

    def _program(self, elastic: bool) -> tuple[Program, list[int]]:
        program = Program(self.tables.arrays)
        slacks = program.limit(self.task.budget, elastic)
        for row in self.tables.encode(self.cuts):
            program.forbid(row.tolist())
        return program, slacks

    def _solve(self, program: Program, figure: Linear, begin: Sequence[int] | None) -> Solved:
        task = self.task
        start = None
        if begin is not None:
            peak = self.tables.evaluate(np.array([begin])).peak_bytes[0]
            start = program.solution(begin, int(peak))
        return minimise(program, figure, task.seed, task.stopped, start, task.listeners)

    def _begin(self) -> list[int] | None:
        """The best plan within the limits that is known beforehand."""
        codes, violation, objective = self._known()
        order = np.lexsort((objective, violation))
        return codes[order[0]].tolist() if len(order) and violation[order[0]] == 0 else None

    def _known(self) -> tuple[Ints, Floats, Floats]:
        """The problem's own start and the task's plans, with their scores."""
        plans = [p for p in (self.task.problem.start, *self.task.start) if self.tables.knows(p)]
        codes = self.tables.encode(plans)
        violation, objective = score(self.tables.evaluate(codes), self.task.budget)
        cut = {tuple(row) for row in self.tables.encode(self.cuts).tolist()}
        violation[[tuple(row) in cut for row in codes.tolist()]] = np.inf
        return codes, violation, objective

    def _holds(self, plan: Sequence[int]) -> bool:
        violation, _ = score(self.tables.evaluate(np.array([plan])), self.task.budget)
        return bool(violation[0] == 0)

    def _found(self, plan: Sequence[int], solved: Solved, nodes: int) -> Outcome:
        budget = self.task.budget
        assignment = without_worthless(self.task, self.tables.decode(plan), self.tables)
        price = self.task.problem.total(assignment)
        assert price is not None, "what was solved for is possible"
        value = objective_value(price, budget.objective)
        bound = min(solved.bound, value) if np.isfinite(solved.bound) else float("nan")
        gap = (value - bound) / abs(value) if value else value - bound
        return Outcome(
            assignment, NAME, nodes, bound, gap, front=(Point(assignment, price),),
            curve=solved.curve, stopped=solved.stopped,
        )  # fmt: skip

    def _refused(self, solved: Solved, nodes: int) -> Outcome:
        """No plan: the closest one, by a program whose limits may be broken at a price."""
        bound = float("nan") if solved.proven or not np.isfinite(solved.bound) else solved.bound
        codes, violation, _ = self._known()
        least = int(np.argmin(violation)) if len(violation) else 0
        closest = self.tables.decode(codes[least]) if np.isfinite(violation[least]) else None
        if not solved.stopped:
            program, slacks = self._program(elastic=True)
            weights = np.zeros(len(program.lower))
            weights[slacks] = 1.0
            elastic = self._solve(program, Linear(0.0, weights), None)
            nodes += elastic.nodes
            if elastic.values is not None:
                closest = self.tables.decode(program.codes(elastic.values))
        return Outcome(None, NAME, nodes, bound, closest=closest, stopped=solved.stopped)
