"""One search as the run's settings ask for it."""

from __future__ import annotations

from collections.abc import Sequence

from hwopt.scope import Assignment, Problem
from hwopt.search.problem import Budget, Outcome, Task
from hwopt.search.strategies import strategy
from hwopt.trace import Listeners
from hwopt.work import Work


def propose(
    work: Work,
    problem: Problem,
    budget: Budget,
    cuts: Sequence[Assignment] = (),
    listeners: Listeners = (),
) -> Outcome:
    """The best plan that the run's strategy finds within a budget."""
    chosen = work.settings
    search = strategy(chosen.search)
    return search(Task(problem, budget, chosen.seed, cuts=cuts, stopped=work.stop, listeners=listeners))
