"""The fit of a convolution together with the projection behind its activation and gate.

First each by itself in closed form, then together (`pair.py`). A gate is computed from what the
convolution now gives, held still while the two are fitted, and computed anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from hwopt.activations import FITTED, NONE, Activation
from hwopt.bottleneck import Gate, tail_of
from hwopt.nodes import FloatArray
from hwopt.repair.effort import Effort
from hwopt.repair.gather import Gatherer, Inputs
from hwopt.repair.linear import Linear, Matrix, as_linear, bounds_after, write
from hwopt.repair.marks import Fit, fit_of
from hwopt.repair.pair import (
    RIDGE_FLOOR,
    Pair,
    PairProblem,
    final_projection,
    fit_pair,
    hidden,
    project,
    step_rows,
)
from hwopt.repair.ridge import Problem, Rows, Solution, centred, solve
from hwopt.repair.telling import relative, spread, tell
from hwopt.trace import Listeners

GATE_TURNS = 2


@dataclass(frozen=True)
class Block:
    """A convolution, its projection, and what stands between them; the first is marked, and the second."""

    conv: Linear
    activation: Activation
    gate: Gate | None
    project: Linear


def block_behind(conv: Linear, fit: Fit) -> Block | None:
    """A marked dense convolution and the marked projection behind it, where they are not both linear."""
    if fit.constrained or conv.weight.shape[0] != 1 or conv.window is None:
        return None
    tail = tail_of(conv.output)
    if tail is None or not _free(tail.project.node) or (tail.activation is None and tail.gate is None):
        return None
    activation = NONE if tail.activation is None else tail.activation.activation
    project = as_linear(tail.project.node)
    if activation.kind not in FITTED or project is None:
        return None
    return Block(conv, activation, tail.gate, project)


def _free(node: ir.Node) -> bool:
    """Whether the node is to be fitted, without a constraint."""
    fit = fit_of(node)
    return fit is not None and not fit.constrained


@dataclass(frozen=True)
class _Data:
    """x: [rows, features], centred, and its mean; z: [rows, hidden], y: [rows, outputs], what both aim at.

    kept, real: which hidden and output channels are no padding; z and y hold only those.
    """

    inputs: Inputs
    x: FloatArray
    mean: Matrix
    z: FloatArray
    y: FloatArray
    held_out: Rows
    kept: Rows
    real: Rows


def fit_block(
    block: Block, index: int, gatherer: Gatherer, tuning: Rows, effort: Effort, listeners: Listeners = ()
) -> None:
    """Fit both nodes and write their weights.

    index: the convolution's place in graph order; tuning: which samples choose lambda.
    """
    data = _gathered(block, index, gatherer, tuning, effort)
    thin = _first_rows(data.inputs.per_sample, len(tuning), effort.rows)
    alone = _fit_conv(block, data, thin, effort)
    start = block.project.weight[0][data.kept][:, data.real]
    pair = Pair(alone.weight, alone.bias, start, np.zeros(data.y.shape[1]))
    problem = PairProblem(data.x, data.y, data.held_out, block.activation, alone.ridge)
    cost = (step_rows(problem), block.conv.features, block.conv.outputs)
    rounds = effort.affordable(effort.joint_rounds, *cost)
    turns = 1 if block.gate is None else GATE_TURNS
    for _ in range(turns):
        problem = _gated(problem, pair, block, data, gatherer)
        some = problem.of(thin)
        projection, shift = project(hidden(some, pair)[1], some.y, start, RIDGE_FLOOR)
        pair = fit_pair(problem, replace(pair, projection=projection, shift=shift), rounds // turns)
    problem = _gated(problem, pair, block, data, gatherer)
    pair = final_projection(problem, pair, start)
    _write_conv(block.conv, pair, data)
    weight, bias = block.project.weight.copy(), block.project.bias.copy()
    weight[0][np.ix_(data.kept, data.real)], bias[data.real] = pair.projection, pair.shift
    write(block.project, weight, bias)
    if listeners:
        _tell(block, problem.of(spread(len(data.x))), pair, data, listeners)


def _tell(block: Block, problem: PairProblem, pair: Pair, data: _Data, listeners: Listeners) -> None:
    """The error of what comes out of both, which is what both were fitted for; a gate as it is in the end."""
    first = block.conv.weight[0][:, data.kept]
    start = Pair(
        first,
        block.conv.bias[data.kept] + data.mean @ first,
        block.project.weight[0][np.ix_(data.kept, data.real)],
        block.project.bias[data.real],
    )
    errors = (_error(problem, start), _error(problem, pair))
    for node in (block.conv.node, block.project.node):
        tell(listeners, node, errors)


def _error(problem: PairProblem, pair: Pair) -> float:
    _, behind = hidden(problem, pair)
    return relative(problem.y, behind @ pair.projection.astype(np.float32) + pair.shift.astype(np.float32))


def _gathered(block: Block, index: int, gatherer: Gatherer, tuning: Rows, effort: Effort) -> _Data:
    skip = gatherer.skip(index, block.project)
    inputs = gatherer.inputs(block.conv, skip, effort.pool)
    z, kept = gatherer.targets(block.conv, None, inputs)
    y, real = gatherer.targets(block.project, skip, inputs)
    x, mean = centred(inputs.rows[:, 0])
    z, y = z.reshape(len(x), -1)[:, kept], y.reshape(len(x), -1)[:, real]
    return _Data(inputs, x, mean, z, y, np.repeat(tuning, inputs.per_sample), kept, real)


def _first_rows(per_sample: int, samples: int, most: int) -> Rows:
    """The rows for closed-form fits: the first positions of every sample, `most` in all."""
    first = min(per_sample, -(-most // samples))
    return np.tile(np.arange(per_sample) < first, samples)


def _fit_conv(block: Block, data: _Data, rows: Rows, effort: Effort) -> Solution:
    """The convolution by itself, in closed form."""
    start = block.conv.weight[0][:, data.kept]
    bounds = bounds_after(block.conv.output)
    problem = Problem(data.x[rows], data.z[rows], start, data.held_out[rows], bounds)
    rounds = effort.affordable(effort.rounds, len(problem.x), *start.shape)
    return solve(problem, rounds)


def _gated(problem: PairProblem, pair: Pair, block: Block, data: _Data, gatherer: Gatherer) -> PairProblem:
    """The problem with the gate's factors as they are behind the pair's convolution."""
    if block.gate is None:
        return problem
    _write_conv(block.conv, pair, data)
    factors = gatherer.factors(str(block.gate.factor.name), data.inputs)
    return replace(problem, gate=np.ascontiguousarray(factors[:, data.kept]))


def _write_conv(conv: Linear, pair: Pair, data: _Data) -> None:
    """Write the convolution; padded channels keep their zeros."""
    weight, bias = conv.weight.copy(), conv.bias.copy()
    weight[0][:, data.kept], bias[data.kept] = pair.weight, pair.bias - data.mean @ pair.weight
    write(conv, weight, bias)
