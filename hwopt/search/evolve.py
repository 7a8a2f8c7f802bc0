"""Evolution in cohorts: non-dominated sorting, and a model of what single changes do to guide it.

Each cohort's figures come at once. Parents are selected by NSGA-II (Deb et al., "A fast and elitist
multiobjective genetic algorithm", 2002) as Optuna has it; a plan within the limits beats one beyond
them. Children are made in `evolve_children`, and kept by Optuna's storage (`evolve_store`): a search
with a store that is killed goes on where it was and finds what it would have found, and processes
that are given one store and one task share its plans. Randomness follows from the seed and
the number of the cohort alone.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np

from hwopt.search.archive import Archive
from hwopt.search.arrays import Ints
from hwopt.search.evolve_children import Seen, Space, children, fresh
from hwopt.search.evolve_model import Aim
from hwopt.search.evolve_store import Store, quiet
from hwopt.search.problem import Outcome, Task, objective_value

NAME = "evolve"
FIRST, MORE, MOST = 20, 10, 100  # plans of the first cohort, how many more each next has, and the most
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
    seen = Seen.nothing(len(tables.choices))
    for number in count():
        codes = store.cohort(number)
        if codes is None:
            made = _made(task, archive, space, aim, seen, store, number)
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


def _made(
    task: Task, archive: Archive, space: Space, aim: Aim, seen: Seen, store: Store, number: int
) -> Ints:
    """The plans of a cohort; none where there is nothing new to look at."""
    rng = np.random.default_rng([task.seed, number])
    size = min(FIRST + MORE * number, MOST)
    if number == 0:
        return _opening(task, archive, space, rng)[:size]
    return children(space, aim, seen, store.parents(number), size, rng, task.evaluate is not None)


def _opening(task: Task, archive: Archive, space: Space, rng: np.random.Generator) -> Ints:
    """The task's own starts, what the tables say where they are a guide, and single changes."""
    starts = archive.starts()
    guide = starts[:0]
    if task.evaluate is not None:
        # Not stopped either: what it finds must not depend on when somebody thought of that.
        alone = Task(task.problem, task.budget, task.seed, GUESSES, task.cuts, task.start)
        guide = _guide(_evolved(alone))
    singles = space.layout.moves(starts[0])
    return fresh(
        space, Seen.nothing(starts.shape[1]), np.concatenate((starts, guide, rng.permutation(singles)))
    )


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
