"""Searches, measures what the plan really does, and searches again with what was learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from hwopt.damage import Damage
from hwopt.link import Link, Point, estimated, prior, suffered
from hwopt.scope import Assignment, Price, Problem
from hwopt.search.milp import solve
from hwopt.search.problem import Budget, Outcome, objective_value
from hwopt.settings import AccuracyLimit
from hwopt.trace import Listeners, Progress, emit

MAX_ROUNDS = 5
SMALLEST_STEP = 0.05  # limits on damage closer than this are not worth another measurement


@dataclass(frozen=True)
class Round:
    """One plan that was searched, repaired and measured."""

    assignment: Assignment
    predicted: Price
    damage: Damage
    within_limit: bool


@dataclass(frozen=True)
class Decision:
    """The plan that was settled on.

    rounds: everything that was measured on the way to it; link: what the measurements say of how
    damage adds up, None where nothing was measured.
    """

    assignment: Assignment
    predicted: Price
    outcome: Outcome
    damage: Damage | None
    rounds: tuple[Round, ...]
    link: Link | None = None


def first_guess(limit: AccuracyLimit) -> float:
    """The added-up damage at which the limit is expected before anything was measured."""
    return prior(limit).allowed(limit)


def broken(damage: Damage, limit: AccuracyLimit) -> bool:
    """Whether the measured damage is beyond the limit, as `suffered` tells it."""
    return suffered(damage, limit) > limit.value


def decide_exact(problem: Problem, budget: Budget, seed: int) -> Decision | None:
    """The best plan of EXACT values; None where the budget cannot be met."""
    outcome = solve(problem, budget, seed)
    if outcome.assignment is None:
        return None
    predicted = problem.total(outcome.assignment)
    assert predicted is not None
    return Decision(outcome.assignment, predicted, outcome, None, ())


def decide_lossy(
    problem: Problem,
    budget: Budget,
    limit: AccuracyLimit,
    measure: Callable[[Assignment], Damage],
    seed: int,
    listeners: Listeners = (),
) -> Decision | None:
    """The best plan found whose measured, cross-fitted damage keeps the limit.

    problem: with damage scopes. The limit on added-up damage is moved between the largest that
    held and the smallest that did not, as the measurements tell. None where no plan meets the
    other limits; a plan that keeps everything has no damage and needs no measurement.
    """
    held, failed, best = 0.0, float("inf"), decide_exact(problem, replace(budget, damage=0.0), seed)
    rounds: list[Round] = []
    allowed = first_guess(limit)
    for number in range(MAX_ROUNDS):
        emit(listeners, Progress("decide", number, MAX_ROUNDS))
        decision = decide_exact(problem, replace(budget, damage=allowed), seed)
        if decision is None:
            if allowed >= failed:
                break
            allowed = min(allowed * 2, 0.5 * (allowed + failed)) if failed < float("inf") else allowed * 2
            continue
        measured = _known(rounds, decision.assignment)
        if measured is None:
            damage = measure(decision.assignment)
            measured = Round(decision.assignment, decision.predicted, damage, not broken(damage, limit))
            rounds.append(measured)
        if measured.within_limit:
            held = max(held, allowed)
            if best is None or _better(decision, best, budget):
                best = replace(decision, damage=measured.damage)
        else:
            failed = min(failed, decision.predicted.damage)
        if not decision.assignment or failed - held < SMALLEST_STEP * held:
            break
        allowed = _next_limit(link_of(rounds, limit).allowed(limit), held, failed)
    link = link_of(rounds, limit) if rounds else None
    return None if best is None else replace(best, rounds=tuple(rounds), link=link)


def link_of(rounds: Sequence[Round], limit: AccuracyLimit) -> Link:
    """What these rounds say of the link between single damage, joint damage and the limit's figure."""
    points = [Point(r.predicted.damage, r.damage.divergence, suffered(r.damage, limit)) for r in rounds]
    return estimated(points, limit)


def _known(rounds: list[Round], assignment: Mapping[str, str]) -> Round | None:
    return next((r for r in rounds if dict(r.assignment) == dict(assignment)), None)


def _better(one: Decision, two: Decision, budget: Budget) -> bool:
    objective = budget.objective
    return objective_value(one.predicted, objective) < objective_value(two.predicted, objective)


def _next_limit(wished: float, held: float, failed: float) -> float:
    """Where the measurements say the limit lies, kept well inside what is still open."""
    if failed == float("inf"):
        return min(max(wished, 1.25 * max(held, 1e-9)), 2.5 * max(held, 1e-9))
    room = failed - held
    return min(max(wished, held + 0.2 * room), held + 0.8 * room)
