"""Cohorts as trials of an Optuna study: in memory, or in a file to resume from and to share.

What a search does next follows from its seed and from the cohorts before alone, so every process
that has the same task and the same file writes the same cohorts, and reads those that others wrote.
Plans of a cohort wait until a process takes them. When none waits any more, an idle process also
works on what others still have in hand, and whoever is first writes: nobody waits for a process that
was killed, and no clock decides anything. So sharing and resuming change nothing about the outcome.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict

import numpy as np
import optuna
from optuna.samplers import NSGAIISampler
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from hwopt.estimate import Estimate, Source
from hwopt.scope import Assignment, Price
from hwopt.search.archive import Looked
from hwopt.search.arrays import Ints
from hwopt.search.evolve_journal import Journal, damaged, opened
from hwopt.search.problem import Budget, Objective, Task
from hwopt.search.tables import Figures, Tables, figures_of, score

VERSION = 2  # of what a search does with its seed: another number, another study
POPULATION = 100
SHARES = 4  # a cohort that processes share is taken in as many parts


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna says nothing in here."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


class _Selection(NSGAIISampler):
    """NSGA-II's parents, out of cohorts instead of generations of a fixed size."""

    def get_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        """The plans of a cohort that could be written."""
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return [trial for trial in done if trial.user_attrs["cohort"] == generation]


class Store:
    """The cohorts of one task, in its `store` or in memory.

    A trial has the plan's codes, its cohort's number and size, and its price where that was asked for.
    """

    def __init__(self, task: Task, tables: Tables) -> None:
        self._task, self._tables = task, tables
        self._journal: Journal | None = None
        self._storage: BaseStorage = InMemoryStorage()
        if task.store is not None:
            self._storage, self._journal = opened(task.store)
        with self._held():
            self._study = optuna.create_study(
                storage=self._storage,
                sampler=_Selection(population_size=POPULATION),
                study_name=f"evolve-{fingerprint(task)}",
                directions=["minimize"] * len(_objectives(task.budget)),
                load_if_exists=True,
            )
        self._study_id = self._storage.get_study_id_from_name(self._study.study_name)
        self._numbers: dict[str, int] = {}  # of the trials, by plan

    def cohort(self, number: int) -> Ints | None:
        """Its plans [plans, choices]; None where nobody has written all of it yet."""
        trials = self._cohort(number)
        try:
            if not trials or len(trials) < int(trials[0].user_attrs["size"]):
                return None
            plans = [trial.user_attrs["plan"] for trial in trials]
            codes = np.array([[int(code) for code in json.loads(plan)] for plan in plans], np.int64)
            codes = codes.reshape(len(plans), len(self._tables.sizes))
            if (codes < 0).any() or (codes >= self._tables.sizes).any():
                raise ValueError("a code that no value has")
        except (KeyError, ValueError, TypeError) as error:
            assert self._task.store is not None, "what is in memory is whole"
            raise damaged(self._task.store) from error
        self._numbers.update(zip(plans, (trial.number for trial in trials), strict=True))
        return codes

    def propose(self, number: int, codes: Ints) -> None:
        """Writes a cohort, or what a process that was killed left out of it."""
        with self._held():
            for row in codes[len(self._cohort(number)) :]:
                attrs = {"cohort": number, "size": len(codes), "plan": _written(row)}
                self._study.add_trial(create_trial(state=TrialState.WAITING, user_attrs=attrs))

    def parents(self, number: int) -> Ints:
        """The plans that NSGA-II crosses for a cohort: their numbers, counted through all cohorts."""
        with self._held():
            chosen = self._selection.get_parent_population(self._study, number)
        return np.array(sorted(trial.number for trial in chosen), np.int64)

    def tell(self, number: int, looked: Looked) -> None:
        """The figures of a cohort, or of the first plans of it, where nobody has told them yet."""
        with self._held():
            for row, trial in enumerate(self._cohort(number)[: len(looked.figures)]):
                if not trial.state.is_finished():
                    self._finish(trial.number, looked.figures.rows(slice(row, row + 1)))

    def prices(self, plans: Sequence[Assignment], /) -> list[Price | None]:
        """What the task's `evaluate` says of plans of a cohort, worked out with whoever else is at it."""
        assert self._task.evaluate is not None
        by_number = {
            self._numbers[_written(row)]: plan
            for row, plan in zip(self._tables.encode(plans), plans, strict=True)
        }
        while share := self._take(list(by_number)):
            self._put(share, self._task.evaluate([by_number[number] for number in share]))
        trials = self._study.get_trials(deepcopy=False)
        return [_price(trials[number].user_attrs.get("price")) for number in by_number]

    @property
    def _selection(self) -> _Selection:
        assert isinstance(self._study.sampler, _Selection)
        return self._study.sampler

    def _held(self) -> AbstractContextManager[None]:
        if self._journal is None:
            return nullcontext()
        assert isinstance(self._storage, JournalStorage)
        return self._journal.held(self._storage)

    def _cohort(self, number: int) -> list[FrozenTrial]:
        trials = self._study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.user_attrs.get("cohort") == number]

    def _take(self, numbers: list[int]) -> list[int]:
        """Plans that wait; where none does, some that another process has not finished yet."""
        with self._held():
            trials = self._study.get_trials(deepcopy=False)
            waiting = [n for n in numbers if trials[n].state == TrialState.WAITING]
            most = len(numbers) if self._journal is None else -(-len(numbers) // SHARES)
            for number in waiting[:most]:
                self._storage.set_trial_state_values(self._trial_id(number), TrialState.RUNNING)
            if waiting:
                return waiting[:most]
            return [n for n in numbers if not trials[n].state.is_finished()][-most:]

    def _put(self, numbers: Sequence[int], prices: Sequence[Price | None]) -> None:
        with self._held():
            trials = self._study.get_trials(deepcopy=False)
            for number, price in zip(numbers, prices, strict=True):
                if trials[number].state.is_finished():
                    continue
                if price is not None:
                    text = json.dumps(asdict(price), default=_plain)
                    self._storage.set_trial_user_attr(self._trial_id(number), "price", text)
                self._finish(number, figures_of([price]))

    def _finish(self, number: int, figures: Figures) -> None:
        """figures: of that one plan."""
        trial_id = self._trial_id(number)
        if not figures.possible[0]:
            self._storage.set_trial_state_values(trial_id, TrialState.FAIL)
            return
        violation = float(score(figures, self._task.budget)[0][0])
        self._storage.set_trial_system_attr(trial_id, "constraints:limits", violation)
        values = [float(figures.of(objective)[0]) for objective in _objectives(self._task.budget)]
        self._storage.set_trial_state_values(trial_id, TrialState.COMPLETE, values)

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)


def _objectives(budget: Budget) -> list[Objective]:
    """What is sorted by: latency, damage and footprint, and what is made small if it is none of them."""
    return list(dict.fromkeys((budget.objective, Objective.LATENCY, Objective.DAMAGE, Objective.FOOTPRINT)))


def _written(row: Ints) -> str:
    return json.dumps(row.tolist(), separators=(",", ":"))


def _plain(figure: object) -> object:
    """A number of NumPy's as Python's own."""
    if isinstance(figure, np.generic):
        return figure.item()
    raise TypeError(f"{figure!r} is not a figure")


def _price(text: str | None) -> Price | None:
    if text is None:
        return None
    read = json.loads(text)
    latency = read.pop("latency_us")
    source = Source(latency.pop("source"))
    live = tuple((int(step), int(held)) for step, held in read.pop("live"))
    unpriced = tuple(read.pop("unpriced"))
    return Price(Estimate(source=source, **latency), live=live, unpriced=unpriced, **read)


def fingerprint(task: Task) -> str:
    """Of all that decides what a search does, but for how long it may: it can be given more later."""
    problem = task.problem
    said = hashlib.sha256()
    for part in (
        VERSION,
        task.seed,
        task.budget,
        task.evaluate is None,
        [(choice.id, [value.name for value in choice.values]) for choice in problem.choices],
        sorted(sorted(cut.items()) for cut in task.cuts),
        [sorted(start.items()) for start in task.start],
        problem.fixed,
    ):
        said.update(repr(part).encode())
    for scope in problem.scopes:
        said.update(repr((scope.id, scope.choices)).encode())
        for key in sorted(scope.table):
            said.update(repr((key, scope.table[key])).encode())
    return said.hexdigest()[:16]
