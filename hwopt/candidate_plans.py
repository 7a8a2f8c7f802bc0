"""Plans with values that only training can mend, the mildest first.

How mild a plan is: the share of the parameters that its RETRAIN values remove, and how few they are.
Among plans that are equally mild the objective decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import prod

from hwopt.choice import KEEP, Choice, Risk, Value
from hwopt.decide import Decision
from hwopt.scope import NOTHING, Assignment, Price, Problem, Scope
from hwopt.search.milp import solve
from hwopt.search.problem import Budget, Objective

PER_VALUE = 1e-3  # a RETRAIN value more is worth a thousandth of the parameters less
PER_DAMAGE = 1e-6  # between plans that are equally mild, the one with the least damage
CONSIDERED = 8  # sets of RETRAIN values that are weighed against one another
MOST_ENTRIES = 5_000  # of the table that keeps sets from coming back


def retrain_values(problem: Problem) -> list[tuple[Choice, Value]]:
    """Every value that only training can mend, with its choice."""
    return [(c, v) for c in problem.choices for v in c.values if v.risk == Risk.RETRAIN]


def retrained_by(problem: Problem, assignment: Assignment) -> dict[str, str]:
    """The part of an assignment that only training can mend."""
    return {c.id: v.name for c, v in retrain_values(problem) if assignment.get(c.id) == v.name}


def near_mildest(problem: Problem, budget: Budget, seed: int, count: int = CONSIDERED) -> list[Decision]:
    """The mildest plan of each of several sets of RETRAIN values, the mildest first; [] where there is none.

    Every set meets the limits with EXACT and LOSSY values of its own. A plan that needs no training
    ends the list: there is nothing milder. The budget's own limit on damage does not count: damage
    that training may mend is only kept small.
    """
    whole, found = opened(problem), list[Decision]()
    barred: list[Mapping[str, str]] = []
    for _ in range(count):
        scope = _barring(whole, barred)
        if scope is None:
            break
        decision = _mildest(replace(whole, scopes=(*whole.scopes, *scope)), budget, seed)
        if decision is None:
            break
        found.append(decision)
        barred.append(retrained_by(problem, decision.assignment))
        if not barred[-1]:
            break
    return found


def mildest(problem: Problem, budget: Budget, seed: int) -> Decision | None:
    """The mildest plan within the limits; among equally mild ones, the best in the objective.

    None where the limits cannot be met.
    """
    return next(iter(near_mildest(problem, budget, seed, 1)), None)


def _mildest(whole: Problem, budget: Budget, seed: int) -> Decision | None:
    free = replace(budget, damage=None)
    first = solve(_with_severity(whole), replace(free, objective=Objective.DAMAGE), seed)
    if first.assignment is None:
        return None
    same = restricted(whole, retrained_by(whole, first.assignment))
    allowed = whole.total(first.assignment)
    assert allowed is not None, "what was solved for is possible"
    best = solve(same, replace(free, damage=allowed.damage), seed)
    outcome = first if best.assignment is None else best
    assert outcome.assignment is not None
    predicted = whole.total(outcome.assignment)
    assert predicted is not None, "what was solved for is possible"
    return Decision(outcome.assignment, predicted, outcome, None, ())


def _barring(problem: Problem, barred: Sequence[Mapping[str, str]]) -> list[Scope] | None:
    """A table without entries for these sets of RETRAIN values, and no others; None where it is too large."""
    if not barred:
        return []
    retrain = {(choice.id, value.name) for choice, value in retrain_values(problem)}
    owners = {choice.id: choice for choice, _ in retrain_values(problem)}
    if prod(1 + len(choice.values) for choice in owners.values()) > MOST_ENTRIES:
        return None
    table = {}
    for key in product(*([KEEP, *(v.name for v in choice.values)] for choice in owners.values())):
        taken = {pair[0]: pair[1] for pair in zip(owners, key, strict=True) if pair in retrain}
        if taken not in barred:
            table[key] = NOTHING
    return [Scope("barred", tuple(owners), table)]


def removed(problem: Problem, assignment: Assignment) -> float:
    """The share of the model's weight bytes that an assignment takes away; 0 where it adds some."""
    before, after = problem.total(problem.start), problem.total(assignment)
    if before is None or after is None or not before.weight_bytes:
        return 0.0
    return max(0.0, 1.0 - after.weight_bytes / before.weight_bytes)


def restricted(problem: Problem, taken: Assignment) -> Problem:
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
    return replace(problem, choices=choices, scopes=scopes)


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
