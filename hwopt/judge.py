"""Is the result better than the input in what was asked for? If not, the input is the result."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from hwopt.assess import Assessment, comparable
from hwopt.decide import Decision
from hwopt.errors import BudgetNotMet
from hwopt.held import Checked, check_limits, latency_that_counts, limits_of
from hwopt.scope import Problem
from hwopt.search.problem import Objective, Outcome
from hwopt.settle import Settled, measured_anew
from hwopt.work import Work


def better(work: Work, settled: Settled) -> bool:
    """Whether the result beats the input in what was asked for, on the figures that count.

    An input that breaks a limit which the result keeps is beaten, whatever the objective says.
    """
    before, after = work.before, settled.after
    if not all(limit.met for limit in limits_before(work, settled)):
        return True
    if work.settings.objective == Objective.LATENCY:
        if comparable(settled.oracle_before, settled.oracle_after):
            figure = settled.oracle_before.measurement
            assert figure is not None
            now, _ = latency_that_counts(after, settled.oracle_before, settled.oracle_after)
            return now < figure.latency_us
        return after.latency_us.value < before.latency_us.value
    return _figure(after, work.settings.objective) < _figure(before, work.settings.objective)


def _figure(assessment: Assessment, objective: Objective) -> float:
    return {
        Objective.MEMORY: float(assessment.memory.peak_bytes),
        Objective.SIZE: float(assessment.weight_bytes),
        Objective.FOOTPRINT: float(assessment.footprint_bytes),
    }.get(objective, 0.0)


def limits_before(work: Work, settled: Settled) -> tuple[Checked, ...]:
    """The limits held against the input."""
    before = settled.oracle_before
    return check_limits(limits_of(work, before), work.before, before, before)


def unchanged(work: Work, settled: Settled, canonical: ir.Model | None = None) -> Settled:
    """The input itself as the result; what had been found stays in the report.

    canonical: what stands for the input where the file will have another precision.
    """
    kept = replace(settled, decision=replace(settled.decision, assignment={}, damage=None))
    if canonical is not None:
        note = "no rewrite pays: the file is the input in another precision"
        return measured_anew(work, kept, canonical).noted(note)
    return replace(
        kept,
        model=work.model,
        after=work.before,
        oracle_after=settled.oracle_before,
        limits=limits_before(work, settled),
    )


def unproved(work: Work, settled: Settled, why: str) -> Settled:
    """The input itself as the result, because nobody could hold a rewritten one against it.

    why: a sentence. Raises BudgetNotMet where the input breaks a hard limit.
    """
    note = (
        f"nothing is rewritten, because no rewrite could be proved: {why}; give --calib or --allow-unverified"
    )
    kept = unchanged(work, settled).noted(note)
    for limit in kept.limits:
        if not limit.met:
            raise BudgetNotMet(f"--{limit.name.replace('_', '-')} cannot be met: {note}")
    return replace(kept, unproved=True)


def input_within(work: Work, problem: Problem) -> Settled | None:
    """The input itself as the result, where it keeps every hard limit; None where it does not.

    Canonicalising may cost what a tight limit forbids, a bias that was none before, say.
    """
    oracle = work.ask([work.model])[0]
    limits = check_limits(limits_of(work, oracle), work.before, oracle, oracle)
    if work.settings.quantize is not None or not all(limit.met for limit in limits):
        return None
    decision = Decision(
        {}, problem.total({}) or problem.fixed, Outcome({}, work.settings.search, 0), None, ()
    )
    note = "no plan was found that keeps the limits; the input does"
    return Settled(decision, work.model, work.before, oracle, oracle, limits, notes=(note,))
