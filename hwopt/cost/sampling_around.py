"""Samples near one given model: its own operators and blocks, as they are and as a search changes them.

For a user who wants the cost model to be sharp where his model and its rewrites lie: a third are
parts of the model itself, the others its convolutions with other widths, kernels and forms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from hwopt.cost.sampling import Sample
from hwopt.cost.sampling_blocks import FORMS, PRUNED_SHARES, round_channels
from hwopt.cost.sampling_cut import affordable
from hwopt.cost.sampling_net import Net
from hwopt.cost.sampling_own import OwnParts, style_of
from hwopt.cost.sampling_shapes import channels
from hwopt.cost.sampling_weights import WeightStyle, random_style
from hwopt.nodes import Conv, as_conv, convs, is_op, single_consumer
from hwopt.shapes import infer_shapes

Shape = tuple[int, ...]
AROUND_FAMILY = "around"
OWN_SHARE = 0.35
_STREAM = 7
_ATTEMPTS = 20
_ACTS = {"Relu": "relu", "Clip": "relu6", "HardSwish": "hswish", "LeakyRelu": "leaky"}


@dataclass(frozen=True)
class _Bottleneck:
    """An inverted bottleneck as numbers: input [1, C, H, W], hidden and output channels."""

    shape: Shape
    hidden: int
    out: int
    kernel: int
    stride: int
    act: str


@dataclass(frozen=True)
class _Layer:
    """A convolution on its own."""

    shape: Shape
    out: int
    kernel: int
    stride: int
    depthwise: bool
    act: str


def around(
    model: ir.Model, count: int, seed: int, input_shapes: Mapping[str, Shape] | None = None
) -> Iterator[Sample]:
    """`count` samples around the operators of a model, with weights like its own.

    Yields nothing where the model has no operator that can stand alone at batch 1. Raises
    BadInput for inputs whose shapes cannot be bound.
    """
    infos = infer_shapes(model, dict(input_shapes or {}))
    shapes = {name: info.shape for name, info in infos.items()}
    found = [(plan, conv) for conv in convs(model) if (plan := _plan(conv, shapes)) is not None]
    plans = [plan for plan, _ in found]
    styles = [style_of(conv.weight) for _, conv in found]
    own = OwnParts(model, infos)
    for index in range(count if plans or own else 0):
        rng = np.random.default_rng((seed, index, _STREAM))
        part = _drawn(plans, styles, own, rng, (seed, index, _STREAM))
        name = f"{AROUND_FAMILY}-{seed}-{index:05d}"
        yield Sample(name, AROUND_FAMILY, model.graph.name or AROUND_FAMILY, part)


def _drawn(
    plans: Sequence[_Bottleneck | _Layer],
    styles: Sequence[WeightStyle],
    own: OwnParts,
    rng: np.random.Generator,
    seed: tuple[int, ...],
) -> ir.Model:
    """A part of the model itself, or one of its convolutions changed; small enough to be measured."""
    for attempt in range(_ATTEMPTS if plans else 0):
        if own and rng.random() < OWN_SHARE:
            return own.draw(rng)
        plan = plans[int(rng.integers(len(plans)))]
        style = styles[int(rng.integers(len(styles)))] if rng.random() < 0.7 else random_style(rng)
        part = _built(plan, style, rng, (*seed, attempt))
        if affordable(part) or (attempt == _ATTEMPTS - 1 and not own):
            return part
    return own.draw(rng)


def _plan(conv: Conv, shapes: Mapping[str, Shape]) -> _Bottleneck | _Layer | None:
    """The bottleneck that starts at this convolution, else the convolution alone."""
    shape = shapes.get(conv.input.name or "", ())
    square = len(conv.kernel) == 2 and conv.kernel[0] == conv.kernel[1] and conv.strides[0] == conv.strides[1]
    if len(shape) != 4 or shape[0] != 1 or not square or (conv.group > 1 and not conv.depthwise):
        return None
    act, after = _activated(conv)
    middle = as_conv(after)
    if conv.pointwise and middle is not None and middle.depthwise:
        _, after = _activated(middle)
        project = as_conv(after)
        if project is not None and project.pointwise and middle.kernel[0] == middle.kernel[1]:
            kernel, stride = middle.kernel[0], middle.strides[0]
            return _Bottleneck(shape, conv.out_channels, project.out_channels, kernel, stride, act)
    return _Layer(shape, conv.out_channels, conv.kernel[0], conv.strides[0], conv.depthwise, act)


def _activated(conv: Conv) -> tuple[str, ir.Node | None]:
    """The word of the activation behind a convolution, and the node that reads the result."""
    reader = single_consumer(conv.output)
    if reader is not None and is_op(reader, *_ACTS):
        return _ACTS[reader.op_type], single_consumer(reader.outputs[0])
    return "", reader


def _built(
    plan: _Bottleneck | _Layer, style: WeightStyle, rng: np.random.Generator, seed: tuple[int, ...]
) -> ir.Model:
    net = Net(AROUND_FAMILY, style, seed)
    shape = (1, _width(plan.shape[1], rng, 0.3), *plan.shape[2:])
    x = net.input(*(plan.shape if plan.shape[1] <= 4 else shape))
    kernel = int(rng.choice([plan.kernel, plan.kernel, 3, 5])) if plan.kernel > 1 else 1
    if isinstance(plan, _Bottleneck):
        return net.model(_bottleneck(net, x, plan, kernel, rng))
    if plan.depthwise:
        dense = rng.random() < 0.3 and channels(x) <= 320
        make = net.diagonal if dense else net.depthwise
        return net.model(make(x, kernel, plan.stride, plan.act))
    return net.model(net.conv(x, _width(plan.out, rng, 0.5), kernel, plan.stride, plan.act))


def _bottleneck(net: Net, x: ir.Value, plan: _Bottleneck, kernel: int, rng: np.random.Generator) -> ir.Value:
    form = FORMS[int(rng.integers(len(FORMS)))]
    hidden = _width(plan.hidden, rng, 0.6)
    out = _width(plan.out, rng, 0.3)
    if form == "fused":
        h = net.conv(x, hidden, kernel, plan.stride, plan.act)
    else:
        h = net.conv(x, hidden, 1, 1, plan.act)
        make = net.diagonal if form == "dense" and hidden <= 320 else net.depthwise
        h = make(h, kernel, plan.stride, plan.act)
    y = net.conv(h, out)
    same = plan.stride == 1 and x.shape == y.shape
    return net.add(x, y) if same else y


def _width(full: int, rng: np.random.Generator, mutated: float) -> int:
    """The channels as they are, or pruned or padded to a multiple of 4, 8, 16 or 32."""
    if rng.random() >= mutated or full <= 4:
        return full
    multiple = int(rng.choice([4, 8, 8, 16, 32]))
    share = (1.0, *PRUNED_SHARES)[int(rng.integers(len(PRUNED_SHARES) + 1))]
    return round_channels(-(-full // multiple) * multiple if share == 1.0 else full * share, multiple)
