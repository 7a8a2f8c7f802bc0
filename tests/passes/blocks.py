"""Inverted bottlenecks of every supported variant, as ONNX text."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from tests.graphs import Weights, model_of

ACTIVATIONS = {
    "relu": "{0}a = Relu({0})",
    "relu6": "{0}a = Clip({0}, zero, six)",
    "hardswish": "{0}a = HardSwish({0})",
    "hardswish spelled out": """{0}1 = Add({0}, three)
  {0}2 = Clip({0}1, zero, six)
  {0}3 = Mul({0}, {0}2)
  {0}a = Div({0}3, six)""",
    "silu": "{0}1 = Sigmoid({0})\n  {0}a = Mul({0}, {0}1)",
}
SQUEEZE = """m = GlobalAveragePool({0})
  s = Conv<kernel_shape=[1,1]>(m, ws, bs)
  sa = Relu(s)
  t = Conv<kernel_shape=[1,1]>(sa, wt, bt)
  g = Sigmoid(t)
  dg = Mul({0}, g)"""
INPUT, HIDDEN, SQUEEZED = 8, 24, 6


@dataclass(frozen=True)
class Block:
    """One variant. size: the input's height and width; pads in ONNX's order, None for half the kernel.

    first: activation behind the expansion; second: behind the filter; "" for none.
    """

    first: str = "relu6"
    second: str = "relu6"
    kernel: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] | None = None
    size: tuple[int, int] = (12, 10)
    gated: bool = False
    expanded: bool = True
    biased: bool = True

    @property
    def channels(self) -> int:
        """Of the input and the output: without an expansion the filter works on the input."""
        return INPUT if self.expanded else HIDDEN

    @property
    def residual(self) -> bool:
        """Whether the output has the input's size, so that they are added."""
        pads, sizes = self.all_pads, (self.kernel[0] - 1, self.kernel[1] - 1)
        return self.strides == (1, 1) and (pads[0] + pads[2], pads[1] + pads[3]) == sizes

    @property
    def all_pads(self) -> tuple[int, int, int, int]:
        height, width = (size // 2 for size in self.kernel)
        return self.pads or (height, width, height, width)

    @property
    def text(self) -> str:
        """The model."""
        body = [*self._head(), *self._tail()]
        (height, width), count = self.size, self.channels
        head = f'<ir_version: 8, opset_import: ["" : 14]>\nblock (float[N,{count},{height},{width}] x)'
        return f"{head} => (float[N,{count},H,W] y) {{\n  " + "\n  ".join(body) + "\n}"

    def _head(self) -> list[str]:
        lines = ["three = Constant<value = float {3.0}>()"] if "spelled" in self.first + self.second else []
        if self.expanded:
            lines.append(f"e = Conv<kernel_shape=[1,1]>(x, we{', be' if self.biased else ''})")
            lines.extend([ACTIVATIONS[self.first].format("e")] if self.first else [])
        return lines

    def _tail(self) -> list[str]:
        (height, width), strides = self.kernel, list(self.strides)
        shape = (
            f"kernel_shape={[height, width]}, strides={strides}, pads={list(self.all_pads)}, group={HIDDEN}"
        )
        source = "x" if not self.expanded else "ea" if self.first else "e"
        lines = [f"d = Conv<{shape}>({source}, wd, bd)"]
        lines.extend([ACTIVATIONS[self.second].format("d")] if self.second else [])
        hidden = "da" if self.second else "d"
        lines.extend([SQUEEZE.format(hidden)] if self.gated else [])
        project = f"Conv<kernel_shape=[1,1]>({'dg' if self.gated else hidden}, wp, bp)"
        return [*lines, *([f"p = {project}", "y = Add(p, x)"] if self.residual else [f"y = {project}"])]

    @property
    def weights(self) -> Weights:
        shapes: dict[str, tuple[int, ...]] = {
            "wd": (HIDDEN, 1, *self.kernel),
            "bd": (HIDDEN,),
            "wp": (self.channels, HIDDEN, 1, 1),
            "bp": (self.channels,),
        }
        if self.expanded:
            shapes |= {"we": (HIDDEN, INPUT, 1, 1), **({"be": (HIDDEN,)} if self.biased else {})}
        if self.gated:
            shapes |= {"ws": (SQUEEZED, HIDDEN, 1, 1), "bs": (SQUEEZED,)}
            shapes |= {"wt": (HIDDEN, SQUEEZED, 1, 1), "bt": (HIDDEN,)}
        return shapes

    def model(self, seed: int = 0) -> ir.Model:
        """With seeded weights."""
        return model_of(self.text, self.weights, seed)


VARIANTS = {
    "relu6": Block(),
    "relu6 stride 2": Block(strides=(2, 2), pads=(0, 0, 1, 1)),
    "relu k5 stride 2": Block("relu", "relu", kernel=(5, 5), strides=(2, 2), pads=(1, 1, 2, 2)),
    "relu6 k5": Block(kernel=(5, 5)),
    "relu6 k7": Block(kernel=(7, 7)),
    "hardswish": Block("hardswish", "hardswish"),
    "hardswish spelled out, k5": Block("hardswish spelled out", "hardswish spelled out", kernel=(5, 5)),
    "silu k5 stride 2": Block("silu", "silu", kernel=(5, 5), strides=(2, 2)),
    "silu gated": Block("silu", "silu", gated=True),
    "hardswish k5 gated, stride 2": Block("hardswish", "hardswish", (5, 5), (2, 2), gated=True),
    "relu gated": Block("relu", "relu", gated=True),
    "linear filter gated": Block("relu", "", gated=True),
    "5x3": Block(kernel=(5, 3)),
    "1x5": Block(kernel=(1, 5)),
    "asymmetric pads": Block(kernel=(5, 5), pads=(1, 2, 3, 2)),
    "stride 2 by 1": Block(strides=(2, 1)),
    "no pads": Block(kernel=(5, 5), strides=(2, 2), pads=(0, 0, 0, 0)),
}  # fmt: skip
