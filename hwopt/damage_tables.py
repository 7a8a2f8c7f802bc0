"""What each LOSSY value does to the output, as tables that the search can add up.

The form of a block and the width of its hidden channels are repaired as one, so they are
priced as one: a table over their joint values. Values that cannot pay are not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import networkx as nx
import onnx_ir as ir

from hwopt.choice import KEEP, Choice, Kind, Risk, Value
from hwopt.errors import RewriteFailed
from hwopt.estimate import Estimate, Source
from hwopt.rewrite import rewrite
from hwopt.scope import Price, Problem, Scope
from hwopt.search.problem import Objective, objective_value
from hwopt.trace import Listeners, Progress, emit

Measure = Callable[[ir.Model], float]  # a changed, not yet repaired model -> its damage
# A joint value must save this share of the whole model to be worth measuring.
SMALLEST_GAIN = 5e-4
LARGEST_GROUP = 3  # LOSSY choices repaired as one: form, hidden width, and what splits off it


@dataclass(frozen=True)
class Candidate:
    """One joint value of coupled LOSSY choices, and what it gains in the objective by itself."""

    choices: tuple[str, ...]
    key: tuple[str, ...]
    values: tuple[Value, ...]
    gain: float


def damage_scopes(
    base: ir.Model, problem: Problem, objective: Objective, measure: Measure, listeners: Listeners = ()
) -> tuple[Scope, ...]:
    """One scope per group of coupled LOSSY choices, holding the damage of their joint values.

    Joint values that save nothing, or that fail to be rewritten, become impossible.
    """
    groups = coupled(problem.choices)
    candidates = [worthwhile(problem, group, objective) for group in groups]
    count, done = sum(len(found) for found in candidates), 0
    scopes = []
    for number, (group, offered) in enumerate(zip(groups, candidates, strict=True)):
        damages: dict[tuple[str, ...], float] = {}
        for candidate in offered:
            done += 1
            emit(listeners, Progress("damage", done, count))
            try:
                damages[candidate.key] = measure(rewrite(base, candidate.values))
            except RewriteFailed:
                continue
        scopes.append(_scope(number, group, damages))
    return tuple(scopes)


def coupled(choices: Sequence[Choice]) -> list[tuple[Choice, ...]]:
    """LOSSY choices in groups that share nodes; after-effects on weights stand alone."""
    lossy = [c for c in choices if any(value.risk == Risk.LOSSY for value in c.values)]
    graph = nx.Graph()
    graph.add_nodes_from(range(len(lossy)))
    for i, one in enumerate(lossy):
        for j in range(i):
            if {one.kind, lossy[j].kind} == {Kind.FORM, Kind.WIDTH} and one.places & lossy[j].places:
                graph.add_edge(i, j)
    groups: list[tuple[Choice, ...]] = []
    for component in nx.connected_components(graph):
        members = tuple(lossy[i] for i in sorted(component))
        groups.extend([members] if len(members) <= LARGEST_GROUP else [(m,) for m in members])
    return sorted(groups, key=lambda group: lossy.index(group[0]))


def worthwhile(problem: Problem, group: Sequence[Choice], objective: Objective) -> list[Candidate]:
    """Joint values that save something beyond what a milder one of the same form saves."""
    base = problem.total({})
    assert base is not None
    whole = max(objective_value(base, objective), 1e-9)
    found = []
    for candidate in _joint(problem, group, objective, whole):
        if candidate.gain > SMALLEST_GAIN:
            found.append(candidate)
    return found


def _joint(
    problem: Problem, group: Sequence[Choice], objective: Objective, whole: float
) -> Iterator[Candidate]:
    names = tuple(choice.id for choice in group)
    lossy = [[None, *(v for v in choice.values if v.risk == Risk.LOSSY)] for choice in group]
    mine = [scope for scope in problem.scopes if set(scope.choices) & set(names)]
    before = _sum(mine, {}, objective)
    assert before is not None
    for joint in product(*lossy):
        values = tuple(value for value in joint if value is not None)
        key = tuple(KEEP if value is None else value.name for value in joint)
        after = _sum(mine, dict(zip(names, key, strict=True)), objective)
        if values and after is not None:
            yield Candidate(names, key, values, (before - after) / whole)


def _sum(scopes: Sequence[Scope], assignment: Mapping[str, str], objective: Objective) -> float | None:
    """The objective over some scopes; None where the assignment is impossible in one of them."""
    prices = [scope.price(assignment) for scope in scopes]
    if any(price is None for price in prices):
        return None
    return sum(objective_value(price, objective) for price in prices if price is not None)


def _scope(number: int, group: Sequence[Choice], damages: Mapping[tuple[str, ...], float]) -> Scope:
    """Damage over all joint values of the group; EXACT values do what *keep* does."""
    table: dict[tuple[str, ...], Price] = {}
    for joint in product(*[[None, *choice.values] for choice in group]):
        key = tuple(KEEP if value is None else value.name for value in joint)
        lossy = tuple(KEEP if v is None or v.risk == Risk.EXACT else v.name for v in joint)
        if all(name == KEEP for name in lossy):
            table[key] = Price(Estimate(0.0, 0.0, Source.PREDICTED))
        elif lossy in damages:
            table[key] = Price(Estimate(0.0, 0.0, Source.PREDICTED), damage=max(damages[lossy], 0.0))
    return Scope(f"damage:{number}", tuple(choice.id for choice in group), table)
