"""The hard limits, held on the figures that count for them.

The search's tables speak of predictions and of bytes alive. What counts is the oracle's figure for
the whole model where it has one, the arena with its layout, and the weights as they are encoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir

from hwopt.assess import Assessment, OracleAnswer, comparable
from hwopt.rewrite import chosen_values, rewrite
from hwopt.scope import Problem
from hwopt.search.problem import Budget, Objective
from hwopt.work import Work

TIGHTER = 0.995  # a limit that broke is tightened by its excess, and by this much more
NOISE = 1e-9  # oracles that ship are deterministic: anything above rounding is a difference


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
class Inspection:
    """What a plan's structure shows before its weights are fitted.

    objective: what is to be small, on the figure that counts.
    """

    limits: tuple[Checked, ...]
    objective: float


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
    where both are compared; where hints leave no unchanged model, the plan to start from is.
    """
    start = rewrite(base, chosen_values(problem.choices, problem.start))
    answer, tables = work.ask([start])[0], problem.total(problem.start)
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


def halfway(tight: Budget, loose: Budget) -> Budget:
    """The budget between two; the looser one's limit where they are within a thousandth."""
    return replace(
        tight,
        latency_us=_middle(tight.latency_us, loose.latency_us),
        peak_bytes=_whole(_middle(tight.peak_bytes, loose.peak_bytes)),
        weight_bytes=_whole(_middle(tight.weight_bytes, loose.weight_bytes)),
        footprint_bytes=_whole(_middle(tight.footprint_bytes, loose.footprint_bytes)),
    )


def _middle(low: float | None, high: float | None) -> float | None:
    if low is None or high is None:
        return high
    return high if high - low < 1e-3 * high else 0.5 * (low + high)


def _whole(limit: float | None) -> int | None:
    return None if limit is None else int(limit)


def objective_that_counts(
    objective: Objective, assessment: Assessment, oracle_before: OracleAnswer, oracle_after: OracleAnswer
) -> float:
    """What is to be small, on the figure that counts: microseconds or bytes; 0 for damage."""
    return {
        Objective.LATENCY: latency_that_counts(assessment, oracle_before, oracle_after)[0],
        Objective.MEMORY: float(assessment.memory.peak_bytes),
        Objective.SIZE: float(assessment.weight_bytes),
        Objective.FOOTPRINT: float(assessment.footprint_bytes),
        Objective.DAMAGE: 0.0,
    }[objective]
