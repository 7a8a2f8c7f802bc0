"""Inverted bottlenecks: the block of mobile networks that most rewrites are about.

An inverted bottleneck (IBN; Sandler et al., "MobileNetV2", CVPR 2018, section 3.3) expands
with a 1x1 convolution, filters depthwise, and projects with a 1x1 convolution.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.activations import Match, following_activation
from hwopt.nodes import Conv, as_conv, single_consumer

_LONGEST_ACTIVATION = 4  # nodes of a decomposed HardSwish


@dataclass(frozen=True)
class Activated:
    """A convolution and the activation that follows it, if one does."""

    conv: Conv
    activation: Match | None

    @property
    def output(self) -> ir.Value:
        return self.conv.output if self.activation is None else self.activation.output


@dataclass(frozen=True)
class InvertedBottleneck:
    """expand (1x1) -> depthwise (KxK) -> project (1x1), each but the last maybe activated.

    expand is None for a block that starts with its depthwise convolution.
    """

    expand: Activated | None
    depthwise: Activated
    project: Conv

    @property
    def hidden(self) -> int:
        return self.depthwise.conv.out_channels


def activated(conv: Conv) -> Activated:
    """The convolution with its activation."""
    return Activated(conv, following_activation(conv.output))


def bottleneck_around(depthwise: Conv) -> InvertedBottleneck | None:
    """The block around a depthwise convolution, where a 1x1 convolution alone reads its result."""
    middle = activated(depthwise)
    project = as_conv(single_consumer(middle.output))
    if project is None or not project.pointwise:
        return None
    return InvertedBottleneck(_expand_before(depthwise), middle, project)


def _expand_before(depthwise: Conv) -> Activated | None:
    """The 1x1 convolution whose (activated) result only the depthwise convolution reads."""
    source = depthwise.input
    for node in _upstream(source):
        conv = as_conv(node)
        if conv is None or not conv.pointwise:
            continue
        candidate = activated(conv)
        if candidate.output is source and single_consumer(source) is depthwise.node:
            return candidate
    return None


def _upstream(value: ir.Value) -> Iterator[ir.Node]:
    """Producers of a value, as many steps back as an activation can be long."""
    frontier = [value]
    for _ in range(_LONGEST_ACTIVATION + 1):
        producers = [p for v in frontier if (p := v.producer()) is not None]
        yield from producers
        frontier = [v for p in producers for v in p.inputs if v is not None]
