"""Gradient steps after the closed-form repair: the changed model learns from the base.

The student is the changed model from where it departs from the base; the teacher is the base on
the same samples. Errors are lowered together: that of the outputs (for classifiers the
Kullback-Leibler divergence from the teacher: Hinton et al., "Distilling the Knowledge in a
Neural Network", 2015, and the squared error of all logits; else the squared error), and the squared
error at the ends of blocks (Romero et al., "FitNets", ICLR 2015). No labels are used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from hwopt.accuracy import class_scores
from hwopt.nodes import FloatArray
from hwopt.repair.frontier import start_cut
from hwopt.repair.reference import Reference
from hwopt.resolution import seen_by
from hwopt.runtime import fixed_batch
from hwopt.tuning.available import pinned, require_torch
from hwopt.tuning.lessons import Lessons
from hwopt.tuning.losses import Losses
from hwopt.tuning.program import Program, as_tensors, compiled, needed
from hwopt.tuning.recipe import RECIPE, Check, Listener, Recipe
from hwopt.tuning.static import Unsupported
from hwopt.tuning.steps import Adam, pace
from hwopt.tuning.teacher import Lesson, Teacher, block_ends
from hwopt.tuning.weights import Trained, tensors, trainable, write

if TYPE_CHECKING:
    from torch import Tensor

ACTIVATION_BYTES = 1 << 30  # kept for the way back, of the samples that are computed at once


def tune(
    reference: Reference,
    fitted: ir.Model,
    samples: Sequence[int],
    *,
    seed: int,
    steps: int,
    recipe: Recipe = RECIPE,
    listener: Listener | None = None,
) -> ir.Model:
    """A clone with weights improved by so many gradient steps; never worse on samples held out.

    samples: recorded ones that may be seen; where the calibration data has variants, new ones of
    them are made on the way. listener: told of every checkpoint.
    Raises Unsupported where the model has an operator without gradient, BadInput without PyTorch.
    """
    improved = fitted.clone()
    reference = seen_by(reference, fitted)
    if steps > 0:
        require_torch()
        with pinned(reference.threads):
            student = _student(reference, fitted)
            training = _Training(student, reference, samples, seed, steps, recipe)
            write(improved, student.trained, training.run(listener))
    return improved


def tuned(reference: Reference, fitted: ir.Model, folds: Sequence[int], *, seed: int, steps: int) -> ir.Model:
    """The end of a repair on these folds: the model tuned, or as it is where `why_not` has a reason."""
    if steps == 0:
        return fitted
    try:
        return tune(reference, fitted, reference.training(folds), seed=seed, steps=steps)
    except Unsupported:
        return fitted


def why_not(reference: Reference, changed: ir.Model) -> str:
    """The reason why a changed model cannot be tuned; empty where it can."""
    try:
        require_torch()
        _student(seen_by(reference, changed), changed)
    except Unsupported as error:
        return str(error)
    return ""


@dataclass(frozen=True)
class _Student:
    """The changed model as a program, its trained weights, its teacher and what is compared."""

    program: Program
    trained: list[Trained]
    teacher: Teacher
    losses: Losses


def _student(reference: Reference, fitted: ir.Model) -> _Student:
    cut = start_cut(reference, fitted)
    outputs = [str(v.name) for v in fitted.graph.outputs]
    features = block_ends(reference, fitted, cut)
    wanted = [*features, *outputs]
    head = class_scores(reference.base, reference.calibration.labels is not None)
    return _Student(
        compiled(fitted, cut.values, wanted),
        trainable(needed(fitted, cut.values, wanted)),
        Teacher(reference, cut, wanted),
        Losses(tuple(outputs), tuple(features), head),
    )


class _Training:
    """One training on its way."""

    def __init__(
        self,
        student: _Student,
        reference: Reference,
        samples: Sequence[int],
        seed: int,
        steps: int,
        recipe: Recipe,
    ) -> None:
        self._student = student
        self._reference = reference
        self._recipe = recipe
        self._steps = steps
        multiple = fixed_batch(reference.base) or 1
        self._lessons = Lessons(reference, student.teacher, samples, seed, recipe, multiple)
        self._at_once = self._fitting(multiple)

    def _fitting(self, multiple: int) -> int:
        """How many samples are computed at once: as many as memory has room for."""
        import torch

        probe = next(self._lessons.judges(multiple))
        with torch.no_grad():
            size = self._student.program.bytes_of(as_tensors(probe.feeds), {}) // multiple
        return max(ACTIVATION_BYTES // max(size, 1) // multiple, 1) * multiple

    def run(self, listener: Listener | None) -> dict[str, FloatArray]:
        """The trained values of the weights, by name.

        Those of the last checkpoint, where the rate has come down to zero, if they are better than the
        start; else the best of the others, or the start. A few held-out samples cannot tell which of
        two good checkpoints is better on other samples, where it was found to be the last.
        """
        import torch

        recipe, trained = self._recipe, self._student.trained
        changes = {one.name: torch.zeros(one.start.shape, requires_grad=True) for one in trained}
        optimizer = Adam(list(changes.values()), recipe.average)
        best: dict[str, FloatArray] = {one.name: one.start for one in trained}
        first = least = self._judged({})
        rate = recipe.rate * min(first, 1.0) ** 0.5
        every = max(1, self._steps // recipe.checks)
        for step in range(self._steps):
            self._reference.go_on()
            self._learn(changes)
            optimizer.step(rate * pace(step, self._steps, recipe.warmup))
            if (step + 1) % every and step + 1 < self._steps:
                continue
            with torch.no_grad():
                weights = tensors(trained, dict(zip(changes, optimizer.averages(), strict=True)))
            arrays = {name: weight.contiguous().numpy() for name, weight in weights.items()}
            error = self._judged(weights)
            if error < least or (step + 1 == self._steps and error < first):
                least, best = error, arrays
            if listener is not None:
                listener(Check(step + 1, self._steps, error, first, arrays))
        return best

    def _learn(self, changes: Mapping[str, Tensor]) -> None:
        """The gradients of one batch, a few samples at a time."""
        lesson = self._lessons.batch()
        for part in lesson.parts(self._at_once):
            weights = tensors(self._student.trained, changes)
            values, wanted = self._values(part, weights)
            losses, recipe = self._student.losses, self._recipe
            error = losses.at_outputs(values, wanted)
            error = error + recipe.scores * losses.at_scores(values, wanted)
            error = error + recipe.features * losses.at_features(values, wanted)
            (error * (len(part) / len(lesson))).backward()

    def _values(
        self, lesson: Lesson, weights: Mapping[str, Tensor]
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """What the student makes of a lesson, and what it should."""
        return self._student.program.run(as_tensors(lesson.feeds), weights), as_tensors(lesson.wanted)

    def _judged(self, weights: Mapping[str, Tensor]) -> float:
        """The error at the outputs of the samples that are not learned from."""
        import torch

        total, count = 0.0, 0
        with torch.no_grad():
            for lesson in self._lessons.judges(self._at_once):
                total += float(self._student.losses.at_outputs(*self._values(lesson, weights))) * len(lesson)
                count += len(lesson)
        return total / count
