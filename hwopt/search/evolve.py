"""Evolution in cohorts: non-dominated sorting, and a model of what single changes do to guide it.

The first cohorts are the plans that `greedy` looks at; they count like all others. Each cohort's
figures come at once. Parents are selected by NSGA-II (Deb et al., "A fast and elitist
multiobjective genetic algorithm", 2002) as Optuna has it; a plan within the limits beats one beyond
them. Children are made in `evolve_children`, and kept by Optuna's storage (`evolve_store`): a search
with a store that is killed goes on where it was and finds what it would have found, and processes
that are given one store and one task share its plans. Randomness follows from the seed and
the number of the cohort alone.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from itertools import count

import numpy as np
from numpy.typing import NDArray

from hwopt.search.archive import Archive, Looked
from hwopt.search.arrays import Ints
from hwopt.search.evolve_children import Seen, Space, children, fresh
from hwopt.search.evolve_model import Aim
from hwopt.search.evolve_store import Store, quiet
from hwopt.search.greedy import descend
from hwopt.search.problem import Outcome, Task, objective_value
from hwopt.search.tables import Tables

NAME = "evolve"
FIRST, MORE, MOST = 20, 10, 100  # plans of the first cohort, how many more each next has, and the most
DESCENT = 500  # plans of the first cohorts at most
GUESSES = 2_000  # plans that are looked at in the tables first, where these are no more than a guide


def search(task: Task) -> Outcome:
    """The best plan that so many cohorts come to; the last one may be cut short by `evaluations`.

    Where the task has `evaluate`, the tables guide: the search starts from what it finds in them,
    and the model learns how far they are off. Raises BadInput for a store that is not one.
    """
    with quiet():
        return _evolved(task).outcome(NAME)


def _evolved(task: Task) -> Archive:
    archive = Archive(task)
    tables = archive.tables
    store = Store(task, tables)
    if task.evaluate is not None:
        archive = Archive(replace(task, evaluate=store.prices), tables)
    space, aim = Space.of(task.problem, tables), _aim(task)
    seen, opening = Seen.nothing(len(tables.choices)), cache(partial(_opening, task, archive, space))
    for number in count():
        codes = store.cohort(number)
        if codes is None:
            made = opening()[_part(number)]
            if not len(made):
                rng = np.random.default_rng([task.seed, number])
                steer = task.evaluate is not None
                made = children(space, aim, seen, store.parents(number), _size(number), rng, steer)
            if not len(made):
                break
            store.propose(number, made)
            codes = store.cohort(number)
            assert codes is not None, "a cohort that was written can be read"
        looked = archive.look(codes)
        store.tell(number, looked)
        seen.add(codes[: len(looked.figures)], looked)
        if archive.ended:
            break
    return archive


def _size(number: int) -> int:
    """Plans of a cohort."""
    return min(FIRST + MORE * number, MOST)


def _part(number: int) -> slice:
    """Where a cohort's plans stand in the opening, as far as it goes."""
    begin = sum(_size(before) for before in range(number))
    return slice(begin, begin + _size(number))


def _opening(task: Task, archive: Archive, space: Space) -> Ints:
    """The plans of the first cohorts: the task's own starts, and what is found from them in the tables.

    Where the tables count, every plan that a descent looked at. Where they are a guide, what they
    think best, and single changes.
    """
    # Neither is stopped: what is found must not depend on when somebody thought of that.
    alone = Task(task.problem, task.budget, task.seed, GUESSES, task.cuts, task.start)
    nothing = Seen.nothing(len(archive.tables.sizes))
    if task.evaluate is None:
        return fresh(space, nothing, _descent(replace(alone, evaluations=DESCENT), archive.tables))
    starts = archive.starts()
    singles = np.random.default_rng([task.seed, 0]).permutation(space.layout.moves(starts[0]))
    opening = np.concatenate((starts, _guide(_evolved(alone)), singles))
    return fresh(space, nothing, opening)[:FIRST]


def _descent(task: Task, tables: Tables) -> Ints:
    """Every plan that `greedy` looks at, in its order."""
    archive = _Kept(task, tables)
    descend(archive)
    return np.concatenate(archive.looked_at)


class _Kept(Archive):
    """Also keeps the plans that were looked at."""

    def __init__(self, task: Task, tables: Tables) -> None:
        super().__init__(task, tables)
        self.looked_at: list[Ints] = []

    def look(self, codes: NDArray[np.integer]) -> Looked:
        looked = super().look(codes)
        self.looked_at.append(np.asarray(codes[: len(looked.figures)], np.int64))
        return looked


def _guide(archive: Archive) -> Ints:
    """What the tables think best, and half a cohort of their front."""
    best = [] if archive.best is None else [archive.best]
    points = archive.front()
    some = np.unique(np.linspace(0, len(points) - 1, min(len(points), FIRST // 2)).astype(int))
    front = archive.tables.encode([points[int(number)].assignment for number in some])
    return np.concatenate((np.array(best, np.int64).reshape(-1, front.shape[1]), front))


def _aim(task: Task) -> Aim:
    unchanged = task.problem.total({})
    figure = 0.0 if unchanged is None else objective_value(unchanged, task.budget.objective)
    return Aim(task.budget, figure or 1.0)
