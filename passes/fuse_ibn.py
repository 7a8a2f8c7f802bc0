"""1x1 Conv -> act -> KxK depthwise Conv -> act  -->  KxK dense Conv -> act (fused inverted bottleneck).

The 1x1 projection behind it stays, and so does a squeeze-and-excite gate before the projection.
EXACT where nothing stands between the two convolutions and the border is right; else LOSSY, and
both the fused convolution and the projection are fitted. The block is called "fused IBN" by
Xiong et al., "MobileDets", CVPR 2021, section 3.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import onnx_ir as ir

from hwopt.activations import FITTED
from hwopt.bottleneck import InvertedBottleneck, bottleneck_around, reads_pointwise
from hwopt.choice import Kind, Pass, Risk, Skip, Stage, Value
from hwopt.composition import Kernel, after_pointwise, cropped, identity_and_one, kernels, with_constant
from hwopt.edit import fresh_name, insert_node, remove_nodes, set_attribute, set_channels, set_constant
from hwopt.errors import RewriteFailed
from hwopt.nodes import Conv, as_conv, attr_int, is_op, label
from hwopt.places import has_place, inherit_place, node_at, place_of
from hwopt.repair.marks import Origin, mark_origin, request_fit
from hwopt.target import Target

SHARED = "its expansion's result is also read elsewhere"


class FuseInvertedBottleneck(Pass):
    """One value per kernel size (its own, 3 on longer axes), and an exact one for a linear expansion."""

    name = "fuse_ibn"
    stage = Stage.FORM
    risk = Risk.LOSSY
    summary = "1x1 Conv, depthwise Conv, 1x1 Conv --> KxK Conv, 1x1 Conv"

    def values(self, model: ir.Model, target: Target) -> Iterator[Value | Skip]:
        del target
        for node in model.graph:
            if not is_op(node, "Conv") or attr_int(node, "group", 1) == 1:
                continue
            conv = as_conv(node)
            if conv is None:
                yield Skip(self.name, label(node), "its weight is not a float32 constant")
            elif conv.depthwise:
                yield from self._around(conv)

    def _around(self, conv: Conv) -> Iterator[Value | Skip]:
        block = bottleneck_around(conv)
        if block is None:
            yield Skip(self.name, label(conv.node), "no 1x1 convolution alone reads its result")
        elif block.expand is None:
            if reads_pointwise(conv):
                yield Skip(self.name, label(conv.node), SHARED)
        elif why_not(block):
            yield Skip(self.name, label(conv.node), why_not(block))
        else:
            yield from self._values(block)

    def _values(self, block: InvertedBottleneck) -> Iterator[Value | Skip]:
        conv, expand = block.depthwise.conv, block.expand
        assert expand is not None
        risk = Risk.EXACT if exact(block) else Risk.LOSSY
        for kernel in kernels(conv):
            shrunk = kernel != conv.kernel
            name = f"fused_k{max(kernel)}" if shrunk else "fused"
            rewrite = partial(fuse, place=place_of(conv.node), kernel=kernel)
            yield self._value(block, name, Risk.LOSSY if shrunk else risk, rewrite, kernel)
        if expand.activation is None and risk != Risk.EXACT:
            if expand.conv.in_channels + 1 < expand.conv.out_channels:
                rewrite = partial(fuse_exactly, place=place_of(conv.node))
                kernel = (conv.kernel[0], conv.kernel[1])
                yield self._value(block, "fused_exact", Risk.EXACT, rewrite, kernel)
            else:
                reason = "an exact border needs a constant channel, which costs as much as this expansion"
                yield Skip(self.name, label(conv.node), reason)

    def _value(
        self, block: InvertedBottleneck, name: str, risk: Risk, rewrite: partial[None], kernel: Kernel
    ) -> Value:
        return Value(
            choice=f"form:{place_of(block.depthwise.conv.node)}",
            kind=Kind.FORM,
            name=name,
            pass_name=self.name,
            risk=risk,
            stage=self.stage,
            places=touched(block),
            rewrite=rewrite,
            parameters={"kernel": kernel, "hidden": block.hidden},
        )


def why_not(block: InvertedBottleneck) -> str:
    """The reason why a block cannot be fused; empty where it can."""
    conv = block.depthwise.conv
    if any(d != 1 for d in conv.dilations):
        return f"its depthwise convolution is dilated by {list(conv.dilations)}"
    for part in (block.expand, block.depthwise):
        kind = part.activation.activation.kind if part and part.activation else "none"
        if kind not in FITTED:
            return f"no fit is known behind the activation {kind}"
    return ""


def exact(block: InvertedBottleneck) -> bool:
    """Whether the linear composition is the same function, border included."""
    assert block.expand is not None
    unbiased = not block.expand.conv.bias.any() or not any(block.depthwise.conv.pads)
    return block.expand.activation is None and unbiased


def touched(block: InvertedBottleneck) -> tuple[str, ...]:
    """Places of the expansion, the depthwise convolution and their activations."""
    assert block.expand is not None
    nodes = [block.expand.conv.node, block.depthwise.conv.node]
    for part in (block.expand, block.depthwise):
        nodes.extend(part.activation.nodes if part.activation else ())
    return tuple(sorted(place_of(node) for node in nodes if has_place(node)))


def block_at(model: ir.Model, place: str) -> InvertedBottleneck:
    """The block around the depthwise convolution at that place. Raises RewriteFailed where there is none."""
    depthwise = as_conv(node_at(model, place))
    block = bottleneck_around(depthwise) if depthwise is not None and depthwise.depthwise else None
    if block is None or block.expand is None:
        raise RewriteFailed(f"no inverted bottleneck at {place}")
    return block


def fuse(model: ir.Model, place: str, kernel: Kernel) -> None:
    """Rewrites the block around the depthwise convolution at that place.

    The depthwise node becomes the fused convolution and keeps its name and its output.
    """
    block = block_at(model, place)
    assert block.expand is not None
    depthwise, expand = block.depthwise.conv, block.expand
    weight, bias = after_pointwise(expand.conv, depthwise)
    weight, pads = cropped(depthwise, weight, kernel)
    lossless = exact(block) and kernel == depthwise.kernel
    node, graph = depthwise.node, depthwise.node.graph
    node.replace_input_with(0, expand.conv.input)
    set_constant(node, 1, weight)
    set_constant(node, 2, bias)
    set_geometry(node, kernel, pads)
    assert isinstance(graph, ir.Graph)
    remove_nodes(graph, [expand.conv.node, *(expand.activation.nodes if expand.activation else ())])
    if not lossless:
        for fitted in (node, block.project.node):
            mark_origin(fitted, Origin(str(fitted.outputs[0].name)))
            request_fit(fitted)


def set_geometry(node: ir.Node, kernel: Kernel, pads: tuple[int, ...]) -> None:
    """Makes a convolution dense, with this kernel and these pads."""
    node.attributes.pop("auto_pad", None)
    set_attribute(node, "group", 1)
    set_attribute(node, "kernel_shape", kernel)
    set_attribute(node, "pads", pads)


def fuse_exactly(model: ir.Model, place: str) -> None:
    """Fuses a block whose expansion is linear and biased, before a padded depthwise convolution.

    The expansion gives way to a narrower one: a copy of its input and a channel of ones, whose
    zero padding tells the fused convolution where the expansion's bias ends.
    """
    block = block_at(model, place)
    assert block.expand is not None
    depthwise, expand = block.depthwise.conv, block.expand.conv
    if block.expand.activation is not None:
        raise RewriteFailed(f"the expansion of the block at {place} is not linear")
    weight, bias = with_constant(expand, depthwise)
    copied = _with_ones(expand)
    node, graph = depthwise.node, depthwise.node.graph
    node.replace_input_with(0, copied.outputs[0])
    set_constant(node, 1, weight)
    set_constant(node, 2, bias)
    set_attribute(node, "group", 1)
    assert isinstance(graph, ir.Graph)
    remove_nodes(graph, [expand.node])


def _with_ones(expand: Conv) -> ir.Node:
    """A 1x1 convolution in front of the expansion that appends a channel of ones to its input."""
    graph, old = expand.node.graph, expand.output
    assert isinstance(graph, ir.Graph)
    name = fresh_name(graph, f"{old.name}.ones")
    node = insert_node(expand.node, "Conv", [expand.input], {"kernel_shape": [1, 1]}, name)
    weight, bias = identity_and_one(expand.in_channels)
    set_constant(node, 1, weight)
    set_constant(node, 2, bias)
    inherit_place(node, expand.node)
    node.outputs[0].shape, node.outputs[0].type = old.shape, old.type
    set_channels(node.outputs[0], expand.in_channels + 1)
    return node


PASSES: tuple[Pass, ...] = (FuseInvertedBottleneck(),)
