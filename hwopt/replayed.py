"""A run that carries out a plan from a file, edited by hand maybe, and prices each of its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import onnx_ir as ir

from hwopt.choice import Choice, Value
from hwopt.damage.measure import Damage
from hwopt.damage.tables import DamageTables
from hwopt.decide import Decision, broken
from hwopt.errors import BadInput, BudgetNotMet, RewriteFailed
from hwopt.held import limits_of
from hwopt.judge import unchanged
from hwopt.refusal import broken_limits, too_harmful
from hwopt.replay import check_plan, is_lossy, planned_assignment
from hwopt.rewrite import chosen_values, rewrite, steps_made
from hwopt.scope import Problem
from hwopt.search.problem import Outcome
from hwopt.settle import Data, Settled, carry_out
from hwopt.trace import Listeners
from hwopt.work import Work


def planned_choices(
    work: Work, base: ir.Model, folds: Sequence[Value], offered: Sequence[Choice]
) -> tuple[Choice, ...]:
    """The choices that the run's plan decides, each with its one value.

    base: the canonical model; offered: everything that may be decided about it, values of every risk
    among them. Raises BadInput where the plan was made for something else, names what there is not, or
    has steps that exclude one another.
    """
    chosen = named_choices(work, folds, offered)
    _require_possible(base, chosen)
    return chosen


def named_choices(work: Work, folds: Sequence[Value], offered: Sequence[Choice]) -> tuple[Choice, ...]:
    """As `planned_choices`, without trying whether the steps can be written together."""
    plan = work.replayed
    assert plan is not None, "asked for replays alone"
    fingerprint = None if work.calibration is None else work.calibration.fingerprint
    check_plan(plan, work.sha256, work.target, fingerprint, lossy=False)
    assignment = planned_assignment(plan, folds, offered)
    lossy = is_lossy(assignment, offered) or work.settings.quantize is not None
    check_plan(plan, work.sha256, work.target, fingerprint, lossy)
    return tuple(
        replace(choice, values=tuple(v for v in choice.values if v.name == assignment[choice.id]))
        for choice in offered
        if choice.id in assignment
    )


def _require_possible(base: ir.Model, chosen: Sequence[Choice]) -> None:
    """Raises BadInput, naming the steps, where they cannot be written together."""
    if (reason := _failure(base, chosen)) is None:
        return
    for few in (*((choice,) for choice in chosen), *combinations(chosen, 2)):
        if (one := _failure(base, few)) is not None:
            steps = " and ".join(f"{choice.id} = {choice.values[0].name}" for choice in few)
            alone = "cannot be written" if len(few) == 1 else "exclude one another"
            raise BadInput(f"the plan's {steps} {alone}: {one}")
    raise BadInput(f"the plan's steps cannot be written together: {reason}")


def _failure(base: ir.Model, chosen: Sequence[Choice]) -> str | None:
    try:
        rewrite(base, chosen_values(chosen, _taken(chosen)))
    except RewriteFailed as error:
        return str(error)
    return None


def _taken(chosen: Sequence[Choice]) -> dict[str, str]:
    return {choice.id: choice.values[0].name for choice in chosen}


def steps_priced(
    problem: Problem, chosen: Sequence[Choice], data: Data | None, listeners: Listeners = ()
) -> Problem:
    """The tables of the plan's choices, with the damage of every LOSSY step by itself."""
    if data is None:
        return problem
    damage = DamageTables(chosen, data.harm.of_values, listeners)
    for choice in chosen:
        damage.measure_chosen(_taken([choice]))
    return replace(problem, scopes=(*problem.scopes, *damage.scopes()))


def replay(
    work: Work,
    base: ir.Model,
    chosen: Sequence[Choice],
    problem: Problem,
    data: Data | None,
    listeners: Listeners = (),
) -> Settled:
    """Carries out the plan; one without steps gives the input itself.

    Raises BudgetNotMet where it breaks a limit that was asked for.
    """
    assignment = _taken(chosen)
    damage = None
    if data is not None and is_lossy(assignment, chosen):
        damage = data.harm.of_plan(chosen, assignment)
        _require_accurate(work, damage)
    predicted = problem.total(assignment) or problem.fixed
    outcome = Outcome(assignment, "replay", 0, predicted.latency_us.value, 0.0)
    decision = Decision(assignment, predicted, outcome, damage, ())
    oracle = work.ask([work.model])[0]
    settled = carry_out(work, base, problem, decision, data, oracle, limits_of(work, oracle), listeners)
    if not all(limit.met for limit in settled.limits):
        raise BudgetNotMet(f"the plan breaks a limit: {broken_limits(settled.limits)}")
    nothing = not assignment and steps_made(base) == 0 and work.settings.quantize is None
    return unchanged(work, settled) if nothing else settled


def _require_accurate(work: Work, damage: Damage) -> None:
    """A limit on accuracy that nobody asked for does not hold back a plan that somebody chose."""
    asked = work.settings.max_drop is not None or work.settings.max_divergence is not None
    if asked and work.limit is not None and broken(damage, work.limit):
        raise BudgetNotMet(f"the plan breaks a limit: {too_harmful(damage, work.limit)}")
