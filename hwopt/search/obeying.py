"""Strategies for problems in which not everything may keep, or in which somebody prefers values.

Whoever searches begins at the unchanged model and walks from there. Where pins make that impossible,
names are exchanged: what the problem's `start` has stands for *keep*, and back again in what
was found. So a strategy needs to know nothing of pins, and wastes no plan on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hwopt.choice import KEEP, Choice
from hwopt.scope import Assignment, Price, Problem, Scope
from hwopt.search.possible import possible, supported
from hwopt.search.problem import Evaluate, Outcome, Point, Strategy, Task, objective_value

_SLACK = 1e-9


def obeying(search: Strategy) -> Strategy:
    """The same strategy, which also keeps to `Problem.start` and heeds `Problem.wishes`."""

    def run(task: Task, /) -> Outcome:
        return _wishing(_pinned(search), task) if task.problem.wishes else _pinned(search)(task)

    return run


def _pinned(search: Strategy) -> Strategy:
    """Exchanges names where the problem cannot keep everything."""

    def run(task: Task, /) -> Outcome:
        if not task.problem.start:
            return search(task)
        swap = _Swap(dict(task.problem.start))
        return swap.outcome(search(swap.task(task)))

    return run


@dataclass(frozen=True)
class _Swap:
    """Exchanges *keep* and the value that the start has, choice by choice; its own inverse."""

    start: Mapping[str, str]

    def name(self, choice: str, name: str) -> str:
        stands = self.start.get(choice, KEEP)
        return stands if name == KEEP else KEEP if name == stands else name

    def plan(self, assignment: Assignment) -> dict[str, str]:
        choices = dict.fromkeys([*assignment, *self.start])
        names = {choice: self.name(choice, assignment.get(choice, KEEP)) for choice in choices}
        return {choice: name for choice, name in names.items() if name != KEEP}

    def task(self, task: Task) -> Task:
        return replace(
            task,
            problem=self.problem(task.problem),
            cuts=[self.plan(cut) for cut in task.cuts],
            start=[self.plan(start) for start in task.start],
            evaluate=None if task.evaluate is None else self.evaluate(task.evaluate),
        )

    def evaluate(self, ask: Evaluate) -> Evaluate:
        def asked(plans: Sequence[Assignment], /) -> Sequence[Price | None]:
            return ask([self.plan(plan) for plan in plans])

        return asked

    def problem(self, problem: Problem) -> Problem:
        left = supported(problem)
        choices = tuple(self.choice(choice, left.get(choice.id, (KEEP,))) for choice in problem.choices)
        scopes = tuple(self.scope(scope) for scope in problem.scopes)
        return replace(problem, choices=choices, scopes=scopes, start={})

    def choice(self, choice: Choice, left: Sequence[str]) -> Choice:
        """Without the value that would stand for *keep*, where the choice may not keep."""
        if choice.id not in self.start or KEEP in left:
            return choice
        return replace(choice, values=tuple(v for v in choice.values if v.name != self.start[choice.id]))

    def scope(self, scope: Scope) -> Scope:
        if not self.start.keys() & set(scope.choices):
            return scope
        table = {
            tuple(self.name(choice, name) for choice, name in zip(scope.choices, key, strict=True)): price
            for key, price in scope.table.items()
        }
        return replace(scope, table=table)

    def outcome(self, outcome: Outcome) -> Outcome:
        found, closest = outcome.assignment, outcome.closest
        if found is None and closest is None:
            closest = {}
        return replace(
            outcome,
            assignment=None if found is None else self.plan(found),
            closest=None if closest is None else self.plan(closest),
            front=tuple(Point(self.plan(point.assignment), point.price) for point in outcome.front),
        )


def _wishing(search: Strategy, task: Task) -> Outcome:
    """The best plan, then the best with as many wishes as cost no more than allowed.

    All wishes together are allowed `Problem.within` of the objective of the best plan without them.
    They are tried at once, then one by one in their order; a choice has at most one.
    """
    first = search(task)
    if first.assignment is None:
        return first
    most = _figure(task, first.assignment) * (1 + task.problem.within) + _SLACK
    best, taken, asked = first, dict[str, str](), first.evaluations
    for wished in _attempts(task.problem.wishes):
        if task.stopped() or wished.items() <= taken.items():
            continue
        if any(choice in taken for choice in wished):
            continue
        wanted = {**taken, **wished}
        if _has(best.assignment, wanted):
            taken = wanted
            continue
        problem = only(task.problem, wanted)
        if problem is None:
            continue
        found = search(replace(task, problem=problem))
        asked += found.evaluations
        if found.assignment is not None and _figure(task, found.assignment) <= most:
            best, taken = found, wanted
    return _combined(first, best, asked, task)


def _attempts(wishes: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    together: dict[str, str] = {}
    for choice, name in wishes:
        together.setdefault(choice, name)
    return [together, *({choice: name} for choice, name in wishes)]


def _has(assignment: Assignment | None, wanted: Mapping[str, str]) -> bool:
    return assignment is not None and all(assignment.get(c, KEEP) == name for c, name in wanted.items())


def _figure(task: Task, assignment: Assignment) -> float:
    prices = [task.problem.total(assignment)] if task.evaluate is None else task.evaluate([assignment])
    return float("inf") if prices[0] is None else objective_value(prices[0], task.budget.objective)


def _combined(first: Outcome, best: Outcome, asked: int, task: Task) -> Outcome:
    """The plan with the wishes, and the proof of how good any plan could be."""
    if best is first:
        return first
    assert best.assignment is not None
    figure = _figure(task, best.assignment)
    gap = abs(figure - first.bound) / max(abs(figure), 1e-9)  # nan where nothing was proved
    return replace(first, assignment=best.assignment, evaluations=asked, gap=gap, stopped=best.stopped)


def only(problem: Problem, wanted: Mapping[str, str]) -> Problem | None:
    """The problem in which these choices have these values; None where that is impossible."""
    scopes = tuple(_only(scope, wanted) for scope in problem.scopes)
    left = replace(problem, scopes=scopes, wishes=())
    start = {c: n for c, n in {**problem.start, **wanted}.items() if n != KEEP}
    if left.total(start) is not None:
        return replace(left, start=start)
    found = possible(left)
    return None if found is None else replace(left, start=found)


def _only(scope: Scope, wanted: Mapping[str, str]) -> Scope:
    at = [(position, wanted[choice]) for position, choice in enumerate(scope.choices) if choice in wanted]
    if not at:
        return scope
    table = {k: p for k, p in scope.table.items() if all(k[position] == name for position, name in at)}
    return replace(scope, table=table)
