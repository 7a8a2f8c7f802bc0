"""The mildest plan that needs training: written as OUT.candidate.onnx, never as the result.

A RETRAIN value changes what only training can mend. Nobody knows its accuracy beforehand, so the
ordinary search never sees one. Where the user allows it, the plan is made that meets the hard
limits with the smallest share of parameters removed by RETRAIN values, and with the fewest of
them; EXACT and LOSSY values may be in it, too. Its weights are a start for training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product

import onnx_ir as ir

from hwopt.assess import Assessment, OracleAnswer
from hwopt.choice import KEEP, Choice, Risk, Value
from hwopt.decide import Decision
from hwopt.errors import BadInput
from hwopt.held import Checked, exchange, first_budget, limits_of, tightened
from hwopt.scope import NOTHING, Assignment, Price, Problem, Scope
from hwopt.search.milp import solve
from hwopt.search.problem import Budget, Objective
from hwopt.settle import MAX_ATTEMPTS, Data, carry_out
from hwopt.trace import Listeners
from hwopt.work import Work

NEEDS_TRAINING = "needs training"
SUFFIX = ".candidate.onnx"
PER_VALUE = 1e-3  # a RETRAIN value more is worth a thousandth of the parameters less
PER_DAMAGE = 1e-6  # between plans that are equally mild, the one with the least damage


@dataclass(frozen=True)
class Candidate:
    """A model that meets the limits once it has been trained.

    model: repaired as far as calibration data go; a start for training. retrained: choice -> value
    of what only training can mend. removed: share of the input's weight bytes that is gone.
    accuracy: always the reason why there is no figure.
    """

    model: ir.Model
    decision: Decision
    retrained: Mapping[str, str]
    removed: float
    after: Assessment
    oracle_after: OracleAnswer
    limits: tuple[Checked, ...]
    accuracy: str = NEEDS_TRAINING

    @property
    def met(self) -> bool:
        """Whether every hard limit holds on the figure that counts."""
        return all(limit.met for limit in self.limits)

    def section(self) -> dict[str, object]:
        """What a report says of it, as plain data."""
        return {
            "retrained": dict(self.retrained),
            "steps": dict(self.decision.assignment),
            "parameters_removed": self.removed,
            "accuracy": {"unavailable": self.accuracy},
            "limits": [
                {"name": c.name, "limit": c.limit, "value": c.value, "source": c.source, "met": c.met}
                for c in self.limits
            ],
        }


def make_candidate(
    work: Work, base: ir.Model, problem: Problem, data: Data | None, listeners: Listeners = ()
) -> Candidate | str:
    """The mildest RETRAIN plan within the hard limits, carried out; or why there is none.

    base: the canonical model. problem: priced with the values of every risk; damage scopes may be
    in it, RETRAIN values need no entry there. Raises BadInput where the run has no limit on latency,
    memory or size: without one the mildest plan is to keep everything.
    """
    oracle_before = work.ask([work.model])[0]
    targets = limits_of(work, oracle_before)
    if not targets:
        raise BadInput(
            "--allow-retrain: a candidate is the mildest plan within a limit: give --max-latency, "
            "--max-memory, --max-size or --max-footprint"
        )
    if not retrain_values(problem):
        return "no pass offers a value that needs training"
    budget = first_budget(work, targets, exchange(work, base, problem))
    last: Candidate | None = None
    for _ in range(MAX_ATTEMPTS):
        decision = mildest(problem, budget, work.settings.seed)
        if decision is None:
            break
        retrained = retrained_by(problem, decision.assignment)
        if not retrained:
            return "the limits can be met without training"
        done = carry_out(work, base, problem, decision, data, oracle_before, targets, listeners)
        gone = removed(opened(problem), decision.assignment)
        last = Candidate(done.model, decision, retrained, gone, done.after, done.oracle_after, done.limits)
        if last.met:
            return last
        budget = tightened(budget, last.limits)
    return "even with training no plan meets the limits"


def retrain_values(problem: Problem) -> list[tuple[Choice, Value]]:
    """Every value that only training can mend, with its choice."""
    return [(c, v) for c in problem.choices for v in c.values if v.risk == Risk.RETRAIN]


def retrained_by(problem: Problem, assignment: Assignment) -> dict[str, str]:
    """The part of an assignment that only training can mend."""
    return {c.id: v.name for c, v in retrain_values(problem) if assignment.get(c.id) == v.name}


def without_retrain(problem: Problem) -> Problem:
    """The problem as the ordinary search may see it: no RETRAIN value in any choice or table."""
    return _restricted(problem, {})


def mildest(problem: Problem, budget: Budget, seed: int) -> Decision | None:
    """The mildest plan within the limits; among equally mild ones, the best in the objective.

    None where the limits cannot be met. The budget's own limit on damage does not count: damage
    that training may mend is only kept small.
    """
    whole = opened(problem)
    free = replace(budget, damage=None)
    first = solve(_with_severity(whole), replace(free, objective=Objective.DAMAGE), seed)
    if first.assignment is None:
        return None
    same = _restricted(whole, retrained_by(problem, first.assignment))
    allowed = whole.total(first.assignment)
    assert allowed is not None, "what was solved for is possible"
    best = solve(same, replace(free, damage=allowed.damage), seed)
    outcome = first if best.assignment is None else best
    assert outcome.assignment is not None
    predicted = whole.total(outcome.assignment)
    assert predicted is not None, "what was solved for is possible"
    return Decision(outcome.assignment, predicted, outcome, None, ())


def removed(problem: Problem, assignment: Assignment) -> float:
    """The share of the model's weight bytes that an assignment takes away; 0 where it adds some."""
    before, after = problem.total({}), problem.total(assignment)
    if before is None or after is None or not before.weight_bytes:
        return 0.0
    return max(0.0, 1.0 - after.weight_bytes / before.weight_bytes)


def _restricted(problem: Problem, taken: Assignment) -> Problem:
    """The problem with these RETRAIN values taken, and no other one possible."""
    retrain = {(choice.id, value.name) for choice, value in retrain_values(problem)}

    def possible(choice: str, name: str) -> bool:
        return name == taken[choice] if choice in taken else (choice, name) not in retrain

    choices = tuple(
        replace(c, values=tuple(v for v in c.values if possible(c.id, v.name))) for c in problem.choices
    )
    scopes = tuple(
        replace(scope, table={
            key: price for key, price in scope.table.items()
            if all(possible(choice, name) for choice, name in zip(scope.choices, key, strict=True))
        })
        for scope in problem.scopes
    )  # fmt: skip
    return Problem(choices, scopes, problem.fixed)


def opened(problem: Problem) -> Problem:
    """The problem with RETRAIN values in its damage tables, too, where they count as *keep*."""
    choices = {choice.id: choice for choice in problem.choices}
    retrain = {(choice.id, value.name) for choice, value in retrain_values(problem)}
    scopes = []
    for scope in problem.scopes:
        table = dict(scope.table)
        names = [[KEEP, *(value.name for value in choices[c].values)] for c in scope.choices]
        for key in product(*names) if scope.id.startswith("damage:") else ():
            pairs = zip(scope.choices, key, strict=True)
            kept = tuple(KEEP if pair in retrain else pair[1] for pair in pairs)
            if kept in scope.table:
                table.setdefault(key, scope.table[kept])
        scopes.append(replace(scope, table=table))
    return replace(problem, scopes=tuple(scopes))


def _with_severity(problem: Problem) -> Problem:
    """The problem whose damage says how little is to be trained: see `PER_VALUE`, `PER_DAMAGE`."""
    scaled = [
        replace(scope, table={k: replace(p, damage=PER_DAMAGE * p.damage) for k, p in scope.table.items()})
        for scope in problem.scopes
    ]
    touched = {choice.id: choice for choice, _ in retrain_values(problem)}
    return replace(problem, scopes=(*scaled, *(_severity(problem, choice) for choice in touched.values())))


def _severity(problem: Problem, choice: Choice) -> Scope:
    """A table over one choice: what its RETRAIN values take away, the rest of the model kept."""
    table: dict[tuple[str, ...], Price] = {(KEEP,): NOTHING}
    for value in choice.values:
        share = removed(problem, {choice.id: value.name}) + PER_VALUE
        table[value.name,] = replace(NOTHING, damage=share) if value.risk == Risk.RETRAIN else NOTHING
    return Scope(f"severity:{choice.id}", (choice.id,), table)
