"""A plan that is possible at all, where not every choice may keep."""

from __future__ import annotations

from collections.abc import Mapping

from hwopt.choice import KEEP
from hwopt.scope import Problem
from hwopt.search.problem import Budget


def possible(problem: Problem) -> dict[str, str] | None:
    """An assignment for which every table has an entry, keeping what may be kept; None: there is none.

    {} in the ordinary case: the unchanged model.
    """
    if problem.total({}) is not None:
        return {}
    names = supported(problem)
    if any(not left for left in names.values()):
        return None
    plan = {choice: left[0] for choice, left in names.items() if KEEP not in left}
    if problem.total(plan) is not None:
        return plan
    from hwopt.search.milp import solve  # brings a solver, which ordinary problems do not need

    found = solve(problem, Budget()).assignment
    return None if found is None else dict(found)


def supported(problem: Problem) -> dict[str, tuple[str, ...]]:
    """Of every choice that a table has, the values that each of its tables has an entry for.

    Entries count while all their values do (arc consistency: Mackworth, "Consistency in Networks of
    Relations", 1977).
    """
    order = {c.id: (KEEP, *(value.name for value in c.values)) for c in problem.choices}
    scoped = {id for scope in problem.scopes for id in scope.choices}
    touched = [id for id in order if id in scoped]
    left = {choice: set(order[choice]) for choice in touched}
    while True:
        before = {choice: len(names) for choice, names in left.items()}
        for scope in problem.scopes:
            _narrow(scope.choices, scope.table, left)
        if before == {choice: len(names) for choice, names in left.items()}:
            return {choice: tuple(n for n in order[choice] if n in left[choice]) for choice in touched}


def _narrow(
    choices: tuple[str, ...], table: Mapping[tuple[str, ...], object], left: dict[str, set[str]]
) -> None:
    alive = [key for key in table if all(n in left[c] for c, n in zip(choices, key, strict=True))]
    for position, choice in enumerate(choices):
        left[choice] &= {key[position] for key in alive}
