"""Which samples a training sees, in which order, and as what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from hwopt.nodes import Array
from hwopt.repair.reference import Reference
from hwopt.tuning.recipe import Recipe
from hwopt.tuning.static import Unsupported
from hwopt.tuning.teacher import Lesson, Teacher


class Lessons:
    """Batches to learn from and samples to judge by; none is both, nor are variants of one.

    multiple: every batch is a multiple of it, for models whose batch is fixed.
    """

    def __init__(
        self,
        reference: Reference,
        teacher: Teacher,
        samples: Sequence[int],
        seed: int,
        recipe: Recipe,
        multiple: int,
    ) -> None:
        self._calibration = reference.calibration
        self._teacher = teacher
        self._recipe = recipe
        self._rng = np.random.default_rng([seed, len(samples)])
        order = self._rng.permutation(sorted({self._calibration.origin(i) for i in samples}))
        held = -(-round(recipe.held_out * len(order) + 0.5) // multiple) * multiple
        if len(order) < 2 * held:
            raise Unsupported(f"{len(order)} samples are too few for its fixed batch of {multiple}")
        self._judges = [int(i) for i in sorted(order[:held])]
        self._learners = order[held:]
        self._size = -(-min(recipe.batch, len(self._learners)) // multiple) * multiple
        self._queue: list[int] = []
        self._turn = 0

    def judges(self, size: int) -> Iterator[Lesson]:
        """The samples to judge by, so many at a time, always the same.

        Mixed as well: the closed-form fits have seen the samples themselves, so that the start looks
        better on them than it is on others.
        """
        rng = np.random.default_rng(0)
        for begin in range(0, len(self._judges), size):
            batch = self._judges[begin : begin + size]
            if self._recipe.mixed:
                yield self._teacher.fresh(mixed(self._calibration.batch(batch), rng))
            else:
                yield self._teacher.recorded(batch)

    def batch(self) -> Lesson:
        """The next batch: every learner once, as it is or as a variant, before any comes again."""
        while len(self._queue) < self._size:
            self._queue.extend(self._next_turn())
        batch, self._queue = self._queue[: self._size], self._queue[self._size :]
        mixes = bool(self._rng.random() < self._recipe.mixed)
        if not mixes and max(batch) < len(self._calibration):
            return self._teacher.recorded(batch)
        inputs = self._calibration.batch(batch)
        return self._teacher.fresh(mixed(inputs, self._rng) if mixes else inputs)

    def _next_turn(self) -> list[int]:
        """All learners in random order; where variants may be made, new ones in three turns of four."""
        turn, self._turn = self._turn, self._turn + 1
        samples = [int(i) for i in self._rng.permutation(self._learners)]
        if not self._calibration.copies or turn % self._recipe.original_turn == 0:
            return samples
        return [self._calibration.variant(sample, turn) for sample in samples]


def mixed(inputs: Mapping[str, Array], rng: np.random.Generator) -> dict[str, Array]:
    """Every sample with up to half of the next one in the batch; integers stay as they are.

    What the base makes of a mixture is as good a lesson as what it makes of a picture (Zhang et
    al., "mixup", ICLR 2018; as inputs of a teacher: Beyer et al., "Knowledge distillation: A good
    teacher is patient and consistent", CVPR 2022).
    """
    share = rng.uniform(0.0, 0.5, size=len(next(iter(inputs.values())))).astype(np.float32)
    found: dict[str, Array] = {}
    for name, array in inputs.items():
        found[name] = array
        if np.issubdtype(array.dtype, np.floating):
            values = array.astype(np.float32)
            shares = share.reshape(-1, *[1] * (array.ndim - 1))
            mixture = values + shares * (np.roll(values, 1, axis=0) - values)
            found[name] = mixture.astype(array.dtype, copy=False)
    return found
