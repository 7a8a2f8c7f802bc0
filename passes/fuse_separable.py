"""KxK depthwise Conv -> act -> 1x1 Conv  -->  KxK dense Conv (a separable convolution made whole).

For blocks without an expansion (Howard et al., "MobileNets", 2017, section 3.1). EXACT where no
activation stands between the two; else LOSSY and fitted. Where the kernel is longer than 3, the
depthwise convolution can also become a dense one of 3 that is fitted to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from math import prod

import onnx_ir as ir

from hwopt.activations import FITTED
from hwopt.bottleneck import InvertedBottleneck, bottleneck_around, reads_pointwise
from hwopt.choice import Kind, Pass, Risk, Skip, Stage, Value
from hwopt.composition import Kernel, before_pointwise, cropped, diagonal, kernels
from hwopt.edit import remove_nodes, set_attribute, set_constant
from hwopt.errors import RewriteFailed
from hwopt.nodes import FloatArray, as_conv, convs, label
from hwopt.places import has_place, node_at, place_of
from hwopt.repair.marks import Origin, mark_origin, request_fit
from hwopt.target import Target

# As for a depthwise convolution made dense: 4 Mi elements are 16 MB of float32.
LARGEST_WEIGHT = 1 << 22


class FuseSeparable(Pass):
    """merged: one convolution instead of two; dense: the depthwise one alone, at a smaller kernel."""

    name = "fuse_separable"
    stage = Stage.FORM
    risk = Risk.LOSSY
    summary = "depthwise Conv, 1x1 Conv --> KxK Conv"

    def values(self, model: ir.Model, target: Target) -> Iterator[Value | Skip]:
        del target
        for conv in convs(model):
            block = bottleneck_around(conv) if conv.depthwise else None
            if block is None or not separable(block):
                continue
            reason = why_not(block)
            if reason:
                yield Skip(self.name, label(conv.node), reason)
            else:
                yield from self._values(block)

    def _values(self, block: InvertedBottleneck) -> Iterator[Value]:
        conv = block.depthwise.conv
        activation = block.depthwise.activation
        inner = [conv.node, *(activation.nodes if activation else ())]
        for kernel in kernels(conv):
            shrunk = kernel != conv.kernel
            ending = f"_k{max(kernel)}" if shrunk else ""
            if block.gate is None:
                risk = Risk.LOSSY if shrunk or activation else Risk.EXACT
                nodes = [*inner, block.project.node]
                yield self._value(block, f"merged{ending}", risk, nodes, partial(merge, kernel=kernel))
            if shrunk and block.expand is None:
                rewrite = partial(make_dense, kernel=kernel)
                yield self._value(block, f"dense{ending}", Risk.LOSSY, inner, rewrite)

    def _value(
        self,
        block: InvertedBottleneck,
        name: str,
        risk: Risk,
        nodes: Sequence[ir.Node],
        rewrite: partial[None],
    ) -> Value:
        place = place_of(block.depthwise.conv.node)
        return Value(
            choice=f"form:{place}",
            kind=Kind.FORM,
            name=name,
            pass_name=self.name,
            risk=risk,
            stage=self.stage,
            places=tuple(sorted(place_of(node) for node in nodes if has_place(node))),
            rewrite=partial(rewrite, place=place),
            parameters={"kernel": rewrite.keywords["kernel"], "hidden": block.hidden},
        )


def separable(block: InvertedBottleneck) -> bool:
    """Whether the block has no expansion, or a filter that is linear: both merge into the projection."""
    if block.expand is None:
        return not reads_pointwise(block.depthwise.conv)
    return block.depthwise.activation is None and block.gate is None


def why_not(block: InvertedBottleneck) -> str:
    """The reason why a block cannot be merged; empty where it can."""
    conv, activation = block.depthwise.conv, block.depthwise.activation
    if any(d != 1 for d in conv.dilations):
        return f"its depthwise convolution is dilated by {list(conv.dilations)}"
    if activation is not None and activation.activation.kind not in FITTED:
        return f"no fit is known behind the activation {activation.activation.kind}"
    elements = prod(conv.shape) * block.project.out_channels
    if elements > LARGEST_WEIGHT:
        return f"its dense weight would have {elements:,} elements (limit {LARGEST_WEIGHT:,})"
    return ""


def block_at(model: ir.Model, place: str) -> InvertedBottleneck:
    """The block around the depthwise convolution at that place. Raises RewriteFailed where there is none."""
    conv = as_conv(node_at(model, place))
    block = bottleneck_around(conv) if conv is not None and conv.depthwise else None
    if block is None:
        raise RewriteFailed(f"no separable convolution at {place}")
    return block


def merge(model: ir.Model, place: str, kernel: Kernel) -> None:
    """The projection takes the depthwise convolution in; it keeps its name and its output."""
    block = block_at(model, place)
    if block.gate is not None:
        raise RewriteFailed(f"a gate stands before the projection of the block at {place}")
    depthwise, node = block.depthwise, block.project.node
    weight, bias = before_pointwise(depthwise.conv, block.project)
    weight, pads = cropped(depthwise.conv, weight, kernel)
    lossless = depthwise.activation is None and kernel == depthwise.conv.kernel
    node.replace_input_with(0, depthwise.conv.input)
    _write(node, weight, bias, pads)
    set_attribute(node, "strides", depthwise.conv.strides)
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    activation = depthwise.activation.nodes if depthwise.activation else ()
    remove_nodes(graph, [depthwise.conv.node, *activation])
    if not lossless:
        _ask_for_fit(node)


def make_dense(model: ir.Model, place: str, kernel: Kernel) -> None:
    """The depthwise convolution becomes a dense one with a smaller kernel, fitted with the projection."""
    block = block_at(model, place)
    conv = block.depthwise.conv
    weight, pads = cropped(conv, diagonal(conv), kernel)
    _write(conv.node, weight, conv.bias, pads)
    for node in (conv.node, block.project.node):
        _ask_for_fit(node)


def _write(node: ir.Node, weight: FloatArray, bias: FloatArray, pads: tuple[int, ...]) -> None:
    """Makes the node a dense convolution with these weights."""
    set_constant(node, 1, weight)
    set_constant(node, 2, bias)
    node.attributes.pop("auto_pad", None)
    set_attribute(node, "group", 1)
    set_attribute(node, "kernel_shape", weight.shape[2:])
    set_attribute(node, "pads", pads)


def _ask_for_fit(node: ir.Node) -> None:
    mark_origin(node, Origin(str(node.outputs[0].name)))
    request_fit(node)


PASSES: tuple[Pass, ...] = (FuseSeparable(),)
