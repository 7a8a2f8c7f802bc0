"""Plans drawn at random: the floor that every other strategy has to beat."""

from __future__ import annotations

from math import log

import numpy as np

from hwopt.search.archive import Archive
from hwopt.search.arrays import Ints
from hwopt.search.problem import Outcome, Task

NAME = "random"
COHORT = 100  # plans that are drawn at once


def search(task: Task) -> Outcome:
    """The best of plans that know nothing of one another; those beyond a limit are passed over.

    The task's own starts are looked at first. Nothing is repaired: a plan that is impossible or breaks
    a limit counts as looked at. The same seed draws the same plans, so more evaluations only add.
    """
    archive = Archive(task)
    archive.look(archive.starts())
    rng = np.random.default_rng(task.seed)
    while not archive.ended:
        archive.look(draw(rng, archive.tables.sizes, COHORT))
    return archive.outcome(NAME)


def draw(rng: np.random.Generator, sizes: Ints, plans: int) -> Ints:
    """Codes of random plans [plans, choices]; sizes: values of each choice, *keep* among them.

    How many choices leave *keep* is drawn first, evenly on a logarithmic scale from one to all: a
    coin per choice would give plans of one density alone, all of them far beyond a tight limit.
    """
    choices = len(sizes)
    leaving = np.exp(rng.uniform(0.0, log(max(choices, 1)), plans))
    leaves = rng.random((plans, choices)) * choices < leaving[:, None]
    values = 1 + np.floor(rng.random((plans, choices)) * (sizes - 1)).astype(np.int64)
    return np.where(leaves & (sizes > 1), values, 0)
