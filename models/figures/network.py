"""The architecture as a table, and the ONNX graph made from it and trained weights.

`train.py` builds its torch module from the same table, so that the two cannot differ.
The graph is written the way a training framework exports it: normalisation of the
image and batch normalisation stay as nodes of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.figures.data import CLASSES, SIZE

OPSET: Final = 13
IR_VERSION: Final = 8
INPUT: Final = "image"
OUTPUT: Final = "logits"
IMAGE_MEAN: Final = 127.5
IMAGE_SCALE: Final = 64.0
BN_EPSILON: Final = 1e-3

Weights = Mapping[str, npt.NDArray[np.float32]]
"""Arrays by name: ``CONV.weight``, ``CONV.bn.{scale,bias,mean,var}`` for each
convolution, ``classifier.weight`` (classes x features) and ``classifier.bias``."""

Attribute = int | float | list[int]
Kind = Literal["separable", "fused", "inverted"]


@dataclass(frozen=True)
class ConvBn:
    """A convolution without bias, batch normalisation, and ReLU6 if `relu6`.

    Odd kernels are padded by half their size; even ones are not padded.
    """

    name: str
    inputs: int
    outputs: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    relu6: bool = True

    @property
    def padding(self) -> int:
        """Zeros added at every border."""
        return self.kernel // 2 if self.kernel % 2 else 0

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """Outputs, inputs per group, kernel height, kernel width."""
        return self.outputs, self.inputs // self.groups, self.kernel, self.kernel


@dataclass(frozen=True)
class Block:
    """A few convolutions, with a residual connection where shapes allow it.

    ``separable``: depthwise KxK, project 1x1. ``fused``: dense KxK to `hidden`, project.
    ``inverted``: expand 1x1 to `hidden`, depthwise KxK, project (an inverted bottleneck).
    """

    name: str
    kind: Kind
    inputs: int
    hidden: int
    outputs: int
    kernel: int
    stride: int = 1

    @property
    def residual(self) -> bool:
        """Whether the block's input is added to its output."""
        return self.kind == "inverted" and self.stride == 1 and self.inputs == self.outputs

    def convs(self) -> Iterator[ConvBn]:
        """The block's convolutions in order; the last one has no activation."""
        if self.kind == "fused":
            yield ConvBn(f"{self.name}.conv", self.inputs, self.hidden, self.kernel, self.stride)
        else:
            if self.kind == "inverted":
                yield ConvBn(f"{self.name}.expand", self.inputs, self.hidden)
            depthwise = (self.kernel, self.stride, self.hidden)
            yield ConvBn(f"{self.name}.depthwise", self.hidden, self.hidden, *depthwise)
        yield ConvBn(f"{self.name}.project", self.hidden, self.outputs, relu6=False)


STEM: Final = ConvBn("stem", 3, 16, kernel=2, stride=2)
BLOCKS: Final = (
    # 32 x 32
    Block("block1", "separable", 16, 16, 24, kernel=3),
    Block("block2", "fused", 24, 96, 24, kernel=3),
    Block("block3", "inverted", 24, 144, 24, kernel=3),
    Block("block4", "inverted", 24, 144, 24, kernel=5),
    # 16 x 16
    Block("block5", "inverted", 24, 144, 40, kernel=5, stride=2),
    Block("block6", "inverted", 40, 240, 40, kernel=5),
    Block("block7", "inverted", 40, 240, 40, kernel=3),
    # 8 x 8
    Block("block8", "inverted", 40, 240, 64, kernel=3, stride=2),
    Block("block9", "inverted", 64, 384, 64, kernel=5),
    Block("block10", "inverted", 64, 384, 64, kernel=3),
    Block("block11", "inverted", 64, 384, 96, kernel=3),
)
HEAD: Final = ConvBn("head", 96, 640)


def all_convs() -> Iterator[ConvBn]:
    """Every convolution of the network, in order."""
    yield STEM
    for block in BLOCKS:
        yield from block.convs()
    yield HEAD


class GraphWriter:
    """Collects nodes and initialisers; each method returns the name of what it made."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, value: npt.NDArray[np.float32]) -> str:
        """An initialiser."""
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def weight(self, name: str, shape: tuple[int, ...]) -> str:
        """A trained array, whose shape is checked."""
        value = self._weights[name]
        if value.shape != shape:
            raise ValueError(f"{name}: shape is {value.shape}, expected {shape}")
        return self.constant(name, np.ascontiguousarray(value, dtype=np.float32))

    def node(self, op_type: str, name: str, inputs: list[str], **attributes: Attribute) -> str:
        """A node with one output, called as the node is."""
        node = helper.make_node(op_type, inputs, [name], name)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        return name

    def conv_bn(self, conv: ConvBn, source: str) -> str:
        """Conv, BatchNormalization, and Clip from 0 to 6."""
        weight = self.weight(f"{conv.name}.weight", conv.weight_shape)
        value = self.node(
            "Conv",
            f"{conv.name}.conv2d",
            [source, weight],
            kernel_shape=[conv.kernel] * 2,
            strides=[conv.stride] * 2,
            pads=[conv.padding] * 4,
            dilations=[1, 1],
            group=conv.groups,
        )
        names = [f"{conv.name}.bn.{part}" for part in ("scale", "bias", "mean", "var")]
        moments = [self.weight(name, (conv.outputs,)) for name in names]
        value = self.node("BatchNormalization", f"{conv.name}.bn", [value, *moments], epsilon=BN_EPSILON)
        return self.node("Clip", f"{conv.name}.relu6", [value, "zero", "six"]) if conv.relu6 else value

    def block(self, block: Block, source: str) -> str:
        """The block's convolutions, and the addition of its input if it is residual."""
        value = source
        for conv in block.convs():
            value = self.conv_bn(conv, value)
        return self.node("Add", f"{block.name}.add", [source, value]) if block.residual else value


def build(weights: Weights) -> onnx.ModelProto:
    """The ONNX model: image (N x 3 x 64 x 64, float32, 0 to 255) to logits (N x 16)."""
    writer = GraphWriter(weights)
    _write_nodes(writer)
    graph = helper.make_graph(
        writer.nodes,
        "figures",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", len(CLASSES)])],
        writer.initializers,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="models.figures",
    )
    helper.set_model_props(model, {"classes": ",".join(CLASSES)})
    onnx.checker.check_model(model, full_check=True)
    return model


def _write_nodes(writer: GraphWriter) -> None:
    for name, number in (("zero", 0.0), ("six", 6.0), ("mean", IMAGE_MEAN), ("scale", IMAGE_SCALE)):
        writer.constant(name, np.array(number, dtype=np.float32))
    value = writer.node("Sub", "centred", [INPUT, "mean"])
    value = writer.node("Div", "normalised", [value, "scale"])
    value = writer.conv_bn(STEM, value)
    for block in BLOCKS:
        value = writer.block(block, value)
    value = writer.conv_bn(HEAD, value)
    value = writer.node("GlobalAveragePool", "pooled", [value])
    value = writer.node("Flatten", "features", [value], axis=1)
    weight = writer.weight("classifier.weight", (len(CLASSES), HEAD.outputs))
    bias = writer.weight("classifier.bias", (len(CLASSES),))
    writer.node("Gemm", OUTPUT, [value, weight, bias], transB=1)
