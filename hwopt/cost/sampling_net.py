"""A small builder of static ONNX models: shapes are known at every step, weights are drawn lazily.

It exists because a sampled network is built only to have one block cut out of it: thousands of
networks are built, few of their weights are ever read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from hwopt.cost.sampling_shapes import broadcast, channels, dims, same_pads
from hwopt.cost.sampling_weights import WeightStyle, layer_style, lazy_weight, optimised_style

BLOCK_KEY = "hwopt.cost.sampling.block"
OPSET = 13
HARD_SWISH_OPSET = 14
GELU_OPSET = 20
Seed = tuple[int, ...]
Attributes = Mapping[str, int | float | str | Sequence[int]]


def _attribute(name: str, value: int | float | str | Sequence[int]) -> ir.Attr:
    """An attribute of the type that its value has (onnx_ir's own conversion takes ten times as long)."""
    if isinstance(value, int):
        return ir.AttrInt64(name, value)
    if isinstance(value, float):
        return ir.AttrFloat32(name, value)
    if isinstance(value, str):
        return ir.AttrString(name, value)
    return ir.AttrInt64s(name, [int(item) for item in value])


class Net:
    """Appends operators one by one; every method takes values and returns the result's value.

    Shapes are NCHW with batch 1. `act` is one of "", relu, relu6, leaky, hswish, hswish_parts,
    silu, hsigmoid, sigmoid, tanh, gelu, prelu.
    """

    def __init__(self, name: str, style: WeightStyle, seed: Seed) -> None:
        self.name = name
        self.style = style
        self.seed = seed
        self.rng = np.random.default_rng((*seed, 1))
        self.centred = bool(self.rng.random() < 0.6)  # PyTorch's padding; else TensorFlow's SAME
        self.block = 0
        self._opset = OPSET
        self._nodes: list[ir.Node] = []
        self._inputs: list[ir.Value] = []
        self._initializers: list[ir.Value] = []

    def input(self, *shape: int) -> ir.Value:
        """A new graph input."""
        value = ir.val(f"in{len(self._inputs)}", ir.DataType.FLOAT, shape)
        self._inputs.append(value)
        return value

    def next_block(self) -> None:
        """Everything appended from here on belongs to the next block."""
        self.block += 1

    def model(self, *outputs: ir.Value) -> ir.Model:
        """The finished model; its outputs are those given."""
        graph = ir.Graph(
            self._inputs,
            list(outputs),
            nodes=self._nodes,
            initializers=self._initializers,
            opset_imports={"": self._opset},
            name=self.name,
        )
        return ir.Model(graph, ir_version=8)

    # -- linear operators -------------------------------------------------------------------

    def conv(
        self, x: ir.Value, out: int, k: int = 1, s: int = 1, act: str = "", style: WeightStyle | None = None
    ) -> ir.Value:
        """A convolution with the padding that keeps ceil(H / s)."""
        style = optimised_style(self.style, k, self.rng) if style is None else style
        return self.activate(self._conv(x, out, (k, k), s, 1, style), act)

    def depthwise(self, x: ir.Value, k: int = 3, s: int = 1, act: str = "") -> ir.Value:
        """A depthwise convolution."""
        return self.activate(self._conv(x, channels(x), (k, k), s, channels(x), self._layer()), act)

    def window(
        self,
        x: ir.Value,
        out: int,
        kernel: tuple[int, int],
        s: int = 1,
        dilation: int = 1,
        groups: int = 1,
        act: str = "",
    ) -> ir.Value:
        """A convolution of any kernel, stride, dilation and number of groups."""
        return self.activate(self._conv(x, out, kernel, s, groups, self._layer(), dilation), act)

    def diagonal(self, x: ir.Value, k: int = 3, s: int = 1, act: str = "") -> ir.Value:
        """A dense convolution that does what a depthwise one did: zero off the diagonal."""
        style = WeightStyle(self.style.distribution, self.style.channel_spread, diagonal=True)
        return self.activate(self._conv(x, channels(x), (k, k), s, 1, style), act)

    def conv_transpose(self, x: ir.Value, out: int, k: int = 2, s: int = 2, act: str = "") -> ir.Value:
        """A transposed convolution that enlarges s times."""
        _, c, h, w = dims(x)
        weight = self._weight((c, out, k, k), self._layer())
        bias = self.vector(out)
        pad = (k - s + 1) // 2
        extra = s - k + 2 * pad
        y = self.node(
            "ConvTranspose",
            [x, weight, bias],
            (1, out, h * s, w * s),
            {"strides": [s, s], "pads": [pad] * 4, "output_padding": [extra] * 2, "kernel_shape": [k, k]},
        )
        return self.activate(y, act)

    def gemm(self, x: ir.Value, out: int, act: str = "", style: WeightStyle | None = None) -> ir.Value:
        """A fully connected layer on [1, n], weight stored [out, n]."""
        style = optimised_style(self.style, 1, self.rng) if style is None else style
        weight = self._weight((out, dims(x)[1]), style)
        y = self.node("Gemm", [x, weight, self.vector(out)], (1, out), {"transB": 1})
        return self.activate(y, act)

    def matmul(self, x: ir.Value, out: int) -> ir.Value:
        """A matrix product with a constant on the right; works on the last axis."""
        shape = dims(x)
        weight = self._weight((shape[-1], out), self._layer())
        return self.node("MatMul", [x, weight], (*shape[:-1], out))

    # -- elementwise, shape and pooling -----------------------------------------------------

    def add(self, x: ir.Value, y: ir.Value, act: str = "") -> ir.Value:
        """Sum; broadcasts."""
        return self.activate(self.node("Add", [x, y], broadcast(x, y)), act)

    def mul(self, x: ir.Value, y: ir.Value) -> ir.Value:
        """Product; broadcasts."""
        return self.node("Mul", [x, y], broadcast(x, y))

    def sub(self, x: ir.Value, y: ir.Value) -> ir.Value:
        """Difference; broadcasts."""
        return self.node("Sub", [x, y], broadcast(x, y))

    def pool(self, x: ir.Value, op_type: str, k: int, s: int) -> ir.Value:
        """MaxPool or AveragePool with the padding that keeps ceil(H / s)."""
        _, c, h, w = dims(x)
        pads = [*same_pads((h, w), (k, k), s, 1)]
        return self.node(
            op_type,
            [x],
            (1, c, -(-h // s), -(-w // s)),
            {"kernel_shape": [k, k], "strides": [s, s], "pads": pads},
        )

    def global_pool(self, x: ir.Value) -> ir.Value:
        """Global average pool, [1, C, 1, 1]."""
        return self.node("GlobalAveragePool", [x], (1, channels(x), 1, 1))

    def flatten(self, x: ir.Value) -> ir.Value:
        """[1, everything else]."""
        return self.node("Flatten", [x], (1, int(np.prod(dims(x)))), {"axis": 1})

    def concat(self, values: Sequence[ir.Value]) -> ir.Value:
        """Along the channels."""
        _, _, h, w = dims(values[0])
        return self.node("Concat", values, (1, sum(map(channels, values)), h, w), {"axis": 1})

    def split(self, x: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Two halves of the channels, by two Slice nodes or one Split."""
        _, c, h, w = dims(x)
        half = c // 2
        if self.rng.random() < 0.5:
            return self._channel_slice(x, 0, half), self._channel_slice(x, half, c)
        sizes = self.constant(np.array([half, c - half], np.int64))
        shapes = [(1, half, h, w), (1, c - half, h, w)]
        left, right = self.node_of_many("Split", [x, sizes], shapes, {"axis": 1})
        return left, right

    def shuffle(self, x: ir.Value, groups: int = 2) -> ir.Value:
        """ShuffleNet's channel shuffle: reshape, transpose, reshape."""
        _, c, h, w = dims(x)
        y = self._reshape(x, (1, groups, c // groups, h, w))
        y = self.node("Transpose", [y], (1, c // groups, groups, h, w), {"perm": [0, 2, 1, 3, 4]})
        return self._reshape(y, (1, c, h, w))

    def resize(self, x: ir.Value, scale: int, mode: str = "nearest") -> ir.Value:
        """Upsampling by a whole factor."""
        _, c, h, w = dims(x)
        scales = self.constant(np.array([1, 1, scale, scale], np.float32))
        extra = {"nearest_mode": "floor"} if mode == "nearest" else {}
        transform = "asymmetric" if mode == "nearest" else "half_pixel"
        attributes = {"mode": mode, "coordinate_transformation_mode": transform, **extra}
        empty = self.constant(np.zeros(0, np.float32))
        return self.node("Resize", [x, empty, scales], (1, c, h * scale, w * scale), attributes)

    def softmax(self, x: ir.Value) -> ir.Value:
        """Over the last axis."""
        return self.node("Softmax", [x], dims(x), {"axis": -1})

    def activate(self, x: ir.Value, act: str) -> ir.Value:
        """The value after a non-linearity; "" leaves it as it is."""
        if act == "":
            return x
        if act == "relu6":
            bounds = [self.constant(np.array(v, np.float32)) for v in (0.0, 6.0)]
            return self.node("Clip", [x, *bounds], dims(x))
        if act == "hswish":
            self._opset = max(self._opset, HARD_SWISH_OPSET)
            return self.node("HardSwish", [x], dims(x))
        if act == "hswish_parts":
            return self.mul(x, self.activate(x, "hsigmoid"))
        if act == "silu":
            return self.mul(x, self.activate(x, "sigmoid"))
        if act == "hsigmoid":
            return self.node("HardSigmoid", [x], dims(x), {"alpha": 1 / 6, "beta": 0.5})
        if act == "gelu":
            return self.node("Gelu", [x], dims(x), None, GELU_OPSET)
        if act == "prelu":
            slope = self.constant(self.rng.uniform(0.05, 0.4, (channels(x), 1, 1)).astype(np.float32))
            return self.node("PRelu", [x, slope], dims(x))
        op_type = {"relu": "Relu", "leaky": "LeakyRelu", "sigmoid": "Sigmoid", "tanh": "Tanh"}[act]
        return self.node(op_type, [x], dims(x), {"alpha": 0.1} if act == "leaky" else None)

    def _layer(self) -> WeightStyle:
        return layer_style(self.style, self.rng)

    # -- the ground -------------------------------------------------------------------------

    def _conv(
        self,
        x: ir.Value,
        out: int,
        kernel: tuple[int, int],
        s: int,
        groups: int,
        style: WeightStyle,
        dilation: int = 1,
    ) -> ir.Value:
        _, c, h, w = dims(x)
        weight = self._weight((out, c // groups, *kernel), style)
        attributes: Attributes = {
            "kernel_shape": list(kernel),
            "strides": [s, s],
            "pads": list(self._conv_pads((h, w), kernel, s, dilation)),
            "dilations": [dilation, dilation],
            "group": groups,
        }
        shape = (1, out, -(-h // s), -(-w // s))
        return self.node("Conv", [x, weight, self.vector(out)], shape, attributes)

    def _conv_pads(
        self, size: tuple[int, int], kernel: tuple[int, int], s: int, dilation: int
    ) -> tuple[int, int, int, int]:
        if not self.centred:
            return same_pads(size, kernel, s, dilation)
        top, left = (dilation * (k // 2) for k in kernel)
        return top, left, top, left

    def _channel_slice(self, x: ir.Value, start: int, stop: int) -> ir.Value:
        _, _, h, w = dims(x)
        bounds = [self.constant(np.array([v], np.int64)) for v in (start, stop, 1)]
        return self.node("Slice", [x, *bounds], (1, stop - start, h, w))

    def _reshape(self, x: ir.Value, shape: tuple[int, ...]) -> ir.Value:
        return self.node("Reshape", [x, self.constant(np.array(shape, np.int64))], shape)

    def _weight(self, shape: tuple[int, ...], style: WeightStyle) -> ir.Value:
        return self._initializer(lazy_weight(shape, style, self._weight_seed()))

    def vector(self, size: int) -> ir.Value:
        """A constant vector of this size, drawn like a weight."""
        return self._initializer(lazy_weight((size, 1), self.style, self._weight_seed()), (size,))

    def _weight_seed(self) -> Seed:
        return (*self.seed, 100 + len(self._initializers))  # low numbers are other streams'

    def constant(self, array: np.ndarray) -> ir.Value:
        """An initializer that holds this array."""
        return self._initializer(ir.tensor(array))

    def _initializer(self, tensor: ir.TensorProtocol, shape: tuple[int, ...] | None = None) -> ir.Value:
        if shape is not None:
            source = tensor
            tensor = ir.LazyTensor(
                lambda: ir.tensor(source.numpy().reshape(shape)),
                dtype=ir.DataType.FLOAT,
                shape=ir.Shape(shape),
                cache=True,
            )
        name = f"w{len(self._initializers)}"
        value = ir.Value(
            name=name,
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(tensor.shape.numpy()),
            const_value=tensor,
        )
        self._initializers.append(value)
        return value

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value],
        shape: tuple[int, ...],
        attributes: Attributes | None = None,
        opset: int = OPSET,
    ) -> ir.Value:
        """Appends an operator of one output of this shape, known since `opset`."""
        self._opset = max(self._opset, opset)
        return self.node_of_many(op_type, inputs, [shape], attributes)[0]

    def node_of_many(
        self,
        op_type: str,
        inputs: Sequence[ir.Value],
        shapes: Sequence[tuple[int, ...]],
        attributes: Attributes | None = None,
    ) -> list[ir.Value]:
        """Appends an operator of several outputs of these shapes."""
        name = f"t{len(self._nodes)}"
        names = [name] if len(shapes) == 1 else [f"{name}_{i}" for i in range(len(shapes))]
        outputs = [ir.val(n, ir.DataType.FLOAT, shape) for n, shape in zip(names, shapes, strict=True)]
        listed = [_attribute(key, value) for key, value in (attributes or {}).items()]
        node = ir.Node("", op_type, list(inputs), listed, outputs=outputs, name=f"{op_type}_{name}")
        node.meta[BLOCK_KEY] = self.block
        self._nodes.append(node)
        return outputs
