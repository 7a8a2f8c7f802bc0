"""What a change would do to a plan's figures: a linear model of the plans seen so far, near one of them.

Figures of plans are nearly sums over choices, the more so the closer two plans are. Ridge regression
on one column per choice and value, weighted by closeness, tells from plans that differ in many
choices what each one did (a local response surface: Box and Wilson, "On the Experimental Attainment
of Optimum Conditions", 1951).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwopt.search.arrays import Floats, Ints
from hwopt.search.problem import Budget, Objective
from hwopt.search.tables import Figures, Tables, score

CLOSE = 3.0  # choices by which plans differ for the weight to fall to 1/e
MOST_ROWS = 1500  # the closest plans that are fitted to
RIDGE = 1e-4
COLUMNS = ("latency_us", "weight_bytes", "peak_bytes", "damage")


def columns(figures: Figures) -> Floats:
    """[plans, 4]: the figures that limits and objectives speak of."""
    return np.stack([np.asarray(getattr(figures, name), np.float64) for name in COLUMNS], axis=1)


def as_figures(table: Floats) -> Figures:
    """The other way round; all of them possible."""
    latency, weights, peak, damage = table.T
    nothing, possible = np.zeros(len(table), np.int64), np.ones(len(table), bool)
    return Figures(latency, _whole(weights), _whole(peak), nothing, damage, possible)


def _whole(figure: Floats) -> Ints:
    return np.rint(figure).astype(np.int64)


@dataclass(frozen=True)
class Layout:
    """One column per choice and value. choice, value: of each column; first: of each choice."""

    choice: Ints
    value: Ints
    first: Ints

    @staticmethod
    def of(sizes: Ints) -> Layout:
        """sizes: values of each choice, *keep* among them."""
        first = np.concatenate(([0], np.cumsum(sizes)[:-1])).astype(np.int64)
        choice = np.repeat(np.arange(len(sizes)), sizes)
        return Layout(choice, np.arange(int(sizes.sum())) - first[choice], first)

    def one_hot(self, codes: NDArray[np.integer]) -> Floats:
        """[plans, columns]."""
        table = np.zeros((len(codes), len(self.choice)))
        table[np.arange(len(codes))[:, None], codes + self.first] = 1.0
        return table

    def moves(self, plan: Ints) -> Ints:
        """[columns, choices]: the plan with one value set, for every column (its own values, too)."""
        rows = np.repeat(plan[None], len(self.choice), axis=0)
        rows[np.arange(len(rows)), self.choice] = self.value
        return rows

    def cheapest(self, costs: Floats) -> Ints:
        """[paths, choices]: of each choice the value that costs least. costs: [paths, columns]."""
        ends = np.append(self.first[1:], len(self.choice))
        parts = [costs[:, a:b].argmin(1) for a, b in zip(self.first, ends, strict=True)]
        return np.stack(parts, axis=1).astype(np.int64)


@dataclass(frozen=True)
class Model:
    """Predicted figures around `centre`, a plan whose figures are known.

    effects: [columns, 4], what setting a value does to the centre's figures, zero for its own values.
    tables: figures that are no more than a guide, where something else counts; their error is what
    was fitted then. None where nothing may be looked up.
    """

    layout: Layout
    centre: Ints
    known: Floats
    effects: Floats
    tables: Tables | None

    def predict(self, codes: NDArray[np.integer]) -> Figures:
        """Of plans [plans, choices]."""
        figures = self.known + self.layout.one_hot(codes) @ self.effects
        if self.tables is not None:
            figures += columns(self.tables.evaluate(codes)) - columns(self.tables.evaluate(self.centre[None]))
        return as_figures(figures)

    def moves(self) -> Floats:
        """[columns, 4]: what each single change does; inf where it is not allowed by itself."""
        if self.tables is None:
            return self.effects
        singles = columns(self.tables.evaluate(self.layout.moves(self.centre)))
        return self.effects + singles - columns(self.tables.evaluate(self.centre[None]))


def fitted(layout: Layout, codes: Ints, figures: Floats, centre: int, tables: Tables | None) -> Model:
    """The model around plan number `centre`. codes: [plans, choices], figures: [plans, 4], all finite."""
    away = (codes != codes[centre]).sum(1)
    rows = np.argsort(away, kind="stable")[:MOST_ROWS]
    known = figures[centre]
    wanted = figures[rows] - known
    if tables is not None:
        guide = columns(tables.evaluate(codes[rows]))
        wanted = wanted - (guide - columns(tables.evaluate(codes[[centre]])))
    scale = np.maximum(np.abs(wanted).max(0), 1e-12)
    own = layout.one_hot(codes[[centre]])[0]
    inputs = (layout.one_hot(codes[rows]) - own) * np.exp(-away[rows] / (2 * CLOSE))[:, None]
    outputs = wanted / scale * np.exp(-away[rows] / (2 * CLOSE))[:, None]
    gram = inputs.T @ inputs + RIDGE * np.eye(len(own))
    effects = np.linalg.solve(gram, inputs.T @ outputs) * scale
    effects -= effects[layout.first + codes[centre]][layout.choice]
    return Model(layout, codes[centre], known, effects, tables)


@dataclass(frozen=True)
class Aim:
    """How good a plan's figures are, as one number: the less the better.

    scale: the objective of the unchanged model, so that it counts as 1.
    """

    budget: Budget
    scale: float

    def loss(self, figures: Figures, strict: float) -> Floats:
        """The objective, and `strict` times the relative excess over the limits."""
        violation, objective = self.parts(figures)
        return objective + strict * violation

    def parts(self, figures: Figures) -> tuple[Floats, Floats]:
        """The relative excess over the limits, and the objective as a share of the unchanged model's."""
        violation, objective = score(figures, self.budget)
        return violation, objective / self.scale

    def costs(self, effects: Floats, prices: Floats) -> Floats:
        """[paths, columns]: the objective's share of changes [columns, 4], and the price of what they use.

        prices: [paths, 4], of as much of each figure as its limit.
        """
        own = np.zeros(len(COLUMNS))
        for name in _SUMMED[self.budget.objective]:
            own[COLUMNS.index(name)] = 1.0 / self.scale
        return (own + prices * self.per_unit()) @ effects.T

    def per_unit(self) -> Floats:
        """1 / limit of each column, 0.0 where it has none."""
        budget = self.budget
        limits = [budget.latency_us, budget.weight_bytes, budget.peak_bytes, budget.damage]
        rates = np.array([0.0 if limit is None else 1.0 / (limit or 1.0) for limit in limits])
        if budget.footprint_bytes is not None:
            rates[1:3] += 1.0 / (budget.footprint_bytes or 1.0)
        return rates


_SUMMED = {
    Objective.LATENCY: ("latency_us",),
    Objective.MEMORY: ("peak_bytes",),
    Objective.SIZE: ("weight_bytes",),
    Objective.FOOTPRINT: ("weight_bytes", "peak_bytes"),
    Objective.DAMAGE: ("damage",),
}
