"""The next cohort: plans nobody has looked at, made from those that were.

Three kinds. Guided: drawn in excess (along the path of the best ratio of gain to what it uses up, pairs
of changes, exchanges of a few values that pay only together), and the most promising by a linear
model taken. Steps: single changes of a good plan, which teach the model. Crossed: a connected region
of choices that share scopes from one parent, the rest from another, then mutated at a rate of one choice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from hwopt.scope import Problem
from hwopt.search.archive import Looked
from hwopt.search.arrays import Bools, Floats, Ints
from hwopt.search.evolve_model import Aim, Layout, Model, as_figures, columns, fitted
from hwopt.search.random_plans import draw
from hwopt.search.tables import Tables

STEPS = 0.3  # share of a cohort
CROSSED = 0.15
PATHS = 120  # candidates of each kind that the model chooses from
PAIRS = 150
CROSSINGS = 150
STRICT = (1.0, 10.0, 100.0)  # what a relative excess over the limits costs, in objectives of the input
FEW, RANDOM = 1 << 14, 1_000  # plans of a space that are listed; else as many are drawn at random
EXCHANGES = 100
MOST_FORCED, MOST_STEPS = 3, 12  # random changes at the start of an exchange, and steps after them
LEAST = 1e-9  # of the objective, that a step must gain
TASTE = 0.3  # by which factor, on a logarithmic scale, exchanges differ in what they think of a change
IMPOSSIBLE = 1e30
NOISE = 0.02  # of a path, relative to its most costly change
CENTRES = 40  # of the best plans, from which a cohort that does not start at the best one starts
CHEAP = 0.03  # the least that such a plan's excess over the limits costs, in objectives of the input


@dataclass(frozen=True)
class Space:
    """What does not change during a search. together: of each choice, those that share a scope with it."""

    tables: Tables
    layout: Layout
    together: tuple[Ints, ...]

    @staticmethod
    def of(problem: Problem, tables: Tables) -> Space:
        number = {choice: k for k, choice in enumerate(tables.choices)}
        near: list[set[int]] = [set() for _ in number]
        for scope in problem.scopes:
            members = [number[choice] for choice in scope.choices]
            for member in members:
                near[member].update(m for m in members if m != member)
        together = tuple(np.array(sorted(others), np.int64) for others in near)
        return Space(tables, Layout.of(tables.sizes), together)


@dataclass
class Seen:
    """Every plan that was looked at, in order."""

    codes: Ints
    figures: Floats
    violation: Floats
    objective: Floats
    keys: set[bytes] = field(default_factory=set)

    @staticmethod
    def nothing(choices: int) -> Seen:
        return Seen(np.zeros((0, choices), np.int64), np.zeros((0, 4)), np.zeros(0), np.zeros(0))

    def add(self, codes: Ints, looked: Looked) -> None:
        """A cohort. codes: [plans, choices]."""
        self.codes = np.concatenate((self.codes, codes))
        self.figures = np.concatenate((self.figures, columns(looked.figures)))
        self.violation = np.concatenate((self.violation, looked.violation))
        self.objective = np.concatenate((self.objective, looked.objective))
        self.keys.update(row.tobytes() for row in codes)

    def possible(self) -> Ints:
        """Numbers of the plans that can be written."""
        return np.flatnonzero(np.isfinite(self.figures[:, 0]))


def fresh(space: Space, seen: Seen, codes: Ints) -> Ints:
    """Those that can be written and were not looked at, each once, in their order.

    Whether a scope has an entry for a joint value is a rule, not a price: asking that counts for nothing.
    """
    rows = {row.tobytes(): row for row in np.ascontiguousarray(codes, np.int64)}
    new = [row for key, row in rows.items() if key not in seen.keys]
    found = np.array(new, np.int64).reshape(len(new), codes.shape[1])
    return found[space.tables.evaluate(found).possible]


def children(
    space: Space, aim: Aim, seen: Seen, parents: Ints, count: int, rng: Generator, steer: bool
) -> Ints:
    """The next cohort: [at most count, choices]. parents: numbers of plans in `seen`.

    steer: whether the tables may be asked for figures.
    """
    if not len(space.tables.sizes):
        return seen.codes[:0]
    known = seen.possible()
    if not len(known):
        return _anything(space, seen, rng)[:count]
    middle = _centre(aim, seen, known, rng)
    tables = space.tables if steer else None
    model = fitted(space.layout, seen.codes[known], seen.figures[known], middle, tables)
    crossed = fresh(space, seen, _crossed(space, seen, parents, rng))
    singles = fresh(space, seen, space.layout.moves(model.centre))
    guided = fresh(space, seen, np.concatenate((*_drawn(space, aim, model, rng), crossed, singles)))
    steps, mixed = int(STEPS * count), int(CROSSED * count)
    chosen = _promising(aim, model, guided, count - steps - mixed)
    chosen = _more(chosen, _promising(aim, model, singles, len(singles)), steps)
    chosen = _more(chosen, rng.permutation(crossed), mixed)
    chosen = _more(chosen, rng.permutation(guided), count - len(chosen))
    if len(chosen) < count:
        chosen = _more(chosen, _anything(space, seen, rng), count - len(chosen))
    return chosen[:count]


def _drawn(space: Space, aim: Aim, model: Model, rng: Generator) -> list[Ints]:
    """What the model is to choose from, but for what does not need it."""
    effects = np.nan_to_num(model.moves(), posinf=IMPOSSIBLE)
    exchanged = _exchanged(aim, model, effects, rng)
    coupled = _coupled(space, model, rng)
    return [_paths(aim, model, effects, rng), _pairs(aim, model, rng), exchanged, coupled]


def _anything(space: Space, seen: Seen, rng: Generator) -> Ints:
    """Where there is little new near what was seen: random plans, or all that are left of a small space."""
    sizes = space.tables.sizes
    if np.prod(sizes.astype(np.float64)) > FEW:
        return fresh(space, seen, draw(rng, sizes, RANDOM))
    every = np.indices(tuple(sizes.tolist())).reshape(len(sizes), -1).T
    return rng.permutation(fresh(space, seen, every))


def _centre(aim: Aim, seen: Seen, known: Ints, rng: Generator) -> int:
    """The best plan every other time, else a good one: within the limits or, at some price, beyond them.

    A few changes that pay only together often begin with one that breaks a limit. Its number in `known`.
    """
    violation, objective = seen.violation[known], seen.objective[known]
    if rng.random() < 0.5:
        return int(np.lexsort((objective, violation))[0])
    price = np.exp(rng.uniform(np.log(CHEAP), np.log(STRICT[1])))
    order = np.argsort(objective / aim.scale + price * violation, kind="stable")
    return int(order[int(rng.integers(min(len(order), CENTRES)))])


def _more(chosen: Ints, others: Ints, count: int) -> Ints:
    """With so many of the others that are not among them yet."""
    have = {row.tobytes() for row in chosen}
    new = [row for row in others if row.tobytes() not in have][: max(count, 0)]
    return np.concatenate((chosen, np.array(new, np.int64).reshape(-1, chosen.shape[1])))


def _promising(aim: Aim, model: Model, codes: Ints, count: int) -> Ints:
    """The best by the model, in turn for each strictness about the limits."""
    if not len(codes):
        return codes
    figures = model.predict(codes)
    orders = [np.argsort(aim.loss(figures, strict), kind="stable") for strict in STRICT]
    turns = np.stack(orders, axis=1).ravel()
    _, first = np.unique(turns, return_index=True)
    return codes[turns[np.sort(first)][:count]]


def _paths(aim: Aim, model: Model, effects: Floats, rng: Generator) -> Ints:
    """Per choice the value that costs least, for prices on what is limited from nothing to a lot.

    As the price rises, the plans go along the path of the best ratio (Everett, "Generalized Lagrange
    Multiplier Method", 1963). Half of them are taken in part alone, half with noise.
    """
    prices = np.exp(rng.uniform(np.log(1e-3), np.log(1e2), (PATHS, effects.shape[1])))
    costs = aim.costs(effects, prices)
    noise = NOISE * np.abs(aim.costs(model.effects, prices)).max(1, initial=0.0)
    costs[::2] += (rng.standard_normal(costs.shape) * noise[:, None])[::2]
    plans = model.layout.cheapest(costs)
    taken = rng.random(plans.shape) < rng.uniform(0.2, 0.9, (PATHS, 1))
    taken[: PATHS // 2] = True
    return np.where(taken, plans, model.centre)


def _exchanged(aim: Aim, model: Model, effects: Floats, rng: Generator) -> Ints:
    """The centre with a few random changes that stay, and whatever then improves it most, step by step.

    By the sum of single effects [columns, 4]: exchanges of several values in which no part pays by itself
    (ruin and recreate: Schrimpf et al., "Record Breaking Optimization Results Using the Ruin and
    Recreate Principle", 2000). Every one has a taste of its own, so that they do not all end alike.
    """
    layout, rows = model.layout, np.arange(EXCHANGES)
    plans, fixed = _ruined(model, rng)
    taste = np.exp(TASTE * rng.standard_normal((EXCHANGES, effects.shape[0])))
    for _ in range(MOST_STEPS):
        now = effects[plans + layout.first]
        whole = model.known + now.sum(1)
        after = whole[:, None] + effects - now[:, layout.choice]
        merit = _merit(aim, whole, after) * taste
        merit[fixed[:, layout.choice]] = 0.0
        best = merit.argmax(1)
        better = merit[rows, best] > 0
        if not better.any():
            break
        plans[rows[better], layout.choice[best[better]]] = layout.value[best[better]]
    return plans


def _merit(aim: Aim, whole: Floats, after: Floats) -> Floats:
    """[plans, columns]: what a step gains; beyond the limits, how much less it is so for what it loses."""
    excess, objective = (figure[:, None] for figure in aim.parts(as_figures(whole)))
    steps = aim.parts(as_figures(after.reshape(-1, after.shape[2])))
    less, gain = excess - steps[0].reshape(after.shape[:2]), objective - steps[1].reshape(after.shape[:2])
    mended = np.where(less > LEAST, less / np.maximum(-gain, LEAST), 0.0)
    return np.where(excess > 0, mended, np.where((less >= 0) & (gain > LEAST), gain, 0.0))


def _ruined(model: Model, rng: Generator) -> tuple[Ints, Bools]:
    """The centre with up to MOST_FORCED random changes, and where these are: [plans, choices] each."""
    layout = model.layout
    plans = np.repeat(model.centre[None], EXCHANGES, axis=0)
    fixed = np.zeros(plans.shape, bool)
    for number in range(MOST_FORCED):
        forced = rng.integers(0, len(layout.choice), EXCHANGES)
        some = np.flatnonzero(rng.random(EXCHANGES) < 1.0 / (number + 1))
        plans[some, layout.choice[forced[some]]] = layout.value[forced[some]]
        fixed[some, layout.choice[forced[some]]] = True
    return plans, fixed


def _coupled(space: Space, model: Model, rng: Generator) -> Ints:
    """The centre with two choices changed that share a scope: what they do together is no sum."""
    coupled = [number for number, others in enumerate(space.together) if len(others)]
    plans = np.repeat(model.centre[None], PAIRS if coupled else 0, axis=0)
    for plan in plans:
        one = int(rng.choice(coupled))
        two = int(rng.choice(space.together[one]))
        plan[[one, two]] = rng.integers(0, space.tables.sizes[[one, two]])
    return plans


def _pairs(aim: Aim, model: Model, rng: Generator) -> Ints:
    """The centre with two changes, the best pairs by the model."""
    layout = model.layout
    effects = model.moves()
    use = np.flatnonzero(np.isfinite(effects).all(1) & (layout.value != model.centre[layout.choice]))
    one, two = np.triu_indices(len(use), 1)
    one, two = use[one], use[two]
    apart = layout.choice[one] != layout.choice[two]
    one, two = one[apart], two[apart]
    figures = as_figures(model.known + effects[one] + effects[two])
    loss = aim.loss(figures, STRICT[1])
    best = np.argsort(loss, kind="stable")[:PAIRS]
    rows = np.repeat(model.centre[None], len(best), axis=0)
    for column in (one[best], two[best]):
        rows[np.arange(len(best)), layout.choice[column]] = layout.value[column]
    return rows


def _crossed(space: Space, seen: Seen, parents: Ints, rng: Generator) -> Ints:
    rows = []
    for _ in range(CROSSINGS):
        one, two = (seen.codes[parents[int(rng.integers(len(parents)))]] for _ in range(2))
        child = one.copy()
        region = _region(space, int(rng.integers(1, len(child) // 2 + 2)), rng)
        child[region] = two[region]
        mutated = np.flatnonzero(rng.random(len(child)) < 1.0 / len(child))
        child[mutated] = rng.integers(0, space.tables.sizes[mutated])
        rows.append(child)
    return np.array(rows, np.int64)


def _region(space: Space, size: int, rng: Generator) -> Ints:
    """So many choices that hang together, grown from a random one; another start where they run out."""
    inside: list[int] = []
    border: list[int] = []
    taken = np.zeros(len(space.together), bool)
    while len(inside) < min(size, len(taken)):
        if not border:
            border = [int(rng.choice(np.flatnonzero(~taken)))]
            taken[border[0]] = True
        number = border.pop(int(rng.integers(len(border))))
        inside.append(number)
        new = [int(k) for k in space.together[number] if not taken[k]]
        taken[new] = True
        border.extend(new)
    return np.array(inside, np.int64)
