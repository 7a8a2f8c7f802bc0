"""From a priced problem to a changed model that keeps every limit on the figures that count.

Predictions propose; the arena of the rewritten model, the oracle's figure for the whole model
and the cross-fitted damage dispose. A limit that breaks there tightens the search's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir

from hwopt.assess import Assessment, OracleAnswer, comparable
from hwopt.damage import Damage
from hwopt.decide import Decision, decide_exact, decide_lossy
from hwopt.errors import BudgetNotMet
from hwopt.harm import WRITTEN_EFFORT, Harm
from hwopt.repair.reference import Reference
from hwopt.repair.sequence import repair
from hwopt.resolution import seen_by
from hwopt.rewrite import chosen_values, rewrite
from hwopt.scope import Assignment, Problem
from hwopt.search.problem import Budget, Objective
from hwopt.trace import Listeners
from hwopt.work import Work

MAX_ATTEMPTS = 4
TIGHTER = 0.995  # a limit that broke is tightened by its excess, and by this much more
NOISE = 1e-9  # oracles that ship are deterministic: anything above rounding is a difference


@dataclass(frozen=True)
class Data:
    """Calibration data at work: the canonical model's values on it, and what values do to its output.

    unquantised: why no int8 form is judged, where one should be.
    """

    reference: Reference
    harm: Harm
    unquantised: str = ""


@dataclass(frozen=True)
class Checked:
    """One limit on the figure that counts. source: predicted, compiled, measured or computed."""

    name: str
    limit: float
    value: float
    source: str

    @property
    def met(self) -> bool:
        return self.value <= self.limit * (1 + NOISE)


@dataclass(frozen=True)
class Settled:
    """The plan that was settled on, and the model it gives.

    model: repaired on all samples. oracle_before, oracle_after: the oracle's figures where it has
    any. tuned: gradient steps that were made. accuracy: all that was measured of the plan, the
    precision of the file first. written: the form that goes into the file where that is not
    `model` itself. notes: what a reader must know.
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

    @property
    def delivered(self) -> ir.Model:
        """What goes into the file."""
        return self.model if self.written is None else self.written

    def noted(self, note: str) -> Settled:
        """The same with one note more."""
        return replace(self, notes=(*self.notes, note))


def settle(
    work: Work, base: ir.Model, problem: Problem, data: Data | None, listeners: Listeners = ()
) -> Settled:
    """Searches until a plan keeps every limit where it counts.

    Raises BudgetNotMet, naming the closest plan, where none was found.
    """
    oracle_before = work.ask([work.model])[0]
    targets = limits_of(work, oracle_before)
    budget = first_budget(work, targets, exchange(work, base, problem))
    last: Settled | None = None
    for _ in range(MAX_ATTEMPTS):
        decision = _decide(work, problem, budget, data, listeners)
        if decision is None:
            break
        last = carry_out(work, base, problem, decision, data, oracle_before, targets, listeners)
        if all(limit.met for limit in last.limits):
            return last
        budget = tightened(budget, last.limits)
    raise BudgetNotMet(_closest(work, problem, targets, last))


def _decide(
    work: Work, problem: Problem, budget: Budget, data: Data | None, listeners: Listeners
) -> Decision | None:
    if data is None or work.limit is None:
        return decide_exact(problem, budget, work.settings.seed)

    def measure(assignment: Assignment) -> Damage:
        return data.harm.of_plan(problem.choices, assignment)

    return decide_lossy(problem, budget, work.limit, measure, work.settings.seed, listeners)


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
    model = rewrite(base, chosen_values(problem.choices, decision.assignment), listeners)
    if data is not None:
        folds = range(len(data.reference.calibration.folds))
        seen = seen_by(data.reference, model)
        model = repair(seen, model, folds, seed=work.settings.seed, effort=WRITTEN_EFFORT)
    after = work.assess(model)
    oracle_after = work.ask([model])[0]
    checked = check_limits(targets, after, oracle_before, oracle_after)
    return Settled(decision, model, after, oracle_before, oracle_after, checked)


def measured_anew(work: Work, settled: Settled, model: ir.Model) -> Settled:
    """The same plan with another model for it: its figures, and the limits held against them."""
    after, oracle_after = work.assess(model), work.ask([model])[0]
    targets = limits_of(work, settled.oracle_before)
    checked = check_limits(targets, after, settled.oracle_before, oracle_after)
    return replace(settled, model=model, after=after, oracle_after=oracle_after, limits=checked)


def limits_of(work: Work, oracle: OracleAnswer) -> dict[str, float]:
    """The hard limits in absolute terms: microseconds and bytes."""
    chosen, before = work.settings, work.before
    latency = before.latency_us.value
    if oracle.measurement is not None:
        latency = oracle.measurement.latency_us
    bounds = {
        "max_latency": (chosen.latency, latency),
        "max_memory": (chosen.memory, float(before.memory.peak_bytes)),
        "max_size": (chosen.size, float(before.weight_bytes)),
        "max_footprint": (chosen.footprint, float(before.footprint_bytes)),
    }
    return {name: bound.against(figure) for name, (bound, figure) in bounds.items() if bound is not None}


def exchange(work: Work, base: ir.Model, problem: Problem) -> float:
    """Microseconds of the search's tables per microsecond of the figure that counts.

    The tables were taught by the oracle about the canonical model, not about the input, so that is
    where both are compared.
    """
    answer, tables = work.ask([base])[0], problem.total({})
    if answer.measurement is None or tables is None:
        return 1.0
    return tables.latency_us.value / max(answer.measurement.latency_us, 1e-9)


def first_budget(work: Work, targets: Mapping[str, float], exchanged: float = 1.0) -> Budget:
    """The limits as the search's tables speak of them: predicted latency, peaks without layout.

    exchanged: what `exchange` says of latency.
    """
    latency = targets.get("max_latency")
    if latency is not None:
        latency *= exchanged
    memory, size, footprint = (targets.get(n) for n in ("max_memory", "max_size", "max_footprint"))
    return Budget(
        objective=work.settings.objective,
        latency_us=latency,
        peak_bytes=None if memory is None else int(memory),
        weight_bytes=None if size is None else int(size),
        footprint_bytes=None if footprint is None else int(footprint),
    )


def check_limits(
    targets: Mapping[str, float], after: Assessment, oracle_before: OracleAnswer, oracle_after: OracleAnswer
) -> tuple[Checked, ...]:
    """Each limit with the figure that counts for it.

    Latency: the oracle's where it can run the whole model before and after, else the
    prediction plus its spread.
    """
    figures = {
        "max_latency": latency_that_counts(after, oracle_before, oracle_after),
        "max_memory": (float(after.memory.peak_bytes), "computed"),
        "max_size": (float(after.weight_bytes), "computed"),
        "max_footprint": (float(after.footprint_bytes), "computed"),
    }
    return tuple(Checked(name, limit, *figures[name]) for name, limit in targets.items())


def latency_that_counts(
    assessment: Assessment, oracle_before: OracleAnswer, oracle_after: OracleAnswer
) -> tuple[float, str]:
    """(microseconds, source)."""
    if comparable(oracle_before, oracle_after) and oracle_after.measurement is not None:
        return oracle_after.measurement.latency_us, oracle_after.source.value
    predicted = assessment.latency_us
    return predicted.value + predicted.spread, predicted.source.value


def tightened(budget: Budget, limits: tuple[Checked, ...]) -> Budget:
    """The budget with every limit that broke on the figure that counts moved in by its excess."""
    for limit in limits:
        if limit.met:
            continue
        shrink = TIGHTER * limit.limit / limit.value
        if limit.name == "max_latency" and budget.latency_us is not None:
            budget = replace(budget, latency_us=budget.latency_us * shrink)
        elif limit.name == "max_memory" and budget.peak_bytes is not None:
            budget = replace(budget, peak_bytes=int(budget.peak_bytes * shrink))
        elif limit.name == "max_size" and budget.weight_bytes is not None:
            budget = replace(budget, weight_bytes=int(budget.weight_bytes * shrink))
        elif limit.name == "max_footprint" and budget.footprint_bytes is not None:
            budget = replace(budget, footprint_bytes=int(budget.footprint_bytes * shrink))
    return budget


_OBJECTIVES = {
    "max_latency": Objective.LATENCY,
    "max_memory": Objective.MEMORY,
    "max_size": Objective.SIZE,
    "max_footprint": Objective.FOOTPRINT,
}


def _closest(work: Work, problem: Problem, targets: Mapping[str, float], last: Settled | None) -> str:
    """One line: the limit that breaks, and how near the best plan comes to it."""
    if last is not None:
        worst = max(last.limits, key=lambda limit: limit.value / max(limit.limit, 1e-9))
        name, limit, value = worst.name, worst.limit, worst.value
        steps = dict(last.decision.assignment)
    else:
        name, limit = next(iter(targets.items()))
        budget = Budget(_OBJECTIVES[name], damage=0.0 if work.limit is None else work.limit.value)
        best = decide_exact(problem, budget, work.settings.seed)
        assert best is not None, "without limits, keeping everything is a plan"
        price = best.predicted
        value = {
            "max_latency": price.latency_us.value,
            "max_memory": float(price.peak_bytes),
            "max_size": float(price.weight_bytes),
            "max_footprint": float(price.peak_bytes + price.weight_bytes),
        }[name]
        steps = dict(best.assignment)
    unit = "us" if name == "max_latency" else "bytes"
    listed = (
        ", ".join(f"{choice}={value}" for choice, value in sorted(steps.items())[:8]) or "keep everything"
    )
    more = f" and {len(steps) - 8} more" if len(steps) > 8 else ""
    flag = "--" + name.replace("_", "-")
    return (
        f"{flag} {limit:,.4g} {unit} cannot be met: the closest plan has {value:,.4g} {unit} ({listed}{more})"
    )
