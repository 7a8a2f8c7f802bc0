"""Quantisation to int8 for cost: real weights, a fixed scheme for activations.

Cycles depend on the weights' stored values (Vela compresses the weight stream: zeros and
repeats are short), never on the activations' scales. So weights and biases are quantised as
a deployment would, per output channel and symmetric, and feature maps share one scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwopt.nodes import Array, FloatArray
from hwopt.oracles.tflite_schema import Quant

# One scale and zero point for all feature maps: operators that demand equal ones (concat,
# min, max, pool) then need no requantisation that a calibrated model would not have either.
FEATURE = Quant((0.05,), 0)
UNIT = Quant((1 / 256,), -128)  # what the TFLite specification prescribes for sigmoid and softmax
TANH = Quant((1 / 128,), 0)


@dataclass(frozen=True, eq=False)
class Weights:
    """Stored weights [out, ...] with one scale per output channel, and the bias in int32."""

    data: Array
    quant: Quant
    bias: Array
    bias_quant: Quant


def quantise_weights(weight: FloatArray, bias: FloatArray, axis: int, feature: Quant) -> Weights:
    """Symmetric int8 along `axis` (the output channel), and an int32 bias for this input scale."""
    others = tuple(a for a in range(weight.ndim) if a != axis)
    largest = np.abs(weight).max(axis=others).astype(np.float64)
    scales = np.where(largest > 0, largest, 1.0) / 127.0
    shape = [-1 if a == axis else 1 for a in range(weight.ndim)]
    stored = np.clip(np.rint(weight / scales.reshape(shape)), -127, 127).astype(np.int8)
    bias_scales = scales * feature.scales[0]
    limit = 2**31 - 1
    stored_bias = np.clip(np.rint(bias / bias_scales), -limit, limit).astype(np.int32)
    return Weights(
        stored, Quant(tuple(scales.tolist()), 0, axis), stored_bias, Quant(tuple(bias_scales.tolist()))
    )


def quantise_constant(data: Array) -> tuple[Array, Quant]:
    """A constant operand: symmetric int8, one scale."""
    values = np.asarray(data, np.float64)
    largest = float(np.abs(values).max(initial=0.0))
    scale = (largest if largest > 0 else 1.0) / 127.0
    return np.clip(np.rint(values / scale), -127, 127).astype(np.int8), Quant((scale,))


def saturating(low: float, high: float) -> Quant:
    """The quantisation whose storable range is [low, high]: storing clips, at no cost."""
    scale = (high - low) / 255.0
    return Quant((scale,), int(np.clip(np.rint(-128 - low / scale), -128, 127)))
