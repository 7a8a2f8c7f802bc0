"""Small models with strange features, each around convolutions that hwopt does rewrite.

`EXOTIC` holds them by name, `feature/variant`. In the texts `@n SOURCE -> RESULT` stands for a residual
block of eight channels: 1x1 convolution to sixteen, BatchNormalization, 3x3 depthwise convolution, Relu,
1x1 convolution back, and the sum with what it read. Each of its values and weights begins with the n.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser

from hwopt.nodes import Array

Shape = tuple[int, ...]

NCHW = "float[N,8,6,6]"
BATCHES = ({"N": 1}, {"N": 3})  # sizes of its N
NORM: Mapping[str, Shape] = {f"o{k}": (8,) for k in "gsmv"}
NORMED = "BatchNormalization({x}, og, os, om, ov)"

_BLOCK = """
  {n}c = Conv<kernel_shape=[1,1]>({x}, {n}w)
  {n}b = BatchNormalization({n}c, {n}g, {n}s, {n}m, {n}v)
  {n}d = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=16>({n}b, {n}wd, {n}bd)
  {n}r = Relu({n}d)
  {n}p = Conv<kernel_shape=[1,1]>({n}r, {n}wp, {n}bp)
  {y} = Add({n}p, {x})"""
_WEIGHTS: Mapping[str, Shape] = {
    "w": (16, 8, 1, 1), "g": (16,), "s": (16,), "m": (16,), "v": (16,),
    "wd": (16, 1, 3, 3), "bd": (16,), "wp": (8, 16, 1, 1), "bp": (8,),
}  # fmt: skip
_MARK = re.compile(r"@(\w+) (\w+) -> (\w+)")
_SEEN = 3  # seeds of inputs that a model is compared on


@dataclass(frozen=True)
class Exotic:
    """A model and how it is run.

    sizes: of symbolic axes, one run for each. given: `input_shapes` of optimize. choices: for an input the
    arrays it may have, in the place of normal numbers; for a sequence, lists. runs: whether ONNX
    Runtime knows all operators. changes: whether hwopt is expected to find a rewrite that is exact.
    """

    proto: onnx.ModelProto
    sizes: Sequence[Mapping[str, int]] = ({},)
    given: Mapping[str, Shape] = field(default_factory=dict)
    choices: Mapping[str, Sequence[object]] = field(default_factory=dict)
    runs: bool = True
    changes: bool = True

    def feeds(self) -> list[dict[str, object]]:
        """Inputs for every size and seed; weights that are inputs keep their default at every second."""
        return [self._feed(sizes, seed) for sizes in self.sizes for seed in range(_SEEN)]

    def with_weights(self, weights: Mapping[str, Shape | Array]) -> Exotic:
        """The same, with more weights."""
        rng = np.random.default_rng(1)
        for name, what in weights.items():
            self.proto.graph.initializer.append(onnx.numpy_helper.from_array(_array(name, what, rng), name))
        return self

    def _feed(self, sizes: Mapping[str, int], seed: int) -> dict[str, object]:
        rng = np.random.default_rng(seed)
        defaults = {tensor.name for tensor in self.proto.graph.initializer}
        fed: dict[str, object] = {}
        for info in self.proto.graph.input:
            if info.name in defaults and seed % 2 == 0:
                continue
            options = self.choices.get(info.name)
            if options is not None:
                fed[info.name] = options[seed % len(options)]
            elif info.name not in defaults or self.proto.ir_version >= 4:
                fed[info.name] = _normal(info, sizes, rng)
        return fed


def _normal(info: onnx.ValueInfoProto, sizes: Mapping[str, int], rng: np.random.Generator) -> Array:
    tensor = info.type.tensor_type
    shape = [dim.dim_value or sizes.get(dim.dim_param, 2) for dim in tensor.shape.dim]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    return np.asarray(rng.standard_normal(shape)).astype(dtype)


Build = Callable[[], Exotic]
EXOTIC: dict[str, Build] = {}


def exotic(name: str) -> Callable[[Build], Build]:
    """Registers a builder."""

    def register(build: Build) -> Build:
        EXOTIC[name] = build
        return build

    return register


def parsed(text: str, weights: Mapping[str, Shape | Array] | None = None, opset: int = 17) -> onnx.ModelProto:
    """The model of a text: blocks written out, header added where it has none, weights in place."""
    blocks = dict.fromkeys(match[1] for match in _MARK.finditer(text))
    text = _MARK.sub(lambda m: _BLOCK.format(n=m[1], x=m[2], y=m[3]), text)
    header = "" if text.lstrip().startswith("<") else f'<ir_version: 8, opset_import: ["" : {opset}]>'
    proto = onnx.parser.parse_model(header + text)
    every: dict[str, Shape | Array] = {f"{n}{k}": shape for n in blocks for k, shape in _WEIGHTS.items()}
    rng = np.random.default_rng(0)
    for name, what in {**every, **(weights or {})}.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(_array(name, what, rng), name))
    return proto


def model_of(
    body: str,
    weights: Mapping[str, Shape | Array] | None = None,
    opset: int = 17,
    inputs: str = f"{NCHW} x",
    outputs: str = f"{NCHW} y",
) -> Exotic:
    """A network of this text, with eight channels and any batch unless it says otherwise."""
    return Exotic(parsed(f"g ({inputs}) => ({outputs}) {{ {body} }}", weights, opset), BATCHES)


def dotted(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with `.` for `_` in its names, which the parser of texts does not take."""
    graphs = [proto.graph]
    for graph in graphs:
        for node in graph.node:
            node.input[:] = [name.replace("_", ".") for name in node.input]
            node.output[:] = [name.replace("_", ".") for name in node.output]
            graphs += [attribute.g for attribute in node.attribute if attribute.HasField("g")]
        for named in (*graph.input, *graph.output, *graph.initializer):
            named.name = named.name.replace("_", ".")
    return proto


def _array(name: str, what: Shape | Array, rng: np.random.Generator) -> Array:
    """The array, or normal numbers of a shape; a variance is positive."""
    if isinstance(what, np.ndarray):
        return what
    array = np.asarray(0.3 * rng.standard_normal(what))
    return (np.abs(array) + 0.5 if name.endswith("v") else array).astype(np.float32)


def f32(*numbers: float) -> Array:
    """A vector."""
    return np.array(numbers, np.float32)


def i64(*numbers: int) -> Array:
    """A vector."""
    return np.array(numbers, np.int64)


def scalar_of(number: float, dtype: type[np.generic] = np.float32) -> Array:
    """A tensor without axes."""
    return np.asarray(number, dtype)
