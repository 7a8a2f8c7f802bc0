"""From a priced problem to a changed model that keeps every limit on the figures that count.

Predictions propose; the arena of the rewritten model, the oracle's figure for the whole model
and the cross-fitted damage dispose. A limit that breaks there tightens the search's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from hwopt.assess import Assessment, OracleAnswer
from hwopt.choice import Risk
from hwopt.damage.harm import WRITTEN_EFFORT, Harm
from hwopt.damage.measure import Damage
from hwopt.decide import Bench, Decision, decide
from hwopt.held import (
    Checked,
    Inspection,
    check_limits,
    exchange,
    first_budget,
    limits_of,
    objective_that_counts,
    tightened,
)
from hwopt.propose import propose, trade_off
from hwopt.provenance import note_made
from hwopt.refusal import refused
from hwopt.repair.fits import fitted
from hwopt.repair.reference import Reference
from hwopt.rewrite import carry_out_steps, chosen_values, rewrite
from hwopt.scope import Assignment, Price, Problem
from hwopt.search.curate import curate
from hwopt.search.problem import Budget, Objective, Outcome
from hwopt.trace import Listeners, ModelMade, emit
from hwopt.whole import whole_prices
from hwopt.work import Work

MAX_ATTEMPTS = 4  # plans that are repaired on all samples for one that keeps the limits


@dataclass(frozen=True)
class Data:
    """Calibration data at work: the canonical model's values on it, and what values do to its output.

    unquantised: why no int8 form is judged, where one should be.
    """

    reference: Reference
    harm: Harm
    unquantised: str = ""


@dataclass(frozen=True)
class Settled:
    """The plan that was settled on, and the model it gives.

    model: repaired on all samples. oracle_before, oracle_after: the oracle's figures where it has
    any. tuned: gradient steps that were made. accuracy: all that was measured of the plan, the
    precision of the file first. written: the form that goes into the file where that is not
    `model` itself. notes: what a reader must know. unproved: the input came back because no rewritten
    model could be held against it.
    """

    decision: Decision
    model: ir.Model
    after: Assessment
    oracle_before: OracleAnswer
    oracle_after: OracleAnswer
    limits: tuple[Checked, ...]
    tuned: int = 0
    accuracy: tuple[Damage, ...] = ()
    written: ir.Model | None = None
    notes: tuple[str, ...] = ()
    unproved: bool = False

    @property
    def delivered(self) -> ir.Model:
        """What goes into the file."""
        return self.model if self.written is None else self.written

    def noted(self, *notes: str) -> Settled:
        """The same with these notes more."""
        return replace(self, notes=(*self.notes, *notes))


def settle(
    work: Work, base: ir.Model, problem: Problem, data: Data | None, listeners: Listeners = ()
) -> Settled:
    """Searches until a plan keeps every limit where it counts.

    Raises BudgetNotMet, naming the closest plan, where none was found.
    """
    oracle_before = work.ask([work.model])[0]
    targets = limits_of(work, oracle_before)
    in_the_loop = work.settings.in_the_loop
    budget = first_budget(work, targets, 1.0 if in_the_loop else exchange(work, base, problem))
    curated = curate(problem)
    bench = _bench(work, base, curated.problem, data, oracle_before, targets, listeners)
    for _ in range(MAX_ATTEMPTS):
        decision, deciding = decide(bench, budget, None if data is None else work.limit)
        if decision is None:
            raise refused(deciding, work.limit)
        front = trade_off(work, curated.problem, decision.predicted.damage)
        decision = replace(decision, dropped=curated.dropped, front=front)
        settled = carry_out(work, base, problem, decision, data, oracle_before, targets, listeners)
        if all(limit.met for limit in settled.limits):
            return settled
        # Fitted weights may weigh more than those that were looked at: they compress less.
        deciding.missed(decision.assignment, decision.predicted.damage, settled.limits)
        budget = tightened(deciding.budget, settled.limits)
    raise refused(deciding, work.limit)


def _bench(
    work: Work,
    base: ir.Model,
    problem: Problem,
    data: Data | None,
    oracle_before: OracleAnswer,
    targets: Mapping[str, float],
    listeners: Listeners,
) -> Bench:
    """What deciding about this run's model stands on."""

    def inspect(assignment: Assignment, price: Price) -> Inspection:
        model = rewrite(base, chosen_values(problem.choices, assignment))
        after, oracle_after, limits = _weighed(work, model, targets, oracle_before)
        if work.settings.objective == Objective.DAMAGE:
            return Inspection(limits, price.damage)
        figure = objective_that_counts(work.settings.objective, after, oracle_before, oracle_after)
        return Inspection(limits, figure)

    def measure(assignment: Assignment) -> Damage:
        assert data is not None, "only plans for data are measured"
        return data.harm.of_plan(problem.choices, assignment)

    evaluate = whole_prices(work, base, problem) if work.settings.in_the_loop else None

    def proposal(budget: Budget, cuts: Sequence[Assignment]) -> Outcome:
        return propose(work, problem, budget, cuts, listeners, evaluate)

    return Bench(problem, proposal, inspect, measure, work.stop, listeners)


def carry_out(
    work: Work,
    base: ir.Model,
    problem: Problem,
    decision: Decision,
    data: Data | None,
    oracle_before: OracleAnswer,
    targets: Mapping[str, float],
    listeners: Listeners = (),
) -> Settled:
    """Rewrites, repairs on all samples, and holds the limits against the result."""
    values = chosen_values(problem.choices, decision.assignment)
    model = carry_out_steps(base, values, listeners)
    if data is not None and any(value.risk != Risk.EXACT for value in values):
        seed = work.settings.seed
        structure = model
        model = fitted(data.reference, model, values, seed=seed, effort=WRITTEN_EFFORT, listeners=listeners)
        note_made(structure, model, "repaired")
        emit(listeners, ModelMade("repair", model))
    after, oracle_after, checked = _weighed(work, model, targets, oracle_before)
    return Settled(decision, model, after, oracle_before, oracle_after, checked)


def _weighed(
    work: Work, model: ir.Model, targets: Mapping[str, float], oracle_before: OracleAnswer
) -> tuple[Assessment, OracleAnswer, tuple[Checked, ...]]:
    """What a changed model costs, predicted and by the oracle, and the limits held against that."""
    after, oracle_after = work.assess(model), work.ask([model])[0]
    return after, oracle_after, check_limits(targets, after, oracle_before, oracle_after)


def measured_anew(work: Work, settled: Settled, model: ir.Model) -> Settled:
    """The same plan with another model for it: its figures, and the limits held against them."""
    targets = limits_of(work, settled.oracle_before)
    after, oracle_after, checked = _weighed(work, model, targets, settled.oracle_before)
    return replace(settled, model=model, after=after, oracle_after=oracle_after, limits=checked)
