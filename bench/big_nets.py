"""A network with external data of a given size, written to disk without ever being in memory.

Blocks of what EXACT rewrites touch (convolution and BatchNormalization, depthwise convolutions) stand
between layers of 50 to 400 MB that they leave alone, and one in four of which a BatchNormalization follows,
so that its weights are folded. The maps are 4 x 4: what is large here are the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod, sqrt
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, SIZE, NARROW = 13, 4, 32
DATA = "weights.bin"
WIDTHS = (1152, 2048, 1664, 3328, 2368)  # 3x3 convolutions of 48, 151, 100, 399 and 202 MB
_BLOCK = 1 << 22  # random numbers that are repeated


@dataclass
class Network:
    """A graph that grows; large weights go to disk as they come. scale: divides the widths."""

    folder: Path
    scale: int = 1
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    large: dict[str, tuple[int, int]] = field(default_factory=dict)  # name -> (offset, bytes)
    folded: set[str] = field(default_factory=set)
    end: int = 0

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(0)
        self.block = self.random.standard_normal(_BLOCK).astype(np.float32)

    def put(self, op: str, *inputs: str, **attributes: int | list[int]) -> str:
        """A node and the name of its output."""
        name = f"{op.lower()}{len(self.nodes)}"
        node = helper.make_node(op, list(inputs), [name], name=name)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        return name

    def small(self, *shape: int, positive: bool = False) -> str:
        """A weight in the file itself."""
        array = self.random.standard_normal(shape).astype(np.float32) / sqrt(max(1, prod(shape[1:])))
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.abs(array) + 0.5 if positive else array, name))
        return name

    def stored(self, *shape: int, fan_in: int) -> str:
        """A weight in the file beside it."""
        name, size = f"w{len(self.weights)}", 4 * prod(shape)
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", DATA), ("offset", str(self.end)), ("length", str(size))):
            tensor.external_data.add(key=key, value=value)
        with (self.folder / DATA).open("ab") as file:
            for part in self._numbers(prod(shape), fan_in):
                file.write(part.data)
        self.weights.append(tensor)
        self.large[name] = (self.end, size)
        self.end += size
        return name

    def _numbers(
        self, count: int, fan_in: int
    ) -> Iterator[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
        block = np.roll(self.block, len(self.weights) * 977) * np.float32(1 / sqrt(fan_in))
        for start in range(0, count, _BLOCK):
            yield block[: min(_BLOCK, count - start)]

    def norm(self, x: str, channels: int) -> str:
        """A BatchNormalization."""
        parameters = [self.small(channels, positive=True) for _ in range(4)]
        return self.put("BatchNormalization", x, *parameters)

    def touched(self, x: str) -> str:
        """Convolution, BatchNormalization, ReLU, and a depthwise one: NARROW channels in and out."""
        x = self.put("Conv", x, self.small(NARROW, NARROW, 3, 3), pads=[1] * 4)
        x = self.put("Relu", self.norm(x, NARROW))
        return self.put("Conv", x, self.small(NARROW, 1, 3, 3), pads=[1] * 4, group=NARROW)

    def wide(self, x: str, width: int, folded: bool) -> str:
        """A 3x3 convolution of `width` channels between two 1x1 ones."""
        width = max(NARROW, width // self.scale)
        x = self.put("Relu", self.put("Conv", x, self.small(width, NARROW, 1, 1)))
        weight = self.stored(width, width, 3, 3, fan_in=9 * width)
        x = self.put("Conv", x, weight, pads=[1] * 4)
        if folded:
            self.folded.add(weight)
            x = self.norm(x, width)
        return self.put("Conv", self.put("Relu", x), self.small(NARROW, width, 1, 1))

    def head(self, x: str) -> str:
        """A MatMul and a Gemm of 50 MB or so each."""
        inner = 12800 // self.scale
        flat = self.put("Flatten", self.put("Conv", x, self.small(2 * NARROW, NARROW, 1, 1)))
        features = 2 * NARROW * SIZE * SIZE
        x = self.put("Relu", self.put("MatMul", flat, self.stored(features, inner, fan_in=features)))
        weight = self.stored(1000, inner, fan_in=inner)
        return self.put("Gemm", x, weight, self.small(1000), transB=1)

    def model(self, last: str) -> onnx.ModelProto:
        """The whole."""
        graph = helper.make_graph(
            self.nodes,
            "big",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", NARROW, SIZE, SIZE])],
            [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["N", 1000])],
            self.weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def write_network(folder: Path, size: int, scale: int = 1) -> tuple[Path, Network]:
    """Writes model.onnx and its data, of about `size` bytes, into a folder."""
    network = Network(folder, scale)
    x, number = "x", 0
    while network.end < size:
        width = WIDTHS[number % len(WIDTHS)]
        x = network.wide(network.touched(x), width, folded=number % 4 == 3)
        number += 1
    last = network.head(x)
    path = folder / "model.onnx"
    path.write_bytes(network.model(last).SerializeToString())
    return path, network
