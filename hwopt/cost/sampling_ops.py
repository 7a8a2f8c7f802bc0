"""Single operators with log-uniform shapes: coverage of what no known network contains."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from hwopt.cost import sampling_ops_linear as linear
from hwopt.cost import sampling_ops_maps as maps
from hwopt.cost.sampling_draws import input_shape
from hwopt.cost.sampling_net import Net
from hwopt.cost.sampling_weights import random_style

# Not 0: numpy pads short seeds with zeros, so that (1, 2) and (1, 2, 0) are one stream, and the
# number that said "an operator" would also say which.
_STREAM = 2

Operator = Callable[[Net, ir.Value], ir.Value]
_BUILDERS: tuple[Operator, ...] = (
    linear.pointwise,
    linear.full_conv,
    linear.depthwise,
    linear.diagonal,
    linear.stem,
    linear.gemm,
    maps.add,
    maps.gate,
    maps.product,
    maps.scale,
    maps.pool,
    maps.global_pool,
    maps.reduction,
    maps.activation,
    maps.gelu,
    maps.resize,
    linear.transposed,
    maps.concat,
    maps.split,
    maps.arrange,
    maps.softmax,
    linear.matmul,
    linear.scores,
    maps.norm,
    linear.uneven,
    linear.grouped,
)
OPERATORS: dict[str, Operator] = {builder.__name__: builder for builder in _BUILDERS}
OPERATOR_WEIGHTS = {
    "pointwise": 18,
    "full_conv": 15,
    "depthwise": 14,
    "diagonal": 5,
    "stem": 3,
    "gemm": 9,
    "add": 6,
    "activation": 6,
    "pool": 4,
    "resize": 4,
    "transposed": 6,
    "concat": 3,
    "split": 3,
    "gate": 2,
    "product": 2,
    "scale": 2,
    "uneven": 4,
    "grouped": 6,
    "scores": 2,
    "reduction": 2,
    "matmul": 2,
}


def operator_net(seed: tuple[int, ...], operators: dict[str, Operator], weights: dict[str, int]) -> ir.Model:
    """One operator on one random input; `operators` maps kinds to builders, `weights` to frequencies."""
    rng = np.random.default_rng((*seed, _STREAM))
    kinds = sorted(operators)
    share = np.array([weights.get(kind, 1) for kind in kinds], np.float64)
    kind = kinds[int(rng.choice(len(kinds), p=share / share.sum()))]
    net = Net(kind, random_style(rng), seed)
    return net.model(operators[kind](net, net.input(*input_shape(rng))))
