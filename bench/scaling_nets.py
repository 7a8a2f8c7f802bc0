"""Graphs of a given number of nodes, family by family, for `bench.scaling`.

Each family repeats what real networks repeat, with small maps and few channels, so that the time that is
spent is spent on the graph and not in ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, SIZE, CHANNELS = 13, 8, 8
Kernel = tuple[int, int]
KERNELS: list[Kernel] = [(high, wide) for high in range(1, 10, 2) for wide in range(1, 10, 2)][1:]
_WIDTHS = 4 * len(KERNELS)


@dataclass
class Builder:
    """A graph that grows node by node; `put` names the value that a node gives."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    outputs: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def put(self, op: str, *inputs: str, **attributes: int | float | list[int]) -> str:
        """A node and the name of its output."""
        name = f"{op.lower()}{len(self.nodes)}"
        node = helper.make_node(op, list(inputs), [name], name=name)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(attributes.items()))
        self.nodes.append(node)
        return name

    def weight(self, array: npt.NDArray[np.float32]) -> str:
        """A constant and its name."""
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def normal(self, *shape: int) -> str:
        """A constant drawn anew, scaled so that the values neither grow nor fade."""
        spread = 1 / np.sqrt(max(1, int(np.prod(shape[1:]))))
        return self.weight((self.random.standard_normal(shape) * spread).astype(np.float32))

    def conv(self, x: str, into: int, out: int, kernel: int | Kernel = 1, groups: int = 1) -> str:
        """A convolution that keeps height and width, with its bias."""
        high, wide = (kernel, kernel) if isinstance(kernel, int) else kernel
        return self.put(
            "Conv", x, self.normal(out, into // groups, high, wide), self.normal(out),
            kernel_shape=[high, wide], pads=[high // 2, wide // 2] * 2, group=groups,
        )  # fmt: skip

    def norm(self, x: str, channels: int) -> str:
        """A BatchNormalization with statistics of its own."""
        made = (np.abs(self.random.standard_normal(channels)).astype(np.float32) + 0.5 for _ in range(4))
        return self.put("BatchNormalization", x, *map(self.weight, made))

    def model(self, last: str, channels: int = CHANNELS) -> onnx.ModelProto:
        """The model whose first output is `last`."""
        ends = [(last, (1, channels, SIZE, SIZE)), *self.outputs]
        graph = helper.make_graph(
            self.nodes, "scaling",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, CHANNELS, SIZE, SIZE])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in ends],
            self.weights,
        )  # fmt: skip
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def chain(b: Builder, x: str, block: int) -> str:
    """Conv, BatchNormalization, ReLU; every second time a residual."""
    y = b.put("Relu", b.norm(b.conv(x, CHANNELS, CHANNELS), CHANNELS))
    return b.put("Add", y, x) if block % 2 else y


def inverted(b: Builder, x: str, block: int) -> str:
    """A MobileNetV2 block: expand, depthwise, project, add."""
    return _inverted(b, x, 16)


def different(b: Builder, x: str, block: int) -> str:
    """An inverted bottleneck of a width and a kernel that no earlier block has, up to 20,000 nodes.

    The widths are the same mixture in graphs of every size: what grows is the graph, not its layers.
    """
    turn, place = divmod(block, _WIDTHS)
    return _inverted(b, x, 8 + (place + turn) % _WIDTHS, KERNELS[place % len(KERNELS)])


def _inverted(b: Builder, x: str, hidden: int, kernel: int | Kernel = 3) -> str:
    y = b.put("Relu", b.norm(b.conv(x, CHANNELS, hidden), hidden))
    y = b.put("Relu", b.norm(b.conv(y, hidden, hidden, kernel, hidden), hidden))
    return b.put("Add", b.norm(b.conv(y, hidden, CHANNELS), CHANNELS), x)


def dense(b: Builder, x: str, block: int) -> str:
    """A DenseNet block of four layers that each read all before, and its transition."""
    seen = [x]
    for _ in range(4):
        many = len(seen) * CHANNELS
        joined = b.put("Concat", *seen, axis=1) if len(seen) > 1 else x
        seen.append(b.put("Relu", b.norm(b.conv(joined, many, CHANNELS, 3), CHANNELS)))
    return b.conv(b.put("Concat", *seen, axis=1), len(seen) * CHANNELS, CHANNELS)


def wide(b: Builder, x: str, block: int) -> str:
    """An Inception block: eight branches of a few nodes, joined by a Concat."""
    ends = []
    for branch in range(8):
        y = b.put("Relu", b.conv(x, CHANNELS, 4))
        if branch % 2:
            y = b.put("Relu", b.conv(y, 4, 4, 3))
        ends.append(y)
    return b.put("Relu", b.conv(b.put("Concat", *ends, axis=1), 32, CHANNELS))


def elementwise(b: Builder, x: str, block: int) -> str:
    """Many tiny nodes: scalings, shifts, activations."""
    y = b.put("Mul", x, b.weight(np.full((), 0.9, np.float32)))
    y = b.put("Add", y, b.normal(CHANNELS, 1, 1))
    y = b.put("Sigmoid", y)
    y = b.put("Mul", y, x)
    return b.put("Tanh", y)


def outputs(b: Builder, x: str, block: int) -> str:
    """A convolution whose output the caller wants to see, too."""
    y = b.put("Relu", b.conv(x, CHANNELS, CHANNELS))
    seen = b.put("GlobalAveragePool", y)
    b.outputs.append((seen, (1, CHANNELS, 1, 1)))
    return y


def _repeated(step: Callable[[Builder, str, int], str], nodes: int) -> onnx.ModelProto:
    b, x, block = Builder(), "x", 0
    while len(b.nodes) < nodes:
        x, block = step(b, x, block), block + 1
    return b.model(x)


def _equal(nodes: int) -> onnx.ModelProto:
    """Inverted bottlenecks that are equal down to their weights."""
    b, x = Builder(), "x"
    while len(b.nodes) < nodes:
        b.random = np.random.default_rng(0)
        x = inverted(b, x, 0)
    return b.model(x)


def _skips(nodes: int) -> onnx.ModelProto:
    """A U: every step down is added to its mirror step on the way up, so that values live long."""
    b, x, kept = Builder(), "x", []
    while len(b.nodes) < nodes * 2 // 5:
        x = b.put("Relu", b.conv(x, CHANNELS, CHANNELS))
        kept.append(x)
    while kept:
        x = b.put("Add", b.put("Relu", b.conv(x, CHANNELS, CHANNELS)), kept.pop())
    return b.model(x)


FAMILIES: dict[str, Callable[[int], onnx.ModelProto]] = {
    "chain": lambda n: _repeated(chain, n),
    "inverted": lambda n: _repeated(inverted, n),
    "equal": _equal,
    "different": lambda n: _repeated(different, n),
    "dense": lambda n: _repeated(dense, n),
    "wide": lambda n: _repeated(wide, n),
    "elementwise": lambda n: _repeated(elementwise, n),
    "skips": _skips,
    "outputs": lambda n: _repeated(outputs, n),
}
