"""Weights for sampled models: distributions, zeros and codebooks as trained and rewritten networks have them.

On accelerators that compress the weight stream the values decide what a layer costs, so a
cost model that saw only normal weights would misprice every sparse, padded or densified layer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import onnx_ir as ir

from hwopt.nodes import FloatArray

Distribution = Literal["normal", "laplace", "student", "heavy"]
DISTRIBUTIONS: tuple[Distribution, ...] = ("normal", "laplace", "student", "heavy")
_FREEDOM = {"student": 5.0, "heavy": 2.5}  # degrees of freedom: the fewer, the heavier the tails


@dataclass(frozen=True)
class WeightStyle:
    """How one layer's weights are drawn. Shares are in 0..1.

    channel_spread: standard deviation of the log of the output channels' scales.
    zeros: share of weights set to zero, smallest magnitudes first (unstructured pruning).
    zero_outputs, zero_inputs: share of channels that are zero (padding by alignment).
    two_of_four: the two smaller of every four neighbouring input channels are zero.
    outliers: factor on each output channel's largest weight; it coarsens all others' steps.
    levels: number of distinct values per layer; 0 leaves them free.
    diagonal: a depthwise kernel written as a dense one: zero off the diagonal.
    """

    distribution: Distribution = "normal"
    channel_spread: float = 0.4
    zeros: float = 0.0
    zero_outputs: float = 0.0
    zero_inputs: float = 0.0
    two_of_four: bool = False
    outliers: float = 1.0
    levels: int = 0
    diagonal: bool = False


def random_style(rng: np.random.Generator) -> WeightStyle:
    """The style of a whole network's weights: a distribution and a spread of channel scales."""
    return WeightStyle(DISTRIBUTIONS[rng.integers(3)], float(rng.uniform(0.0, 0.8)))


def layer_style(style: WeightStyle, rng: np.random.Generator) -> WeightStyle:
    """One layer's style: layers of a trained network differ, some have heavy tails or outliers."""
    draw = rng.random()
    if draw < 0.25:
        style = replace(style, distribution=DISTRIBUTIONS[rng.integers(len(DISTRIBUTIONS))])
    if 0.2 < draw < 0.4:
        style = replace(style, outliers=float(np.exp(rng.uniform(0.0, np.log(6.0)))))
    return style


def optimised_style(style: WeightStyle, kernel: int, rng: np.random.Generator) -> WeightStyle:
    """The style after what an optimizer may have done to one layer: nothing, mostly."""
    style = layer_style(style, rng)
    draw = rng.random()
    if draw < 0.12 and kernel == 1:
        return replace(style, zeros=float(rng.uniform(0.25, 0.75)))
    if draw < 0.16:
        return replace(style, zeros=float(rng.uniform(0.02, 0.6)))
    if draw < 0.19:
        return replace(style, zeros=float(rng.choice([0.25, 0.5, 0.75])))
    if draw < 0.22:
        return replace(style, two_of_four=True)
    if draw < 0.26:
        return replace(style, levels=int(rng.choice([4, 8, 16, 16, 32])))
    if draw < 0.29:
        return replace(style, zero_outputs=float(rng.uniform(0.02, 0.3)))
    if draw < 0.32:
        return replace(style, zero_inputs=float(rng.uniform(0.02, 0.3)))
    return style


def draw_weight(shape: tuple[int, ...], style: WeightStyle, seed: tuple[int, ...]) -> FloatArray:
    """Weights [out, in / group, *kernel] of the given style; never all zero."""
    rng = np.random.default_rng(seed)
    weight = _values(shape, style.distribution, rng)
    spread = rng.standard_normal((shape[0],) + (1,) * (len(shape) - 1), np.float32)
    weight *= np.exp(np.float32(style.channel_spread) * spread)
    if style.diagonal:
        weight *= np.eye(shape[0], shape[1]).reshape(shape[:2] + (1,) * (len(shape) - 2))
    if style.outliers > 1.0:
        _magnify(weight, style.outliers)
    if style.levels:
        weight = _codebook(weight, style.levels)
    if style.zeros:
        weight[np.abs(weight) < np.quantile(np.abs(weight), style.zeros)] = 0.0
    if style.two_of_four:
        _halve(weight)
    _zero_tail(weight, style.zero_outputs, 0)
    _zero_tail(weight, style.zero_inputs, 1)
    if not weight.any():
        weight.flat[0] = 1.0
    fan_in = max(1, int(np.prod(shape[1:])))
    scaled: FloatArray = (weight / np.sqrt(fan_in)).astype(np.float32)
    return scaled


def lazy_weight(shape: tuple[int, ...], style: WeightStyle, seed: tuple[int, ...]) -> ir.LazyTensor:
    """The same, drawn only when somebody reads it: whole networks are built to cut one block out."""
    return ir.LazyTensor(
        lambda: ir.tensor(draw_weight(shape, style, seed)),
        dtype=ir.DataType.FLOAT,
        shape=ir.Shape(shape),
        cache=True,
    )


def _values(shape: tuple[int, ...], distribution: Distribution, rng: np.random.Generator) -> FloatArray:
    """Independent draws, in single precision from the start: this is most of a sample's time."""
    normal = rng.standard_normal(shape, np.float32)
    if distribution == "laplace":
        sides: FloatArray = np.copysign(rng.standard_exponential(shape, np.float32), normal)
        return sides
    if distribution in _FREEDOM:
        half = _FREEDOM[distribution] / 2  # Student's t: a normal over the root of a scaled chi-square
        chi = rng.standard_gamma(half, shape, np.float32) / half
        tailed: FloatArray = normal / np.sqrt(np.maximum(chi, 1e-12))
        return tailed
    return normal


def _codebook(weight: np.ndarray, levels: int) -> np.ndarray:
    """Each value replaced by the nearest of evenly spaced quantiles, as after weight clustering."""
    codes = np.unique(np.quantile(weight, (np.arange(levels) + 0.5) / levels))
    edges = (codes[1:] + codes[:-1]) / 2
    return np.asarray(codes[np.searchsorted(edges, weight)])


def _zero_tail(weight: np.ndarray, share: float, axis: int) -> None:
    """Zeroes the last channels along an axis in place, always leaving at least one."""
    count = min(round(share * weight.shape[axis]), weight.shape[axis] - 1)
    if count > 0:
        index = [slice(None)] * weight.ndim
        index[axis] = slice(weight.shape[axis] - count, None)
        weight[tuple(index)] = 0.0


def _magnify(weight: np.ndarray, factor: float) -> None:
    """Multiplies each output channel's largest weight in place."""
    rows = weight.reshape(len(weight), -1)
    rows[np.arange(len(rows)), np.abs(rows).argmax(axis=1)] *= factor


def _halve(weight: np.ndarray) -> None:
    """Zeroes the two smaller of every four neighbouring input channels in place, tap by tap."""
    whole = weight.shape[1] // 4 * 4
    fours = weight[:, :whole].reshape(weight.shape[0], whole // 4, 4, *weight.shape[2:])
    order = np.abs(fours).argsort(axis=2, kind="stable")
    np.put_along_axis(fours, order[:, :, :2], 0.0, axis=2)
    weight[:, :whole] = fours.reshape(weight.shape[0], whole, *weight.shape[2:])
