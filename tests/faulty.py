"""A pass that pays, and that breaks where a test wants it to: for what happens around a run.

`tower()` is a chain of pairs of pointwise convolutions with nothing between them; `Merge` offers each pair
as one convolution, which is EXACT and faster, so that a search takes every one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from hwopt.choice import Kind, Pass, Risk, Skip, Stage, Value
from hwopt.edit import remove_nodes, set_constant
from hwopt.nodes import Conv, as_conv, convs
from hwopt.places import node_at, place_of
from hwopt.target import Target
from tests.graphs import Weights, model_of

NAME = "merge"
PAIRS = 4
PLAIN = ("--passes", NAME)
Bug = Callable[[ir.Model, Conv], None]


class Planted(RuntimeError):
    """What a faulty pass raises."""


def tower(pairs: int = PAIRS) -> ir.Model:
    """Pairs of 1x1 convolutions, 16 -> 32 -> 16 at 12x12, a Relu behind each pair."""
    lines, weights, value = list[str](), dict[str, tuple[int, ...]](), "x"
    for n in range(pairs):
        out = "y" if n == pairs - 1 else f"r{n}"
        lines += [
            f"  a{n} = Conv<kernel_shape=[1,1]>({value}, wa{n}, ba{n})",
            f"  b{n} = Conv<kernel_shape=[1,1]>(a{n}, wb{n}, bb{n})",
            f"  {out} = Relu(b{n})",
        ]
        weights |= {f"wa{n}": (32, 16, 1, 1), f"ba{n}": (32,), f"wb{n}": (16, 32, 1, 1), f"bb{n}": (16,)}
        value = out
    text = (
        '<ir_version: 8, opset_import: ["" : 13]>\n'
        "tower (float[N,16,12,12] x) => (float[N,16,12,12] y) {\n" + "\n".join(lines) + "\n}\n"
    )
    return model_of(text, _typed(weights))


def _typed(weights: dict[str, tuple[int, ...]]) -> Weights:
    return weights


@dataclass(frozen=True)
class Merge(Pass):
    """bugs: what is done to the merged convolution, by the number of the pair; barred: pairs not offered.

    looking: what is raised while looking for places.
    """

    bugs: tuple[tuple[int, Bug], ...] = ()
    barred: tuple[int, ...] = ()
    looking: Exception | None = None
    stage: Stage = Stage.FORM
    name = NAME
    risk = Risk.EXACT
    summary = "Conv 1x1, Conv 1x1 --> Conv 1x1"

    def values(self, model: ir.Model, target: Target) -> Iterator[Value | Skip]:
        del target
        for number, (first, second) in _pairs(model):
            if number in self.barred:
                continue
            places = (place_of(first.node), place_of(second.node))
            yield Value(
                f"{NAME}-{number}", Kind.FORM, "one", NAME, Risk.EXACT, self.stage, places,
                self._rewrite(number, places),
            )  # fmt: skip
        if self.looking is not None:
            raise self.looking

    def _rewrite(self, number: int, places: tuple[str, str]) -> Callable[[ir.Model], None]:
        bug = dict(self.bugs).get(number)

        def rewrite(model: ir.Model) -> None:
            first, second = (as_conv(node_at(model, place)) for place in places)
            assert first is not None
            assert second is not None
            matrix = second.weight[:, :, 0, 0]
            set_constant(second.node, 1, (matrix @ first.weight[:, :, 0, 0])[:, :, None, None])
            set_constant(second.node, 2, second.bias + matrix @ first.bias)
            second.node.replace_input_with(0, first.node.inputs[0])
            remove_nodes(_graph(model), [first.node])
            if bug is not None:
                merged = as_conv(second.node)
                assert merged is not None
                bug(model, merged)

        return rewrite


def _graph(model: ir.Model) -> ir.Graph:
    return model.graph


def _pairs(model: ir.Model) -> Iterator[tuple[int, tuple[Conv, Conv]]]:
    """Pairs by the number in the name of their output."""
    for conv in convs(model):
        before = conv.node.inputs[0]
        first = None if before is None or before.producer() is None else as_conv(before.producer())
        if first is not None and conv.output.name and conv.output.name.startswith("b"):
            yield int(conv.output.name[1:]), (first, conv)


def raises(model: ir.Model, conv: Conv) -> None:
    """Breaks down wherever it is written."""
    raise Planted("planted")


def raises_in_the_whole(model: ir.Model, conv: Conv) -> None:
    """Breaks down in the whole model alone, not in a region of it."""
    if {value.name for value in (*model.graph.inputs, *model.graph.outputs)} == {"x", "y"}:
        raise Planted("planted in the whole")


def adds_one(model: ir.Model, conv: Conv) -> None:
    """Wrong numbers."""
    set_constant(conv.node, 2, conv.bias + np.float32(1))


def breaks_the_output(model: ir.Model, conv: Conv) -> None:
    """Another interface."""
    model.graph.outputs[0].name = "other"


def is_no_onnx(model: ir.Model, conv: Conv) -> None:
    """A model that neither the checker nor ONNX Runtime takes."""
    conv.node.attributes["pads"] = ir.AttrInt64s("pads", [1])
