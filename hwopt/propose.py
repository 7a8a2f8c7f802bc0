"""One search as the run's settings ask for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hwopt.scope import Assignment, Problem
from hwopt.search.milp import frontier
from hwopt.search.problem import Budget, Evaluate, Outcome, Point, Task
from hwopt.search.strategies import strategy
from hwopt.trace import Listeners
from hwopt.work import Work

IN_THE_LOOP = 200  # plans that the oracle is asked for in one search, where nobody says how many
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5)  # of the chosen plan's damage: where the trade-off is shown


def propose(
    work: Work,
    problem: Problem,
    budget: Budget,
    cuts: Sequence[Assignment] = (),
    listeners: Listeners = (),
    evaluate: Evaluate | None = None,
) -> Outcome:
    """The best plan that the run's strategy finds within a budget.

    evaluate: asked for whole plans in the place of the tables.
    """
    chosen = work.settings
    task = Task(
        problem, budget, chosen.seed, cuts=cuts, stopped=work.stop, store=chosen.store, listeners=listeners
    )
    if evaluate is not None:
        task = replace(task, evaluate=evaluate, evaluations=IN_THE_LOOP)
    if chosen.evaluations is not None:
        task = replace(task, evaluations=chosen.evaluations)
    return strategy(chosen.search)(task)


def trade_off(work: Work, problem: Problem, damage: float) -> tuple[Point, ...]:
    """Latency against damage against footprint, as predicted, around a plan of so much added-up damage.

    Without the run's limits: a reader wants to see what the next step in either direction would cost.
    """
    limits = [share * damage for share in SHARES] if damage > 0 else [0.0]
    task = Task(problem, Budget(), work.settings.seed, stopped=work.stop)
    return frontier(task, limits)
