"""Operators of sampled networks, appended one by one: shapes are known at every step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from hwopt.cost.sampling_ground import Attributes, Ground
from hwopt.cost.sampling_shapes import broadcast, channels, dims, same_pads
from hwopt.cost.sampling_weights import WeightStyle, layer_style, optimised_style

HARD_SWISH_OPSET = 14
GELU_OPSET = 20


class Net(Ground):
    """Appends operators one by one; every method takes values and returns the result's value.

    Shapes are NCHW with batch 1. `act` is one of "", relu, relu6, leaky, hswish, hswish_parts,
    silu, hsigmoid, sigmoid, tanh, gelu, prelu.
    """

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
