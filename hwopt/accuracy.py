"""How much two sets of model outputs differ, and what that means in accuracy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from hwopt.calibration.data import Labels
from hwopt.nodes import Array, is_op

Scores = npt.NDArray[np.float64]
Metric = Callable[[Mapping[str, Array], Labels | None], float]

FEWEST_CLASSES = 10  # an output of fewer numbers without Softmax or labels may be anything
NORMAL_95 = 1.959963984540054


@dataclass(frozen=True)
class Head:
    """The output that holds class scores, [samples, classes]; `softmax`: they are probabilities."""

    output: str
    softmax: bool


def class_scores(model: ir.Model, labelled: bool) -> Head | None:
    """The model's class scores, or None where it does not look like a classifier.

    A classifier has one output of two dimensions that ends in Softmax, or that has labels, or
    that has at least ten entries.
    """
    if len(model.graph.outputs) != 1:
        return None
    value = model.graph.outputs[0]
    shape = value.shape
    if shape is None or len(shape) != 2 or value.dtype not in (None, ir.DataType.FLOAT):
        return None
    softmax = is_op(value.producer(), "Softmax")
    classes = shape[1] if isinstance(shape[1], int) else 0
    if softmax or labelled or classes >= FEWEST_CLASSES:
        return Head(str(value.name), softmax)
    return None


def log_probabilities(scores: Array, softmax: bool) -> Scores:
    """Log probabilities from logits, or from probabilities where `softmax` was applied already."""
    values = scores.astype(np.float64)
    if softmax:
        return np.log(np.maximum(values, 1e-12))
    shifted = values - values.max(axis=1, keepdims=True)
    result: Scores = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def divergence(before: Array, after: Array, head: Head) -> Scores:
    """Kullback-Leibler divergence KL(before || after) of every sample, in nats."""
    p, q = log_probabilities(before, head.softmax), log_probabilities(after, head.softmax)
    result: Scores = np.sum(np.exp(p) * (p - q), axis=1)
    return result


def relative_error(before: Mapping[str, Array], after: Mapping[str, Array]) -> Scores:
    """|after - before| / |before| of every sample, Euclidean, the worst over all float outputs.

    Where none is of floats (labels, masks), the share of a sample's entries that differ.
    """
    worst: Scores | None = None
    for name, old in before.items():
        if not np.issubdtype(old.dtype, np.floating):
            continue
        a = old.reshape(len(old), -1).astype(np.float64)
        b = after[name].reshape(len(old), -1).astype(np.float64)
        error = np.linalg.norm(b - a, axis=1) / np.maximum(np.linalg.norm(a, axis=1), 1e-12)
        worst = error if worst is None else np.maximum(worst, error)
    return _share_that_differs(before, after) if worst is None else worst


def _share_that_differs(before: Mapping[str, Array], after: Mapping[str, Array]) -> Scores:
    """Of the entries of each sample, the worst over all outputs."""
    shares = [(old != after[name]).reshape(len(old), -1).mean(axis=1) for name, old in before.items()]
    worst: Scores = np.max(np.stack(shares), axis=0)
    return worst


def right(scores: Array, labels: Labels) -> npt.NDArray[np.bool_]:
    """Whether the highest score of each sample is its label's."""
    result: npt.NDArray[np.bool_] = scores.argmax(axis=1) == labels
    return result


@dataclass(frozen=True)
class Drop:
    """A drop in a metric, positive where the changed model is worse.

    error: paired standard error; interval: 95%, normal.
    """

    value: float
    error: float
    interval: tuple[float, float]


def paired_drop(before: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_]) -> Drop:
    """The drop in the share of samples that are right, from the samples that changed sides.

    The variance of a paired difference of proportions (Agresti, "Categorical Data Analysis",
    section 10.1): only discordant samples count.
    """
    count = len(before)
    difference = before.astype(np.float64) - after.astype(np.float64)
    value = float(difference.mean())
    error = float(difference.std(ddof=1) / np.sqrt(count)) if count > 1 else 0.0
    return Drop(value, error, (value - NORMAL_95 * error, value + NORMAL_95 * error))


def drop_over_folds(before: list[float], after: list[float]) -> Drop:
    """The drop of a user's own metric from its values per fold; the error is that of their mean."""
    difference = np.asarray(before, dtype=np.float64) - np.asarray(after, dtype=np.float64)
    value = float(difference.mean())
    error = float(difference.std(ddof=1) / np.sqrt(len(difference))) if len(difference) > 1 else 0.0
    return Drop(value, error, (value - NORMAL_95 * error, value + NORMAL_95 * error))


def expected_drop(before: Array, after: Array, labels: Labels, softmax: bool) -> Drop:
    """The drop in top-1 that the base model's own probabilities expect of the changed decisions.

    Each changed decision costs the probability of the old class less that of the new one. The
    probabilities are tempered so that the base is as confident on average as it is right (Guo
    et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2). Never negative,
    and less noisy than counting right answers: a plan that was picked because it happened to be
    lucky on a few hundred labels still shows what it does.
    """
    old = log_probabilities(before, softmax)
    first, now = old.argmax(axis=1), after.argmax(axis=1)
    rows = np.arange(len(old))
    tempered = np.exp(log_probabilities(old / _temperature(old, float((first == labels).mean())), False))
    losses = tempered[rows, first] - tempered[rows, now]
    error = float(losses.std(ddof=1) / np.sqrt(len(losses))) if len(losses) > 1 else 0.0
    value = float(losses.mean())
    return Drop(value, error, (value - NORMAL_95 * error, value + NORMAL_95 * error))


def _temperature(scores: Scores, accuracy: float) -> float:
    """The temperature at which the mean confidence is the accuracy, by bisection in the logarithm."""
    low, high = 0.05, 20.0
    for _ in range(40):
        middle = float(np.sqrt(low * high))
        confidence = float(np.exp(log_probabilities(scores / middle, False)).max(axis=1).mean())
        low, high = (middle, high) if confidence > accuracy else (low, middle)
    return float(np.sqrt(low * high))
