"""The activation that follows a value, whether it is one operator or written out as several.

Exporters without HardSwish or SiLU spell them as Add, Clip, Mul and Div, or as Sigmoid and
Mul, in many orders. Instead of listing the orders, a chain of elementwise operators is
followed and evaluated on a fixed grid of numbers; it is what its values say it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from scipy.special import erf

from hwopt.nodes import attr_float, attr_string, constant_array, is_op, scalar, single_consumer

Kind = Literal[
    "none",
    "relu",
    "relu6",
    "clip",
    "hardswish",
    "silu",
    "leaky_relu",
    "prelu",
    "sigmoid",
    "tanh",
    "hardsigmoid",
    "gelu",
]
Floats = npt.NDArray[np.floating]
F = TypeVar("F", bound=np.floating)


@dataclass(frozen=True)
class Activation:
    """An elementwise function; equal activations compute the same.

    low, high: bounds of relu, relu6 and clip. alpha: slope of leaky_relu and hardsigmoid.
    beta: offset of hardsigmoid. slopes: of prelu, one per channel (axis 1) or a single one.
    """

    kind: Kind
    low: float = -inf
    high: float = inf
    alpha: float = 0.0
    beta: float = 0.0
    slopes: tuple[float, ...] = ()

    @property
    def bounded(self) -> bool:
        """Whether it is a clamp between two numbers (relu, relu6, clip), or nothing at all."""
        return self.kind in ("none", "relu", "relu6", "clip")

    def apply(self, array: npt.NDArray[F]) -> npt.NDArray[F]:
        """The function on an array [batch, channels, ...], in the array's own dtype."""
        return _APPLY[self.kind](self, array).astype(array.dtype, copy=False)

    def slope(self, array: npt.NDArray[F]) -> npt.NDArray[F]:
        """The derivative on an array, in the array's own dtype; where there is none, that of the inside.

        Raises KeyError for a kind that is not in FITTED.
        """
        return np.asarray(_SLOPE[self.kind](self, array)).astype(array.dtype, copy=False)


FITTED = frozenset(
    {"none", "relu", "relu6", "clip", "hardswish", "silu", "leaky_relu", "gelu"}
)  # what a fit of the weights before it can take into account
NONE = Activation("none")
HARDSWISH = Activation("hardswish")
SILU = Activation("silu")
SIGMOID = Activation("sigmoid")
GELU = Activation("gelu")  # with the error function, not its approximation by tanh
HARDSIGMOID = Activation("hardsigmoid", alpha=1 / 6, beta=0.5)  # the one inside HardSwish


@dataclass(frozen=True)
class Match:
    """An activation that was found: its nodes in graph order, and the value that comes out."""

    activation: Activation
    nodes: tuple[ir.Node, ...]
    output: ir.Value

    @property
    def decomposed(self) -> bool:
        """Whether it is written as more than one operator."""
        return len(self.nodes) > 1


def clamp(low: float, high: float) -> Activation:
    """The clamp between two numbers, under its most specific name."""
    if low == 0 and high == inf:
        return Activation("relu", 0.0, inf)
    return Activation("relu6" if (low, high) == (0, 6) else "clip", low, high)


def following_activation(value: ir.Value) -> Match | None:
    """The activation that alone reads `value`, native or decomposed; None where there is none.

    Nothing outside the match reads `value` or anything inside the match, and none of them is
    a graph output, so that producer and activation can be run as one.
    """
    if value.is_graph_output():
        return None
    node = single_consumer(value)
    if node is not None:
        activation = native_activation(node) if node.inputs[0] is value else None
        if activation is not None:
            return Match(activation, (node,), node.outputs[0])
    return _follow(value)


def native_activation(node: ir.Node) -> Activation | None:
    """The activation that a single operator is, None where it is none or its parameters vary."""
    if is_op(node, "Relu"):
        return clamp(0.0, inf)
    if is_op(node, "Clip"):
        bounds = clip_bounds(node)
        return None if bounds is None else clamp(*bounds)
    if is_op(node, "LeakyRelu"):
        return Activation("leaky_relu", alpha=attr_float(node, "alpha", 0.01))
    if is_op(node, "HardSigmoid"):
        alpha, beta = attr_float(node, "alpha", 0.2), attr_float(node, "beta", 0.5)
        return (
            HARDSIGMOID
            if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5
            else Activation("hardsigmoid", alpha=alpha, beta=beta)
        )
    if is_op(node, "PRelu"):
        return _prelu(node)
    if is_op(node, "Gelu"):
        return GELU if attr_string(node, "approximate", "none") == "none" else None
    simple = {"Sigmoid": SIGMOID, "Tanh": Activation("tanh"), "HardSwish": HARDSWISH}
    return simple.get(node.op_type) if is_op(node, *simple) else None


def clip_bounds(node: ir.Node) -> tuple[float, float] | None:
    """Bounds of a Clip, from attributes (before opset 11) or constant inputs; None where they vary."""
    bounds = []
    for index, name, default in ((1, "min", -inf), (2, "max", inf)):
        operand = node.inputs[index] if len(node.inputs) > index else None
        bound = scalar(operand) if operand is not None else attr_float(node, name, default)
        if bound is None:
            return None
        bounds.append(default if abs(bound) >= float(np.finfo(np.float32).max) else bound)
    return bounds[0], bounds[1]


def _prelu(node: ir.Node) -> Activation | None:
    slopes = constant_array(node.inputs[1])
    if slopes is None or (
        slopes.size > 1 and (slopes.ndim < 2 or slopes.shape[-slopes.ndim + 1 :] != (1,) * (slopes.ndim - 1))
    ):
        return None
    return Activation("prelu", slopes=tuple(float(slope) for slope in slopes.ravel()))


# --- following a chain -------------------------------------------------------------------

_GRID: npt.NDArray[np.float64] = np.concatenate([np.linspace(-12, 12, 97), [-1000.0, 1000.0]])
_TOLERANCE = 1e-5
_LONGEST = 6


def _follow(value: ir.Value) -> Match | None:
    """Follows elementwise operators from the value until what they compute is an activation."""
    nodes: list[ir.Node] = []
    current = value
    result: Floats = _GRID
    for _ in range(_LONGEST):
        step = _next(current, value, nodes)
        computed = None if step is None else _evaluate(step, current, value, result)
        if step is None or computed is None:
            return None
        nodes.append(step)
        current, result = step.outputs[0], computed
        activation = _classify(result)
        if activation is not None and {use.node for use in value.uses()} <= set(nodes):
            return Match(activation, tuple(nodes), current)
    return None


def _next(current: ir.Value, start: ir.Value, nodes: list[ir.Node]) -> ir.Node | None:
    """The operator that reads `current`; from the start, the one that is not the closing product."""
    readers = [use.node for use in current.uses()]
    if current is start and len(readers) == 2:
        gates = [node for node in readers if not _reads_computed(node, start)]
        return gates[0] if len(gates) == 1 else None
    if len(readers) != 1 or (nodes and current.is_graph_output()):
        return None
    return readers[0]


def _reads_computed(node: ir.Node, start: ir.Value) -> bool:
    """Whether it is a product of the start and something that is neither the start nor a constant."""
    others = [value for value in node.inputs if value is not start]
    return is_op(node, "Mul") and len(others) == 1 and scalar(others[0]) is None


def _evaluate(node: ir.Node, current: ir.Value, start: ir.Value, x: Floats) -> Floats | None:
    """The node's result on the grid, None where it is no elementwise function of the start alone."""
    unary = _evaluate_unary(node, x)
    if unary is not None:
        return unary
    if not is_op(node, "Add", "Sub", "Mul", "Div", "Max", "Min") or len(node.inputs) != 2:
        return None
    left, right = (_operand(value, current, start, x) for value in node.inputs)
    if left is None or right is None or (is_op(node, "Div") and node.inputs[1] is current):
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        return _BINARY[node.op_type](left, right)


def _evaluate_unary(node: ir.Node, x: Floats) -> Floats | None:
    if is_op(node, "Erf"):
        return np.asarray(erf(x))
    if is_op(node, "Relu", "Sigmoid", "HardSigmoid", "Clip", "HardSwish"):
        activation = native_activation(node)
        return None if activation is None else activation.apply(x)
    return None


def _operand(value: ir.Value | None, current: ir.Value, start: ir.Value, x: Floats) -> Floats | None:
    if value is current:
        return x
    if value is start:
        return _GRID
    number = scalar(value)
    return None if number is None else np.full_like(_GRID, number)


def _classify(result: Floats) -> Activation | None:
    for candidate in (HARDSWISH, SILU, HARDSIGMOID, GELU):
        if np.allclose(result, candidate.apply(_GRID), rtol=_TOLERANCE, atol=_TOLERANCE):
            return candidate
    return None


# --- what each kind computes -------------------------------------------------------------


def _sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    result: Floats = 0.5 * (1 + np.tanh(0.5 * x))
    return result


def _hardsigmoid(activation: Activation, x: Floats) -> Floats:
    result: Floats = np.clip(activation.alpha * x + activation.beta, 0, 1)
    return result


def _apply_prelu(activation: Activation, x: Floats) -> Floats:
    slopes = np.asarray(activation.slopes, dtype=x.dtype)
    if slopes.size > 1:
        slopes = slopes.reshape(-1, *[1] * (x.ndim - 2))
    return np.where(x < 0, x * slopes, x)


def _silu_slope(x: Floats) -> Floats:
    gate = _sigmoid(x)
    result: Floats = gate * (1 + x * (1 - gate))
    return result


def _hardswish_slope(x: Floats) -> Floats:
    return np.where(x <= -3, 0.0, np.where(x >= 3, 1.0, x / 3 + 0.5))


def _gelu_slope(x: Floats) -> Floats:
    density = np.exp(-0.5 * np.square(x)) / math.sqrt(2 * math.pi)
    return np.asarray(0.5 * (1 + erf(x / math.sqrt(2))) + x * density)


_BINARY: dict[str, Callable[[Floats, Floats], Floats]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Max": np.maximum,
    "Min": np.minimum,
}

_APPLY: dict[Kind, Callable[[Activation, Floats], Floats]] = {
    "none": lambda a, x: x,
    "relu": lambda a, x: np.clip(x, a.low, a.high),
    "relu6": lambda a, x: np.clip(x, a.low, a.high),
    "clip": lambda a, x: np.clip(x, a.low, a.high),
    "hardswish": lambda a, x: x * np.clip(x / 6 + 0.5, 0, 1),
    "silu": lambda a, x: x * _sigmoid(x),
    "leaky_relu": lambda a, x: np.where(x < 0, x * a.alpha, x),
    "prelu": _apply_prelu,
    "sigmoid": lambda a, x: _sigmoid(x),
    "tanh": lambda a, x: np.tanh(x),
    "hardsigmoid": _hardsigmoid,
    "gelu": lambda a, x: 0.5 * x * (1 + erf(x / math.sqrt(2))),
}

_SLOPE: dict[Kind, Callable[[Activation, Floats], Floats | npt.NDArray[np.bool_]]] = {
    "none": lambda a, x: np.ones_like(x),
    "relu": lambda a, x: (x > a.low) & (x < a.high),
    "relu6": lambda a, x: (x > a.low) & (x < a.high),
    "clip": lambda a, x: (x > a.low) & (x < a.high),
    "hardswish": lambda a, x: _hardswish_slope(x),
    "silu": lambda a, x: _silu_slope(x),
    "leaky_relu": lambda a, x: np.where(x < 0, a.alpha, 1.0),
    "gelu": lambda a, x: _gelu_slope(x),
}
