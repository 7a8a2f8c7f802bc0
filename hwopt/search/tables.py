"""What whole plans cost, thousands at a time: one look into a table per scope, and a sum."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from hwopt.choice import KEEP
from hwopt.scope import Assignment, Price, Problem
from hwopt.search.arrays import (
    DAMAGE,
    LATENCY,
    MACS,
    WEIGHTS,
    Arrays,
    Bools,
    Floats,
    Ints,
    Joint,
    arrays,
    joined,
    steps_that_matter,
)
from hwopt.search.problem import Budget, Objective

CHUNK = 2048  # plans evaluated at once: what they need stays in the processor's cache
DENSE = 1 << 22  # joint values of a scope up to which every one has a place in an array
TOLERANCE = 1e-9  # as in Budget.violations


@dataclass(frozen=True)
class Figures:
    """Whole plans, one element each. Where one is impossible, `possible` is false and latency_us inf."""

    latency_us: Floats
    weight_bytes: Ints
    peak_bytes: Ints
    macs: Ints
    damage: Floats
    possible: Bools

    def __len__(self) -> int:
        return len(self.latency_us)

    @property
    def footprint_bytes(self) -> Ints:
        """Arena and weights together."""
        return self.peak_bytes + self.weight_bytes

    def of(self, objective: Objective) -> Floats:
        """The figure that an objective speaks of; inf where a plan is impossible."""
        figure = {
            Objective.LATENCY: self.latency_us,
            Objective.MEMORY: self.peak_bytes,
            Objective.SIZE: self.weight_bytes,
            Objective.FOOTPRINT: self.footprint_bytes,
            Objective.DAMAGE: self.damage,
        }[objective]
        return np.where(self.possible, figure, np.inf)

    def rows(self, which: Ints | Bools | slice) -> Figures:
        """Some of the plans."""
        return Figures(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


def figures_of(prices: Sequence[Price | None]) -> Figures:
    """The figures of prices that came from elsewhere; None is impossible."""
    nothing = (np.inf, 0, 0, 0, 0.0)
    rows = [
        nothing if p is None else (p.latency_us.value, p.weight_bytes, p.peak_bytes, p.macs, p.damage)
        for p in prices
    ]
    table = np.array(rows, np.float64).reshape(len(rows), 5)
    latency, weights, peak, macs, damage = table.T
    return _figures(latency, weights, peak, macs, damage)


def joined_figures(parts: Sequence[Figures]) -> Figures:
    """Several batches as one."""
    return Figures(*(np.concatenate([getattr(p, n) for p in parts]) for n in Figures.__dataclass_fields__))


def _figures(latency: Floats, weights: Floats, peak: Floats, macs: Floats, damage: Floats) -> Figures:
    weight_bytes, peak_bytes, products = (np.rint(f).astype(np.int64) for f in (weights, peak, macs))
    return Figures(latency, weight_bytes, peak_bytes, products, damage, np.isfinite(latency))


class Tables:
    """A problem's tables as arrays. A plan is a row of codes: one per choice, 0 for *keep*.

    Equal to `Problem.total` up to the rounding of sums; bytes are exact. Reusable and never changed.
    """

    def __init__(self, problem: Problem) -> None:
        whole = joined(arrays(problem))
        lean = whole.with_steps(steps_that_matter(whole))
        self.arrays = lean  # scopes joined, and of the schedule only the steps that matter
        self.choices = lean.choices
        self.names = lean.names
        self.sizes: Ints = np.array([len(names) for names in lean.names], np.int64)
        self._codes = [{name: code for code, name in enumerate(names)} for names in lean.names]
        self._steps = len(lean.steps)
        self._lookups = [_lookup(joint, lean) for joint in lean.joints]
        self._base = np.concatenate((lean.sums[[LATENCY, WEIGHTS, MACS, DAMAGE]], lean.held))
        for lookup in self._lookups:
            self._base[4:] += lookup.always

    def encode(self, assignments: Sequence[Assignment]) -> Ints:
        """[plans, choices]. Choices that an assignment leaves out keep; those unknown here are ignored.

        Raises KeyError for a value that a choice does not have.
        """
        rows = [
            [codes[a.get(choice, KEEP)] for choice, codes in zip(self.choices, self._codes, strict=True)]
            for a in assignments
        ]
        return np.array(rows, np.int64).reshape(len(rows), len(self.choices))

    def knows(self, assignment: Assignment) -> bool:
        """Whether every value that is not *keep* is one of the problem's."""
        known = dict(zip(self.choices, self._codes, strict=True))
        return all(name == KEEP or name in known.get(choice, {}) for choice, name in assignment.items())

    def decode(self, row: Sequence[int] | NDArray[np.integer]) -> dict[str, str]:
        """The assignment of one row; what keeps is left out."""
        pairs = zip(self.choices, self.names, row, strict=True)
        return {choice: names[int(code)] for choice, names, code in pairs if int(code)}

    def evaluate(self, codes: NDArray[np.integer]) -> Figures:
        """The figures of plans [plans, choices]; in chunks, so that memory does not grow with them."""
        parts = [self._chunk(codes[at : at + CHUNK]) for at in range(0, len(codes), CHUNK)]
        table = np.concatenate(parts) if parts else np.zeros((0, 5))
        latency, weights, macs, damage, peak = np.ascontiguousarray(table.T)
        return _figures(latency, weights, peak, macs, damage)

    def held(self, codes: NDArray[np.integer]) -> Floats:
        """Bytes alive at every step that can hold the peak [plans, steps]."""
        parts = [self._whole(codes[at : at + CHUNK])[:, 4:] for at in range(0, len(codes), CHUNK)]
        return np.concatenate(parts) if parts else np.zeros((0, self._steps))

    def _chunk(self, codes: NDArray[np.integer]) -> Floats:
        """[plans, 5]: the sums, then the peak."""
        sums = self._whole(codes)
        peak = sums[:, 4:].max(1) if self._steps else np.zeros(len(codes))
        return np.column_stack((sums[:, :4], peak))

    def _whole(self, codes: NDArray[np.integer]) -> Floats:
        """[plans, 4 + steps]: the sums, then what is alive at each step."""
        turned = np.ascontiguousarray(codes.T, dtype=np.int64)
        sums = np.empty((len(codes), len(self._base)))
        sums[:] = self._base
        for lookup in self._lookups:
            rows = lookup.rows(turned)
            sums[:, :4] += lookup.sums.take(rows, axis=0)
            if lookup.held.shape[1]:
                sums[:, lookup.span] += lookup.held.take(rows, axis=0)
        return sums


@dataclass(frozen=True)
class _Lookup:
    """One scope. sums: [entries + 1, 4] and held: [entries + 1, span], the last row the impossible one.

    places: of every joint value, its entry; empty where there are too many, then `keys` is searched.
    always: bytes that every entry holds, taken out of `held`.
    """

    columns: tuple[int, ...]
    strides: tuple[int, ...]
    keys: Ints
    places: Ints
    sums: Floats
    held: Floats
    span: slice
    always: Floats

    def rows(self, turned: Ints) -> Ints:
        """The entry of each plan. turned: [choices, plans]."""
        key = np.zeros(turned.shape[1], np.int64)
        for column, stride in zip(self.columns, self.strides, strict=True):
            key += turned[column] * stride if stride != 1 else turned[column]
        if len(self.places):
            return self.places.take(key)
        at = np.searchsorted(self.keys, key)
        at[at == len(self.keys)] = 0
        return np.where(self.keys[at] == key, at, len(self.keys)) if len(self.keys) else at


def _lookup(joint: Joint, whole: Arrays) -> _Lookup:
    sizes = [len(whole.names[column]) for column in joint.columns]
    strides = tuple(prod(sizes[number + 1 :]) for number in range(len(sizes)))
    keys = joint.codes @ np.array(strides, np.int64) if sizes else np.zeros(joint.entries, np.int64)
    order = np.argsort(keys)
    places = np.zeros(0, np.int64)
    if prod(sizes) <= DENSE or not joint.entries:
        places = np.full(prod(sizes), joint.entries, np.int64)
        places[keys[order]] = np.arange(joint.entries)
    always = joint.held.min(0) if joint.entries else np.zeros(len(whole.steps))
    more = joint.held[order] - always
    varied = np.flatnonzero(more.any(0))
    span = slice(int(varied[0]), int(varied[-1]) + 1) if len(varied) else slice(0, 0)
    sums = np.vstack((joint.sums[order][:, [LATENCY, WEIGHTS, MACS, DAMAGE]], [[np.inf, 0.0, 0.0, 0.0]]))
    held = np.vstack((more[:, span], np.zeros((1, span.stop - span.start))))
    return _Lookup(
        joint.columns, strides, keys[order], places, sums, held, slice(4 + span.start, 4 + span.stop), always
    )


def score(figures: Figures, budget: Budget) -> tuple[Floats, Floats]:
    """(violation, objective) of each plan: how all strategies that prove nothing compare plans.

    violation: the relative excesses over the hard limits added up (a limit of zero counts as one
    unit), 0.0 where all hold, inf where the plan is impossible; objective: inf there, too.
    """
    violation = np.zeros(len(figures))
    for figure, limit in limited(figures, budget):
        over = (figure - limit) / (limit if limit > 0 else 1.0)
        violation += np.where(figure > limit * (1 + TOLERANCE), over, 0.0)
    return np.where(figures.possible, violation, np.inf), figures.of(budget.objective)


def limited(figures: Figures, budget: Budget) -> Iterator[tuple[Floats | Ints, float]]:
    """Every figure that the budget limits, with its limit."""
    for figure, limit in (
        (figures.latency_us, budget.latency_us),
        (figures.peak_bytes, budget.peak_bytes),
        (figures.weight_bytes, budget.weight_bytes),
        (figures.footprint_bytes, budget.footprint_bytes),
        (figures.damage, budget.damage),
    ):
        if limit is not None:
            yield figure, float(limit)


def front(figures: Figures) -> Ints:
    """Numbers of the plans that no other one beats in latency, damage and footprint at once, by latency.

    Of plans that are equal in all three the first is taken; impossible ones are left out. One sweep by
    latency over the staircase of the other two (Kung, Luccio and Preparata, "On Finding the Maxima
    of a Set of Vectors", 1975).
    """
    latency, damage, footprint = figures.latency_us, figures.damage, figures.footprint_bytes
    order = np.lexsort((np.arange(len(figures)), footprint, damage, latency))
    order = order[figures.possible[order]]
    found: list[int] = []
    harms: list[float] = []  # of the staircase, rising; with it, sizes fall
    sizes: list[float] = []
    for number, harm, size in zip(
        order.tolist(), damage[order].tolist(), footprint[order].tolist(), strict=True
    ):
        at = bisect_right(harms, harm)
        if at and sizes[at - 1] <= size:
            continue
        found.append(number)
        start, stop = bisect_left(harms, harm), at
        while stop < len(sizes) and sizes[stop] >= size:
            stop += 1
        harms[start:stop], sizes[start:stop] = [harm], [size]
    return np.array(found, np.int64)
