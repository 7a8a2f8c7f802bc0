"""Scores of networks that nobody has trained, from one forward run (zero-shot).

NASWOT (Mellor et al., "Neural Architecture Search without Training", ICML 2021): how differently
a batch of samples switches the activations on and off; the logarithm of the determinant of the
kernel of agreeing codes. Zen-score (Lin et al., "Zen-NAS", ICCV 2021): how far a small perturbation
of Gaussian inputs moves the features before pooling, with the scale that normalisation took away
given back. Expressivity (Lee and Ham, "AZ-NAS", CVPR 2024): the entropy of the principal components
of the maps between blocks.

What they are worth is measured by `bench/zero_shot.py`, on 17 variants of the shipped model that were
repaired and trained briefly (17.7 to 76.2% right, 0.9 points of noise between seeds). Spearman's rho with
accuracy, and its 95% interval: NASWOT +0.89 (+0.69 to +0.98), expressivity +0.25 (-0.23 to +0.66),
Zen-score +0.22 (-0.30 to +0.66); parameters -0.13 (-0.55 to +0.37), MACs +0.72 (+0.36 to +0.92), predicted
latency +0.88 (+0.70 to +0.94), divergence after repair +0.88 (+0.73 to +0.97). The networks differ in
resolution, which parameters do not see. Between networks whose latencies are within 25%, NASWOT's
Kendall tau is +0.31 (-0.39 to +1.00): not told from zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from hwopt.nodes import Array, FloatArray
from hwopt.runtime import Session
from hwopt.shapes import infer_shapes
from hwopt.wording import said
from hwopt.zero_shot.probe import Probe, Weights, make_probe

SAMPLES = 16
REPEATS = 2  # drawings of weights and perturbations, whose scores are averaged
PERTURBATION = 0.01  # of the inputs' own deviation: Lin et al., section 4
FEWEST = 4
MOST_BYTES = 1 << 28  # of the largest map, for all samples together
FLOAT_BYTES = 4
Floats = npt.NDArray[np.float64]
WORTH = (
    "NASWOT of untrained weights; Spearman +0.89 (+0.69 to +0.98) with the accuracy of 17 briefly trained "
    "variants of a small classifier, where parameters have -0.13 (-0.55 to +0.37); between networks of like "
    "latency it is not told from chance"
)


@dataclass(frozen=True)
class Scores:
    """naswot, zen, expressivity: more is better; see the module."""

    naswot: float
    zen: float
    expressivity: float


def noise(model: ir.Model, samples: int = SAMPLES, seed: int = 0) -> FloatArray:
    """Gaussian images of the size that the model's first input wants."""
    shape = model.graph.inputs[0].shape
    sizes = [d if isinstance(d, int) else 1 for d in (shape.dims if shape is not None else ())][1:]
    return np.random.default_rng(seed).standard_normal((samples, *sizes)).astype(np.float32)


def affordable(model: ir.Model) -> int:
    """How many samples, each there twice, whose largest map takes `MOST_BYTES` at most; `FEWEST` at least."""
    largest = max((info.elements for info in infer_shapes(model, {}).values()), default=1)
    return min(SAMPLES, max(FEWEST, MOST_BYTES // (2 * FLOAT_BYTES * largest)))


def scores(
    model: ir.Model,
    images: Array | None = None,
    weights: Weights = Weights.DRAWN,
    seed: int = 0,
    repeats: int = REPEATS,
) -> Scores:
    """The scores of a network with one input, averaged over `repeats` drawings.

    images: samples [batch, ...] as the model takes them; Gaussian noise where there are none.
    Same arguments, same scores, on the same processor; names of nodes do not matter.
    Raises ValueError where the model has no convolution that could be scored.
    """
    given = noise(model, seed=seed) if images is None else np.asarray(images, np.float32)
    found = [
        _once(make_probe(model, weights, seed + number), given, seed + number) for number in range(repeats)
    ]
    return Scores(
        *(float(np.mean([getattr(s, f) for s in found])) for f in ("naswot", "zen", "expressivity"))
    )


def zero_shot_score(model: ir.Model, samples: int = SAMPLES) -> float | str:
    """The score that candidates are shown with, `WORTH` says what it is worth; or why there is none.

    samples: the same number for all that are to be compared (`affordable`).
    """
    try:
        found = scores(model, noise(model, samples)).naswot
    except Exception as error:  # whatever ONNX Runtime objects to: a score is never worth a run
        return said(error)
    return found if np.isfinite(found) else "the score is not a number"


def _once(probe: Probe, images: FloatArray, seed: int) -> Scores:
    rng = np.random.default_rng((seed, len(images)))
    moved = images + np.float32(PERTURBATION * images.std()) * rng.standard_normal(images.shape, np.float32)
    session = Session(probe.model)
    values = session.run({session.inputs[0].name: np.concatenate([images, moved])})
    return Scores(
        naswot([values[name] for name in probe.codes], len(images)),
        zen(values[probe.features], [values[name] for name in probe.deviations]),
        sum(entropy(values[name]) for name in probe.moments),
    )


def naswot(codes: Sequence[Array], samples: int) -> float:
    """Logarithm of the determinant of the kernel of agreeing activation codes (their equation 2).

    codes: per layer, agreeing minus disagreeing activations of every pair of samples. samples: how
    many of them count. Not a number where there are no activations; minus infinity where two samples
    have one code.
    """
    if not codes:
        return float("nan")
    difference = np.sum([np.asarray(code, np.float64)[:samples, :samples] for code in codes], axis=0)
    agreeing = (difference + difference[0, 0]) / 2  # a sample agrees with itself everywhere
    sign, logarithm = np.linalg.slogdet(agreeing)
    return float(logarithm) if sign > 0 else float("-inf")


def zen(features: Array, deviations: Sequence[Array]) -> float:
    """Logarithm of how far the features move, with the layers' own scales (their algorithm 1).

    features: first those of the samples, then those of the perturbed samples. deviations: per
    normalised layer, of its channels.
    """
    one, other = np.split(np.asarray(features, np.float64), 2)
    moved = np.sqrt(np.square(one - other).reshape(len(one), -1).sum(axis=1)).mean()
    scales = [0.5 * np.log(np.mean(np.square(np.asarray(d, np.float64)))) for d in deviations]
    return float(np.log(max(moved, 1e-30)) + np.sum(scales))


def entropy(moment: Array) -> float:
    """Entropy of the principal components of a map: log(channels) where all are alike, 0 for one."""
    parts = np.clip(np.linalg.eigvalsh(np.asarray(moment, np.float64)), 0.0, None)
    shares = parts / max(parts.sum(), 1e-30)
    shares = shares[shares > 0]
    return float(-np.sum(shares * np.log(shares)))
