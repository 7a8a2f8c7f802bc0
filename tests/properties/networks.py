"""Random convolutional networks for hypothesis: a drawn recipe, then ONNX.

A recipe is a list of small integers, so that hypothesis shrinks a failing network to few and plain layers.
Every layer picks its input among all maps made so far, which is where branches come from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx.helper as oh
import onnx.numpy_helper as nh
import onnx_ir as ir
from hypothesis import strategies as st

from hwopt.nodes import FloatArray

SIZE, CHANNELS = 9, 4  # an odd size: halving it leaves a border


@dataclass(frozen=True)
class Layer:
    """One drawn layer. source, other: which maps it reads, counted from the newest."""

    kind: str
    source: int
    other: int
    width: int
    kernel: int
    stride: int
    flavour: int


@dataclass(frozen=True)
class Map:
    """A feature map: its value's name, channels, and height and width."""

    name: str
    channels: int
    size: int


@dataclass
class Net:
    """A network in the making; `new` appends a node and returns its output's name."""

    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    maps: list[Map] = field(default_factory=list)

    def new(self, op: str, *inputs: str, **attributes: object) -> str:
        stem = f"t{len(self.nodes)}"
        names = [f"{stem}_0", f"{stem}_1"] if op == "Split" else [stem]
        node = oh.make_node(op, list(inputs), names, name=f"n_{stem}")
        node.attribute.extend(oh.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        return names[0]

    def constant(self, array: FloatArray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(nh.from_array(array, name))
        return name

    def normal(self, *shape: int) -> str:
        fan_in = int(np.prod(shape[1:])) or 1
        return self.constant((self.rng.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32))

    def add(self, name: str, channels: int, size: int) -> None:
        self.maps.append(Map(name, channels, size))

    def conv(self, x: str, into: int, out: int, kernel: int, group: int = 1, **attributes: object) -> str:
        bias = [self.normal(out)] if out % 2 == 0 else []
        weight = self.normal(out, into // group, kernel, kernel)
        return self.new("Conv", x, weight, *bias, group=group, **attributes)

    def norm(self, x: str, channels: int) -> str:
        variance = np.abs(self.rng.standard_normal(channels)).astype(np.float32) + np.float32(0.5)
        scale, shift, mean = (self.normal(channels) for _ in range(3))
        return self.new("BatchNormalization", x, scale, shift, mean, self.constant(variance))

    def activate(self, x: str, flavour: int) -> str:
        """One of seven activations, or none; some in the pieces that exporters write."""
        if flavour == 1:
            return self.new("Relu", x)
        if flavour == 2:
            return self.new("Clip", x, self.scalar(0.0), self.scalar(6.0))
        if flavour == 3:
            return self.new("Mul", x, self.new("Sigmoid", x))
        if flavour == 4:
            shifted = self.new(
                "Clip", self.new("Add", x, self.scalar(3.0)), self.scalar(0.0), self.scalar(6.0)
            )
            return self.new("Div", self.new("Mul", x, shifted), self.scalar(6.0))
        if flavour == 5:
            return self.new("HardSwish", x)
        if flavour == 6:
            return self.new("LeakyRelu", x, alpha=0.1)
        return self.new("Tanh", x) if flavour == 7 else x

    def scalar(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))


def _conv(net: Net, x: Map, layer: Layer) -> None:
    """A convolution with its norm and activation: strides, dilations, groups, every kind of padding."""
    kernel = layer.kernel if x.size >= layer.kernel else 1
    half = kernel // 2
    group = 2 if layer.other % 3 == 2 and x.channels % 2 == 0 and layer.width % 2 == 0 else 1
    padding: list[dict[str, object]] = [
        {"pads": [half] * 4},
        {"auto_pad": "SAME_UPPER"},
        {"pads": [0, half, 2 * half, half]},
    ]
    how = padding[layer.other % 3]
    made = net.conv(x.name, x.channels, layer.width, kernel, group, strides=[layer.stride] * 2, **how)
    if layer.other % 2:
        made = net.norm(made, layer.width)
    net.add(net.activate(made, layer.flavour), layer.width, -(-x.size // layer.stride))


def _depthwise(net: Net, x: Map, layer: Layer) -> None:
    """Depthwise with a channel multiplier of one or two, then pointwise."""
    out = x.channels * (1 + layer.other % 2)
    pads, kernel = [layer.kernel // 2] * 4, layer.kernel
    made = net.conv(x.name, x.channels, out, kernel, x.channels, strides=[layer.stride] * 2, pads=pads)
    made = net.activate(net.norm(made, out), layer.flavour)
    net.add(net.conv(made, out, layer.width, 1), layer.width, -(-x.size // layer.stride))


def _bottleneck(net: Net, x: Map, layer: Layer) -> None:
    """An inverted bottleneck with a residual."""
    hidden, pads = 2 * x.channels, [layer.kernel // 2] * 4
    made = net.activate(net.norm(net.conv(x.name, x.channels, hidden, 1), hidden), layer.flavour)
    made = net.conv(made, hidden, hidden, layer.kernel, hidden, pads=pads)
    made = net.conv(net.activate(made, layer.flavour), hidden, x.channels, 1)
    net.add(net.new("Add", made, x.name), x.channels, x.size)


def _partner(net: Net, x: Map, layer: Layer, same_width: bool) -> Map:
    """Another map of the same size (and width), the map itself where there is none."""
    fits = [m for m in net.maps if m.size == x.size and (not same_width or m.channels == x.channels)]
    return fits[layer.other % len(fits)]


def _residual(net: Net, x: Map, layer: Layer) -> None:
    other = _partner(net, x, layer, same_width=True)
    net.add(net.new("Mul" if layer.flavour == 7 else "Add", x.name, other.name), x.channels, x.size)


def _concat(net: Net, x: Map, layer: Layer) -> None:
    other = _partner(net, x, layer, same_width=False)
    if x.channels + other.channels <= 24:
        net.add(net.new("Concat", x.name, other.name, axis=1), x.channels + other.channels, x.size)


def _split(net: Net, x: Map, layer: Layer) -> None:
    if x.channels >= 2:
        first = x.channels // 2
        sizes = net.constant(np.array([first, x.channels - first], np.int64))
        name = net.new("Split", x.name, sizes, axis=1)
        net.add(name, first, x.size)
        net.add(name[:-1] + "1", x.channels - first, x.size)


def _pool(net: Net, x: Map, layer: Layer) -> None:
    op = "MaxPool" if layer.flavour % 2 else "AveragePool"
    if x.size >= 3:
        made = net.new(op, x.name, kernel_shape=[3, 3], strides=[layer.stride] * 2, pads=[1] * 4)
        net.add(made, x.channels, -(-x.size // layer.stride))


def _scalars(net: Net, x: Map, layer: Layer) -> None:
    """What exporters leave behind: scales, shifts per channel, Identity, a pair of Transposes."""
    scaled = net.new(("Mul", "Sub", "Div")[layer.other % 3], x.name, net.scalar(0.5 + layer.width))
    shifted = net.new("Add", scaled, net.normal(1, x.channels, 1, 1))
    if layer.flavour % 2:
        turned = net.new("Transpose", net.new("Identity", shifted), perm=[0, 2, 3, 1])
        shifted = net.new("Transpose", turned, perm=[0, 3, 1, 2])
    net.add(shifted, x.channels, x.size)


def _gate(net: Net, x: Map, layer: Layer) -> None:
    """Squeeze and excite."""
    squeezed = net.conv(net.new("GlobalAveragePool", x.name), x.channels, layer.width, 1)
    gate = net.new("Sigmoid", net.conv(net.new("Relu", squeezed), layer.width, x.channels, 1))
    net.add(net.new("Mul", x.name, gate), x.channels, x.size)


def _padded(net: Net, x: Map, layer: Layer) -> None:
    """A Pad of its own before a convolution that has none."""
    pads = net.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
    made = net.new("Pad", x.name, pads) if x.size >= 1 else x.name
    net.add(net.conv(made, x.channels, layer.width, 3), layer.width, x.size)


KINDS: dict[str, Callable[[Net, Map, Layer], None]] = {
    "conv": _conv, "depthwise": _depthwise, "bottleneck": _bottleneck, "residual": _residual,
    "concat": _concat, "split": _split, "pool": _pool, "scalars": _scalars, "gate": _gate, "padded": _padded,
}  # fmt: skip

_LAYERS = st.builds(
    Layer,
    kind=st.sampled_from(sorted(KINDS)),
    source=st.integers(0, 3),
    other=st.integers(0, 5),
    width=st.sampled_from([4, 3, 6, 8]),
    kernel=st.sampled_from([3, 1, 5]),
    stride=st.sampled_from([1, 1, 2]),
    flavour=st.integers(0, 7),
)


@dataclass(frozen=True)
class Recipe:
    """A drawn network. extra: an inner map that is an output, too; seed: of the weights."""

    layers: tuple[Layer, ...]
    extra: int
    seed: int


RECIPES = st.builds(
    Recipe,
    layers=st.lists(_LAYERS, min_size=1, max_size=8).map(tuple),
    extra=st.integers(0, 8),
    seed=st.integers(0, 3),
)


def network(recipe: Recipe) -> ir.Model:
    """The network: a free batch, one input, the last map and perhaps an inner one as outputs."""
    net = Net(np.random.default_rng(recipe.seed))
    net.add("x", CHANNELS, SIZE)
    for layer in recipe.layers:
        KINDS[layer.kind](net, net.maps[-1 - layer.source % len(net.maps)], layer)
    outputs = {net.maps[-1].name: net.maps[-1]}
    inner = net.maps[recipe.extra % len(net.maps)]
    outputs.setdefault(inner.name, inner)
    outputs.pop("x", None)
    if not outputs:  # no layer fitted: the plainest network there is
        _conv(net, net.maps[0], Layer("conv", 0, 0, 4, 1, 1, 1))
        outputs = {net.maps[-1].name: net.maps[-1]}
    return _model(net, list(outputs.values()))


def _model(net: Net, outputs: list[Map]) -> ir.Model:
    def info(m: Map) -> onnx.ValueInfoProto:
        return oh.make_tensor_value_info(m.name, onnx.TensorProto.FLOAT, ["N", m.channels, m.size, m.size])

    graph = oh.make_graph(net.nodes, "drawn", [info(net.maps[0])], [info(m) for m in outputs], net.weights)
    proto = oh.make_model(graph, opset_imports=[oh.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(proto, full_check=True)
    return ir.from_proto(proto)
