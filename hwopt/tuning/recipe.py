"""How gradient steps are made, and what is told of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hwopt.nodes import FloatArray


@dataclass(frozen=True)
class Recipe:
    """Settings of a training, found on calibration folds of EfficientNet-Lite0.

    batch: samples in one step; rate: by how much a weight moves in one step at most, in units of
    its channel's root mean square, times the root of the error at the start where that is below one:
    small damage is mended in small steps; warmup: share of the steps over which the rate rises;
    features, scores: weights of the error at block ends and of the logits against the divergence;
    held_out: share of the samples that judge checkpoints; checks: how many checkpoints there are;
    average: decay of the running mean of the weights that is judged and kept; mixed: share of the
    batches whose samples are mixed with one another; original_turn: where there are variants, every
    so many turns through the samples is one through the samples themselves.
    """

    batch: int = 8
    rate: float = 8e-4
    warmup: float = 0.05
    features: float = 1.0
    scores: float = 3.0
    held_out: float = 0.125
    checks: int = 4
    average: float = 0.95
    mixed: float = 0.7
    original_turn: int = 4


RECIPE = Recipe()


@dataclass(frozen=True)
class Check:
    """A checkpoint: the error at the outputs of held-out samples now and at the start; the weights."""

    step: int
    steps: int
    error: float
    start: float
    weights: Mapping[str, FloatArray]


Listener = Callable[[Check], None]
