"""A run with a budget, checked by figures taken anew from the file that it wrote.

What it wrote is loaded again, priced, laid out and given to the oracle; nothing of the run's own
report is believed but the cross-fitted drop and which figure of latency counts. A refusal is
challenged: is there a plan that it should have found?
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from pathlib import Path

from hwopt.choice import KEEP
from hwopt.decide import broken
from hwopt.estimate import Estimate
from hwopt.held import check_limits, exchange, first_budget, limits_of
from hwopt.pipeline import analyze
from hwopt.replay import is_lossy
from hwopt.report.schema import AccuracyRow, Missing, OracleProof, Report, Verification
from hwopt.rewrite import chosen_values, rewrite
from hwopt.scope import Assignment, Problem
from hwopt.search.milp import solve
from hwopt.search.problem import Budget, Objective
from hwopt.settle import Data
from hwopt.steps import Found, find, price_choices
from hwopt.work import Work

TOLERANCE = 1e-6  # the report rounds to seven digits
RELAXED = 0.05  # predictions may be that wrong before a refusal counts as proven
REACHES = (0.96, 1.0, 1.0 + RELAXED)  # limits on the tables, over those of the run, that plans are sought for
FEW = 4_000  # plans that are enumerated rather than searched
TRIED = 12  # plans that are written and held against the limits

PROVEN = "no plan of the tables"
TOO_HARSH = "the mildest plans break it"
EXISTS = "a plan exists"


@dataclass(frozen=True)
class Figures:
    """A model on a target. oracle_us: None where the oracle has no figure for the whole."""

    oracle_us: float | None
    predicted_us: float
    spread_us: float
    peak_bytes: float
    weight_bytes: float

    @property
    def latency_us(self) -> float:
        """What a relative limit on latency speaks of."""
        return self.predicted_us if self.oracle_us is None else self.oracle_us

    def limited(self) -> dict[str, float]:
        """The figure that each limit is relative to."""
        return {
            "max_latency": self.latency_us,
            "max_memory": self.peak_bytes,
            "max_size": self.weight_bytes,
            "max_footprint": self.peak_bytes + self.weight_bytes,
        }


@dataclass(frozen=True)
class Held:
    """One limit and the figure that was taken anew for it."""

    name: str
    limit: float
    value: float
    source: str

    @property
    def met(self) -> bool:
        return self.value <= self.limit * (1 + TOLERANCE) + 1e-12


def figures(file: Path, target: str) -> Figures:
    """A file's figures, as a run that knows nothing of how it came about has them."""
    report = analyze(file, target=target, measure=True, refine=0)
    before, asked = report.before, report.verification
    oracle = asked.oracle if isinstance(asked, Verification) else None
    latency = oracle.after.latency_us if isinstance(oracle, OracleProof) else None
    predicted = _known(before.latency_us)
    return Figures(
        latency.value if isinstance(latency, Estimate) else None, predicted.value, predicted.spread,
        _known(before.peak_bytes).value, _known(before.weight_bytes).value,
    )  # fmt: skip


def held(limits: Mapping[str, float], report: Report, after: Figures) -> list[Held]:
    """Every limit that was asked for, against the file.

    limits: in absolute terms. Which latency counts is what the report says; the drop is its
    cross-fitted one, and the larger figure that the limit was held on.
    """
    said = {limit.name: limit for limit in report.budget.limits}
    found = []
    for name, limit in limits.items():
        if name == "max_drop":
            found.append(Held(name, limit, drop_of(report), "measured"))
            continue
        source = said[name].source if name in said else "the report leaves it out"
        value = after.limited()[name]
        if name == "max_latency" and source == "predicted":
            value = after.predicted_us + after.spread_us
        found.append(Held(name, limit, value, source))
    return found


def drop_of(report: Report) -> float:
    """The cross-fitted drop of the written file: 0 where every step was exact."""
    if isinstance(report.accuracy, Missing):
        return 0.0
    counted = [row.drop for row in report.accuracy if _of_file(row) and isinstance(row.drop, float)]
    judged = [limit.value for limit in report.budget.limits if limit.name == "max_drop"]
    return max([0.0, *counted, *(value for value in judged if isinstance(value, float))])


def _of_file(row: AccuracyRow) -> bool:
    return (row.metric, row.precision, row.against) == ("top1", "fp32", "fp32")


def _known(figure: Estimate | Missing) -> Estimate:
    assert isinstance(figure, Estimate), figure
    return figure


def challenge(work: Work) -> tuple[str, str]:
    """Whether a refused budget could have been met: one of the three verdicts, and what was found.

    Plans are sought anew: that of least damage within the limits, and for few choices every plan
    there is, with limits that are a little wider and tighter than the run's own.
    """
    found = find(work)
    problem, data = price_choices(work, found)
    oracle = work.ask([work.model])[0]
    targets = limits_of(work, oracle)
    budget = replace(
        first_budget(work, targets, exchange(work, found.base, problem)), objective=Objective.DAMAGE
    )
    plans = candidates(problem, budget)
    if not plans:
        return PROVEN, f"none within {100 * RELAXED:g}% of the limits, whatever its damage"
    nearest = float("inf")
    for plan in plans:
        excess = _excess(work, found, problem, data, plan, targets)
        if excess <= 0:
            return EXISTS, ", ".join(f"{c}={v}" for c, v in sorted(plan.items())) or "keep everything"
        nearest = min(nearest, excess)
    return TOO_HARSH, f"{len(plans)} plans, the nearest exceeds a limit by {100 * nearest:.3g}%"


def candidates(problem: Problem, budget: Budget) -> list[dict[str, str]]:
    """Plans that the tables hold to be near the limits, mildest first; none where none is."""
    if prod(1 + len(choice.values) for choice in problem.choices) <= FEW:
        plans = list(_within(problem, scaled(budget, 1.0 + RELAXED)))
        return [plan for _, plan in sorted(plans, key=lambda pair: pair[0])[:TRIED]]
    unique: list[dict[str, str]] = []
    for reach in REACHES:
        plan = solve(problem, scaled(budget, reach)).assignment
        if plan is not None and dict(plan) not in unique:
            unique.append(dict(plan))
    return unique


def scaled(budget: Budget, factor: float) -> Budget:
    """All limits but that on damage, times a factor."""

    def whole(limit: int | None) -> int | None:
        return None if limit is None else int(limit * factor)

    return replace(
        budget,
        latency_us=None if budget.latency_us is None else budget.latency_us * factor,
        peak_bytes=whole(budget.peak_bytes),
        weight_bytes=whole(budget.weight_bytes),
        footprint_bytes=whole(budget.footprint_bytes),
    )


def _within(problem: Problem, budget: Budget) -> Iterator[tuple[float, dict[str, str]]]:
    """Every plan within a budget, with its damage."""
    names = [(KEEP, *(value.name for value in choice.values)) for choice in problem.choices]
    for joint in product(*names):
        pairs = zip(problem.choices, joint, strict=True)
        plan = {choice.id: name for choice, name in pairs if name != KEEP}
        price = problem.total(plan)
        if price is not None and not budget.violations(price):
            yield price.damage, plan


def _excess(
    work: Work,
    found: Found,
    problem: Problem,
    data: Data | None,
    plan: Assignment,
    targets: Mapping[str, float],
) -> float:
    """How much a plan breaks the limits, the worst of them relative to itself; 0 where it keeps them.

    The structure is looked at before the data are: weights are those before repair.
    """
    before = work.ask([work.model])[0]
    model = rewrite(found.base, chosen_values(problem.choices, plan))
    checked = check_limits(targets, work.assess(model), before, work.ask([model])[0])
    worst = max((limit.value / max(limit.limit, 1e-9) - 1 for limit in checked), default=0.0)
    if worst > TOLERANCE or data is None or work.limit is None or not is_lossy(plan, found.choices):
        return worst if worst > TOLERANCE else 0.0
    damage = data.harm.of_plan(problem.choices, plan)
    return 1.0 if broken(damage, work.limit) else 0.0


def sources(rows: Sequence[Held]) -> str:
    """One line: each limit, its figure and where that comes from."""
    return "; ".join(f"{r.name} {r.value:.6g} of {r.limit:.6g} ({r.source})" for r in rows)
