"""Adam (Kingma & Ba, ICLR 2015) without decay, with a running mean of what it trains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

BETAS = (0.9, 0.99)
EPSILON = 1e-12


def pace(step: int, steps: int, warmup: float) -> float:
    """The share of the full rate at a step: a linear rise, then half a cosine down to zero."""
    rising = max(1.0, warmup * steps)
    if step + 1 < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step + 1 - rising) / max(1.0, steps - rising + 1)))


class Adam:
    """Moves leaf tensors against their gradients."""

    def __init__(self, leaves: Sequence[Tensor], average: float) -> None:
        import torch

        self._leaves = list(leaves)
        self._first = [torch.zeros_like(leaf) for leaf in leaves]
        self._second = [torch.zeros_like(leaf) for leaf in leaves]
        self._mean = [torch.zeros_like(leaf) for leaf in leaves]
        self._average = average
        self._count = 0

    def step(self, rate: float) -> None:
        """One step of all leaves; their gradients are dropped."""
        import torch

        self._count += 1
        one, two = BETAS
        debias = math.sqrt(1 - two**self._count) / (1 - one**self._count)
        with torch.no_grad():
            for leaf, first, second, mean in zip(
                self._leaves, self._first, self._second, self._mean, strict=True
            ):
                if leaf.grad is not None:
                    first.lerp_(leaf.grad, 1 - one)
                    second.mul_(two).addcmul_(leaf.grad, leaf.grad, value=1 - two)
                    leaf.addcdiv_(first, second.sqrt().add_(EPSILON), value=-rate * debias)
                    leaf.grad = None
                mean.lerp_(leaf, 1 - self._average)

    def averages(self) -> list[Tensor]:
        """The running means, without their bias towards the start's zero."""
        correction = 1 - self._average**self._count
        return [mean / correction for mean in self._mean]
