"""How far the student is from the teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwopt.accuracy import Head

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST = 1e-12


@dataclass(frozen=True)
class Losses:
    """outputs, features: names of values; head: what the outputs are, for a classifier."""

    outputs: tuple[str, ...]
    features: tuple[str, ...]
    head: Head | None

    def at_outputs(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Tensor:
        """Mean Kullback-Leibler divergence, or the relative squared error of all float outputs."""
        if self.head is None:
            return _mean([relative(student[n], teacher[n]) for n in self.outputs if _is_float(teacher[n])])
        name, softmax = self.head.output, self.head.softmax
        p, q = _log_probabilities(teacher[name], softmax), _log_probabilities(student[name], softmax)
        return (p.exp() * (p - q)).sum(dim=1).mean()

    def at_scores(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Tensor:
        """The relative squared error of a classifier's logits, of all classes alike; else zero.

        A thousand numbers per image say more than the few classes that the divergence weighs (Kim et
        al., "Comparing Kullback-Leibler Divergence and Mean Squared Error Loss in Knowledge
        Distillation", IJCAI 2021).
        """
        if self.head is None:
            return _mean([])
        name, softmax = self.head.output, self.head.softmax
        return relative(_logits(student[name], softmax), _logits(teacher[name], softmax))

    def at_features(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Tensor:
        """The relative squared error, averaged over the block ends."""
        alike = [n for n in self.features if student[n].shape == teacher[n].shape]  # not of pruned streams
        return _mean([relative(student[n], teacher[n]) for n in alike if _is_float(teacher[n])])


def relative(value: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error over the variance of what is wanted."""
    return (value - wanted).square().mean() / wanted.var(correction=0).clamp(min=SMALLEST)


def _logits(scores: Tensor, softmax: bool) -> Tensor:
    """Logits; from probabilities only up to a constant per sample, so that of mean zero."""
    if not softmax:
        return scores
    logarithms = scores.clamp(min=SMALLEST).log()
    return logarithms - logarithms.mean(dim=1, keepdim=True)


def _log_probabilities(scores: Tensor, softmax: bool) -> Tensor:
    return scores.clamp(min=SMALLEST).log() if softmax else scores.log_softmax(dim=1)


def _mean(parts: list[Tensor]) -> Tensor:
    import torch

    return torch.stack(parts).mean() if parts else torch.zeros(())


def _is_float(value: Tensor) -> bool:
    return bool(value.is_floating_point())
