"""What each LOSSY value does to the output, as tables that the search can add up.

The form of a block and the width of its hidden channels are repaired as one, so they are
priced as one: a table over their joint values. Single values are measured up front, where they
can pay at all; of values that differ in strength alone every other one, the rest is read off
between them (`hwopt.damage.ladder`). A joint value is taken for the sum of its parts. What was not
measured is, as soon as a search wants it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import networkx as nx

from hwopt.choice import KEEP, Choice, Kind, Risk, Value, in_order
from hwopt.damage.ladder import between, ladders, probes
from hwopt.errors import RewriteFailed
from hwopt.estimate import Estimate, Source
from hwopt.scope import Assignment, Price, Problem, Scope
from hwopt.search.problem import Objective, never, objective_value
from hwopt.threads import one_blas_thread
from hwopt.trace import CheckFailed, Listeners, Progress, emit

Measure = Callable[[Sequence[Value]], float]  # raises RewriteFailed where the values cannot be written
Key = tuple[str, ...]  # one value name per choice of a group; EXACT values count as *keep*
# A value must save this share of the whole model, alone or joined, to be worth measuring.
SMALLEST_GAIN = 5e-4
AT_ONCE = 2  # values that are measured at the same time: they know nothing of one another
LARGEST_GROUP = 3  # LOSSY choices repaired as one: form, hidden width, and what splits off it
_IMPOSSIBLE = float("inf")


class DamageTables:
    """The damage of LOSSY values, one table per group of coupled choices.

    give_up: called on Ctrl-C, so that measurements of other threads end soon.
    """

    def __init__(
        self,
        choices: Sequence[Choice],
        measure: Measure,
        listeners: Listeners = (),
        give_up: Callable[[], object] = never,
    ) -> None:
        self._measure = measure
        self._give_up = give_up
        self._listeners = listeners
        self.groups = coupled(choices)
        self._known: list[dict[Key, float]] = [{} for _ in self.groups]
        self._worthwhile: list[dict[Key, float]] = [{} for _ in self.groups]

    def measure_singles(
        self, problem: Problem, objectives: Sequence[Objective], stop: Callable[[], bool] = never
    ) -> None:
        """Measures the single LOSSY values that save some of what the run is about, the most first.

        stop: asked before each; once it says so, what is not measured by then is not offered.
        """
        for number, group in enumerate(self.groups):
            for objective in objectives:
                for key, gain in worthwhile(problem, group, objective).items():
                    self._worthwhile[number][key] = max(gain, self._worthwhile[number].get(key, 0.0))
        wanted = [(number, key) for number in range(len(self.groups)) for key in self._probes(number)]
        wanted.sort(key=lambda single: -self._worthwhile[single[0]][single[1]])

        def measure(single: tuple[int, Key]) -> CheckFailed | None:
            return None if stop() else self._damage(*single)

        with one_blas_thread(), ThreadPoolExecutor(AT_ONCE) as pool:
            results = pool.map(measure, wanted)
            try:
                for done, failed in enumerate(results, start=1):
                    self._tell(failed)
                    emit(self._listeners, Progress("damage", done, len(wanted)))
            except KeyboardInterrupt:
                self._give_up()
                raise
            finally:
                pool.shutdown(cancel_futures=True)

    def measure_chosen(self, assignment: Assignment) -> bool:
        """Measures the joint values of an assignment that were only added up; whether there were any."""
        fresh = False
        for number, group in enumerate(self.groups):
            key = _lossy_key(group, assignment)
            if key not in self._known[number] and any(name != KEEP for name in key):
                self._tell(self._damage(number, key))
                fresh = True
        return fresh

    def scopes(self) -> tuple[Scope, ...]:
        """The tables as they are known now, as scopes whose prices hold damage alone."""
        return tuple(self._scope(number, group) for number, group in enumerate(self.groups))

    def _probes(self, number: int) -> list[Key]:
        """The worthwhile singles of a group that are measured up front."""
        found: list[Key] = []
        for position, choice in enumerate(self.groups[number]):
            rungs = self._rungs(number, position)
            on_ladder = {value.name for ladder in rungs for value in ladder}
            names = {value.name for ladder in rungs for value in probes(ladder)}
            found += [
                key
                for value in choice.values
                if (key := self._single(number, position, value.name)) in self._worthwhile[number]
                and (value.name in names or value.name not in on_ladder)
            ]
        return found

    def _rungs(self, number: int, position: int) -> list[tuple[Value, ...]]:
        """The ladders of one choice of a group, worthwhile rungs only."""
        return [
            tuple(v for v in ladder if self._single(number, position, v.name) in self._worthwhile[number])
            for ladder in ladders(self.groups[number][position])
        ]

    def _single(self, number: int, position: int, name: str) -> Key:
        return tuple(name if i == position else KEEP for i in range(len(self.groups[number])))

    def _damage(self, number: int, key: Key) -> CheckFailed | None:
        """Measures a joint value; says so where it cannot be written. May run in a thread of its own."""
        named = [choice.value(name) for choice, name in zip(self.groups[number], key, strict=True)]
        values = in_order(value for value in named if value is not None)
        try:
            self._known[number][key] = max(self._measure(values), 0.0)
        except RewriteFailed as error:
            self._known[number][key] = _IMPOSSIBLE
            what = " and ".join(f"{value.choice} = {value.name}" for value in values)
            return CheckFailed("rewrite", what, str(error))
        return None

    def _tell(self, failed: CheckFailed | None) -> None:
        if failed is not None:
            emit(self._listeners, failed)

    def _scope(self, number: int, group: Sequence[Choice]) -> Scope:
        table: dict[Key, Price] = {}
        for joint in product(*[[None, *choice.values] for choice in group]):
            key = tuple(KEEP if value is None else value.name for value in joint)
            lossy = tuple(_lossy_name(value) for value in joint)
            damage = self._estimate(number, lossy)
            if damage < _IMPOSSIBLE:
                guessed = set(lossy) != {KEEP} and lossy not in self._known[number]
                table[key] = Price(Estimate(0.0, 0.0, Source.PREDICTED), damage=damage, guessed=guessed)
        return Scope(f"damage:{number}", tuple(choice.id for choice in group), table)

    def _estimate(self, number: int, key: Key) -> float:
        """The measured damage, else the sum of that of the single values, where those are known."""
        known = self._known[number]
        if key in known:
            return known[key]
        return sum(self._estimate_single(number, at, name) for at, name in enumerate(key) if name != KEEP)

    def _estimate_single(self, number: int, position: int, name: str) -> float:
        known = self._known[number]
        key = self._single(number, position, name)
        if key in known:
            return known[key]
        for ladder in self._rungs(number, position):
            if any(value.name == name for value in ladder):
                measured = {
                    v.name: known[k] for v in ladder if (k := self._single(number, position, v.name)) in known
                }
                found = between(ladder, measured, name)
                return _IMPOSSIBLE if found is None else found
        return _IMPOSSIBLE


def _lossy_name(value: Value | None) -> str:
    return KEEP if value is None or value.risk == Risk.EXACT else value.name


def _lossy_key(group: Sequence[Choice], assignment: Assignment) -> Key:
    return tuple(_lossy_name(choice.value(assignment.get(choice.id, KEEP))) for choice in group)


def _alone(key: Key, position: int) -> Key:
    return tuple(name if i == position else KEEP for i, name in enumerate(key))


def coupled(choices: Sequence[Choice]) -> list[tuple[Choice, ...]]:
    """LOSSY choices in groups that are repaired as one: a form with the widths inside its block.

    A stream that leads through several blocks and after-effects on weights stand alone.
    """
    lossy = [c for c in choices if any(value.risk == Risk.LOSSY for value in c.values)]
    graph = nx.Graph()
    graph.add_nodes_from(range(len(lossy)))
    forms = [i for i, choice in enumerate(lossy) if choice.kind == Kind.FORM]
    for i, choice in enumerate(lossy):
        if choice.kind == Kind.WIDTH:
            inside = [f for f in forms if choice.places & lossy[f].places]
            graph.add_edges_from((i, f) for f in inside if len(inside) == 1)
    groups: list[tuple[Choice, ...]] = []
    for component in nx.connected_components(graph):
        members = tuple(lossy[i] for i in sorted(component))
        groups.extend([members] if len(members) <= LARGEST_GROUP else [(m,) for m in members])
    return sorted(groups, key=lambda group: lossy.index(group[0]))


def worthwhile(problem: Problem, group: Sequence[Choice], objective: Objective) -> dict[Key, float]:
    """Single LOSSY values that save something in the best of their joint values: which share of the whole."""
    base = problem.total({})
    assert base is not None
    whole = max(objective_value(base, objective), 1e-9)
    best: dict[Key, float] = {}
    for key, gain in _gains(problem, group, objective).items():
        for position, name in enumerate(key):
            if name != KEEP:
                single = _alone(key, position)
                best[single] = max(best.get(single, 0.0), gain / whole)
    return {key: share for key, share in best.items() if share > SMALLEST_GAIN}


def _gains(problem: Problem, group: Sequence[Choice], objective: Objective) -> dict[Key, float]:
    """What each joint LOSSY value saves in the objective, the rest of the model kept."""
    names = [choice.id for choice in group]
    mine = [scope for scope in problem.scopes if set(scope.choices) & set(names)]
    before = _sum(mine, {}, objective)
    assert before is not None
    lossy = [[KEEP, *(v.name for v in choice.values if v.risk == Risk.LOSSY)] for choice in group]
    after = {key: _sum(mine, dict(zip(names, key, strict=True)), objective) for key in product(*lossy)}
    return {key: before - figure for key, figure in after.items() if figure is not None}


def _sum(scopes: Sequence[Scope], assignment: Mapping[str, str], objective: Objective) -> float | None:
    """The objective over some scopes; None where the assignment is impossible in one of them."""
    prices = [scope.price(assignment) for scope in scopes]
    if any(price is None for price in prices):
        return None
    return sum(objective_value(price, objective) for price in prices if price is not None)
