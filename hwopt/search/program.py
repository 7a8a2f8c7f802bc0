"""The mixed-integer program of a problem: columns, rows and costs, before any solver sees them.

One binary per choice and value (a *pick*), and one per entry of a table over several choices; the
marginals of a table over each of its choices are the picks. Tables over one choice cost on its picks.
All figures are linear in both; a limit on memory is a row for every step of the schedule that can
hold the peak, and where the peak itself counts it is a column above them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hwopt.scope import Assignment
from hwopt.search.arrays import DAMAGE, LATENCY, WEIGHTS, Arrays, Floats, Ints, Joint
from hwopt.search.problem import Budget, Objective
from hwopt.search.tables import Tables


@dataclass(frozen=True)
class Row:
    """lower <= sum of weights times columns <= upper."""

    lower: float
    upper: float
    columns: Ints
    weights: Floats


@dataclass(frozen=True)
class Linear:
    """A figure of the whole plan: a constant, and a weight for every column."""

    constant: float
    weights: Floats

    def at_most(self, limit: float, slack: int | None = None) -> Row:
        """The row that holds it to a limit, in units of the limit; a slack column counts in them, too."""
        unit = limit if limit > 0 else 1.0
        columns = np.flatnonzero(self.weights)
        weights = self.weights[columns] / unit
        if slack is not None:
            columns, weights = np.append(columns, slack), np.append(weights, -1.0)
        return Row(-np.inf, (limit - self.constant) / unit, columns, weights)


@dataclass
class Program:
    """Built from arrays whose steps are those that matter. The peak's column is in units of `unit`."""

    whole: Arrays
    lower: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        sizes = [len(names) for names in self.whole.names]
        self.offsets = [int(offset) for offset in np.cumsum([0, *sizes])]
        self._add(self.offsets[-1], 0.0, 1.0)
        self.first = [self._columns(joint) for joint in self.whole.joints]
        self.integers = len(self.lower)  # the columns before this one are binary
        least = self.whole.held + sum((j.held.min(0) for j in self.whole.joints if j.entries), start=0.0)
        self.unit = max(float(least.max(initial=0.0)), 1.0)
        self.peak = self._add(1, float(least.max(initial=0.0)) / self.unit, np.inf)
        for start, stop in zip(self.offsets, self.offsets[1:], strict=False):
            self._sums_to_one(np.arange(start, stop))
        for joint, first in zip(self.whole.joints, self.first, strict=True):
            self._link(joint, first)

    def _add(self, count: int, lower: float, upper: float) -> int:
        self.lower += [lower] * count
        self.upper += [upper] * count
        return len(self.lower) - count

    def _columns(self, joint: Joint) -> Ints:
        """The column of each entry: its pick where the table has one choice alone."""
        if len(joint.columns) == 1:
            return self.offsets[joint.columns[0]] + joint.codes[:, 0]
        return self._add(joint.entries, 0.0, 1.0) + np.arange(joint.entries)

    def _sums_to_one(self, columns: Ints) -> None:
        self.rows.append(Row(1.0, 1.0, columns, np.ones(len(columns))))

    def _link(self, joint: Joint, columns: Ints) -> None:
        """Entries with a value are taken as often as the value is picked; one that no entry has, never."""
        if not joint.columns:
            self._sums_to_one(columns)
        for place, choice in enumerate(joint.columns):
            for code in range(len(self.whole.names[choice])):
                members = columns[joint.codes[:, place] == code]
                pick = self.offsets[choice] + code
                if not len(members):
                    self.upper[pick] = 0.0
                elif len(joint.columns) > 1:
                    weights = np.append(np.ones(len(members)), -1.0)
                    self.rows.append(Row(0.0, 0.0, np.append(members, pick), weights))

    def slack(self) -> int:
        """A new column for what is over a limit."""
        return self._add(1, 0.0, np.inf)

    def sums(self, figure: int) -> Linear:
        """A figure that adds up: a column of `Joint.sums`."""
        return self._linear([j.sums[:, figure] for j in self.whole.joints], float(self.whole.sums[figure]))

    def alive(self, step: int) -> Linear:
        """Bytes alive at a step, by its number among those that matter."""
        return self._linear([j.held[:, step] for j in self.whole.joints], float(self.whole.held[step]))

    def _linear(self, figures: Sequence[Floats], constant: float) -> Linear:
        weights = np.zeros(len(self.lower))
        for columns, figure in zip(self.first, figures, strict=True):
            np.add.at(weights, columns, figure)
        return Linear(constant, weights)

    def figure(self, objective: Objective) -> Linear:
        """What an objective speaks of."""
        if objective == Objective.LATENCY:
            return self.sums(LATENCY)
        if objective == Objective.DAMAGE:
            return self.sums(DAMAGE)
        size = self.sums(WEIGHTS) if objective != Objective.MEMORY else Linear(0.0, np.zeros(len(self.lower)))
        if objective != Objective.SIZE:
            size.weights[self.peak] = self.unit
        return size

    def limit(self, budget: Budget, elastic: bool) -> list[int]:
        """Rows for the hard limits; where they may be broken, the columns that say by what share."""
        slacks = []
        limits = limits_of(budget)
        for _ in limits if elastic else ():
            slacks.append(self.slack())
        for number, (objective, limit) in enumerate(limits.items()):
            slack = slacks[number] if elastic else None
            for figure in self._held() if objective == Objective.MEMORY else [self.figure(objective)]:
                self.rows.append(figure.at_most(limit, slack))
        if budget.objective in _PEAK or Objective.FOOTPRINT in limits:
            self._peak()
        return slacks

    def _held(self) -> list[Linear]:
        return [self.alive(step) for step in range(len(self.whole.steps))]

    def _peak(self) -> None:
        """The peak's column is above what is alive at every step."""
        for alive in self._held():
            columns = np.append(np.flatnonzero(alive.weights), self.peak)
            weights = alive.weights[columns] / self.unit
            weights[-1] = -1.0
            self.rows.append(Row(-np.inf, -alive.constant / self.unit, columns, weights))

    def forbid(self, codes: Sequence[int]) -> None:
        """A plan that must not come back: at least one choice differs."""
        columns = np.array([o + c for o, c in zip(self.offsets, codes, strict=False)], np.int64)
        self.rows.append(Row(-np.inf, len(columns) - 1.0, columns, np.ones(len(columns))))

    def codes(self, solution: Floats) -> list[int]:
        """The plan of a solution."""
        ranges = zip(self.offsets, self.offsets[1:], strict=False)
        return [int(np.argmax(solution[start:stop])) for start, stop in ranges]

    def solution(self, codes: Sequence[int], peak_bytes: int) -> Floats | None:
        """The columns' values of a plan without slacks; None where it is impossible."""
        values = np.zeros(len(self.lower))
        for joint, columns in zip(self.whole.joints, self.first, strict=True):
            chosen = [codes[column] for column in joint.columns]
            rows = np.flatnonzero((joint.codes == chosen).all(1))
            if not len(rows):
                return None
            values[columns[rows[0]]] = 1.0
        for offset, code in zip(self.offsets, codes, strict=False):
            values[offset + code] = 1.0
        values[self.peak] = peak_bytes / self.unit
        return values


_PEAK = frozenset({Objective.MEMORY, Objective.FOOTPRINT})


def limits_of(budget: Budget) -> dict[Objective, float]:
    """The hard limits there are, by what they limit."""
    every = {
        Objective.LATENCY: budget.latency_us,
        Objective.MEMORY: budget.peak_bytes,
        Objective.SIZE: budget.weight_bytes,
        Objective.FOOTPRINT: budget.footprint_bytes,
        Objective.DAMAGE: budget.damage,
    }
    return {objective: float(limit) for objective, limit in every.items() if limit is not None}


def known_cuts(cuts: Sequence[Assignment], tables: Tables) -> list[Mapping[str, str]]:
    """The cuts that name a plan of this problem; others cannot come back anyway."""
    return [cut for cut in cuts if tables.knows(cut)]
