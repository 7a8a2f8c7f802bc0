"""1x1 Conv -> act -> KxK depthwise Conv -> act  -->  KxK dense Conv -> act (fused inverted bottleneck).

The 1x1 projection behind it stays. EXACT where nothing stands between the two convolutions
and the border is right; else LOSSY, and both the fused convolution and the projection are
fitted. The block is called "fused IBN" by Xiong et al., "MobileDets", CVPR 2021, section 3.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import onnx_ir as ir

from hwopt.bottleneck import InvertedBottleneck, bottleneck_around
from hwopt.choice import Kind, Pass, Risk, Skip, Stage, Value
from hwopt.edit import remove_nodes, set_attribute, set_constant
from hwopt.errors import RewriteFailed
from hwopt.nodes import Conv, FloatArray, as_conv, convs, label
from hwopt.places import has_place, node_at, place_of
from hwopt.repair.marks import Origin, mark_origin, request_fit
from hwopt.target import Target

FITTED_ACTIVATIONS = frozenset({"none", "relu", "relu6", "clip", "hardswish", "silu"})


class FuseInvertedBottleneck(Pass):
    """One value per kernel size: the depthwise kernel's own, and 3x3 where that is smaller."""

    name = "fuse_ibn"
    stage = Stage.FORM
    risk = Risk.LOSSY
    summary = "1x1 Conv, depthwise Conv, 1x1 Conv --> KxK Conv, 1x1 Conv"

    def values(self, model: ir.Model, target: Target) -> Iterator[Value | Skip]:
        del target
        for conv in convs(model):
            block = bottleneck_around(conv) if conv.depthwise else None
            if block is None or block.expand is None:
                continue
            reason = why_not(block)
            if reason:
                yield Skip(self.name, label(conv.node), reason)
                continue
            yield from self._values(block)

    def _values(self, block: InvertedBottleneck) -> Iterator[Value]:
        place = place_of(block.depthwise.conv.node)
        risk = Risk.EXACT if exact(block) else Risk.LOSSY
        for kernel in kernels(block.depthwise.conv):
            shrunk = kernel != block.depthwise.conv.kernel
            yield Value(
                choice=f"form:{place}",
                kind=Kind.FORM,
                name=f"fused_k{kernel[0]}" if shrunk else "fused",
                pass_name=self.name,
                risk=Risk.LOSSY if shrunk else risk,
                stage=self.stage,
                places=touched(block),
                rewrite=partial(fuse, place=place, kernel=kernel),
                parameters={"kernel": kernel, "hidden": block.hidden},
            )


def why_not(block: InvertedBottleneck) -> str:
    """The reason why a block cannot be fused; empty where it can."""
    conv = block.depthwise.conv
    if any(d != 1 for d in conv.dilations):
        return f"its depthwise convolution is dilated by {list(conv.dilations)}"
    for part in (block.expand, block.depthwise):
        kind = part.activation.activation.kind if part and part.activation else "none"
        if kind not in FITTED_ACTIVATIONS:
            return f"no fit is known behind the activation {kind}"
    return ""


def exact(block: InvertedBottleneck) -> bool:
    """Whether the linear composition is the same function, border included."""
    assert block.expand is not None
    unbiased = not block.expand.conv.bias.any() or not any(block.depthwise.conv.pads)
    return block.expand.activation is None and unbiased


def kernels(conv: Conv) -> Iterator[tuple[int, int]]:
    """The kernel sizes worth offering: its own, and 3x3 where the padding allows to crop to it."""
    yield conv.kernel[0], conv.kernel[1]
    crop = [(k - 3) // 2 for k in conv.kernel]
    odd = all(k % 2 == 1 and k > 3 for k in conv.kernel)
    if odd and all(p >= c for p, c in zip(conv.pads, crop * 2, strict=True)):
        yield (3, 3)


def touched(block: InvertedBottleneck) -> tuple[str, ...]:
    """Places of the expansion, the depthwise convolution and their activations."""
    assert block.expand is not None
    nodes = [block.expand.conv.node, block.depthwise.conv.node]
    for part in (block.expand, block.depthwise):
        nodes.extend(part.activation.nodes if part.activation else ())
    return tuple(sorted(place_of(node) for node in nodes if has_place(node)))


def fuse(model: ir.Model, place: str, kernel: tuple[int, int]) -> None:
    """Rewrites the block around the depthwise convolution at that place.

    The depthwise node becomes the fused convolution and keeps its name and its output.
    """
    depthwise = as_conv(node_at(model, place))
    block = bottleneck_around(depthwise) if depthwise is not None else None
    if block is None or block.expand is None:
        raise RewriteFailed(f"no inverted bottleneck at {place}")
    lossless = exact(block) and kernel == block.depthwise.conv.kernel
    _replace(block, kernel)
    if not lossless:
        for node in (block.depthwise.conv.node, block.project.node):
            mark_origin(node, Origin(str(node.outputs[0].name)))
            request_fit(node)


def _replace(block: InvertedBottleneck, kernel: tuple[int, int]) -> None:
    assert block.expand is not None
    node, depthwise, expand = block.depthwise.conv.node, block.depthwise.conv, block.expand
    weight, bias = compose(expand.conv, depthwise)
    crop = [(old - new) // 2 for old, new in zip(depthwise.kernel, kernel, strict=True)]
    weight = weight[:, :, crop[0] : crop[0] + kernel[0], crop[1] : crop[1] + kernel[1]]
    node.replace_input_with(0, expand.conv.input)
    set_constant(node, 1, np.ascontiguousarray(weight))
    set_constant(node, 2, bias)
    set_attribute(node, "group", 1)
    set_attribute(node, "kernel_shape", kernel)
    set_attribute(node, "pads", [p - c for p, c in zip(depthwise.pads, crop * 2, strict=True)])
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    activation = expand.activation.nodes if expand.activation else ()
    remove_nodes(graph, [expand.conv.node, *activation])


def compose(expand: Conv, depthwise: Conv) -> tuple[FloatArray, FloatArray]:
    """Weight [hidden, in, kh, kw] and bias [hidden] of the two convolutions without the activation between.

    The bias is that of the interior: next to a zero-padded border the depthwise convolution
    does not see the expansion's bias in the padding.
    """
    kernel = depthwise.weight[:, 0].astype(np.float64)
    matrix = expand.weight[:, :, 0, 0].astype(np.float64)
    weight = np.einsum("hyx,hc->hcyx", kernel, matrix)
    bias = depthwise.bias + kernel.sum(axis=(1, 2)) * expand.bias
    return weight.astype(np.float32), bias.astype(np.float32)


PASSES: tuple[Pass, ...] = (FuseInvertedBottleneck(),)
