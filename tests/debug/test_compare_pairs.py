"""Which tensor of a rewritten model is which of the first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from hwopt.choice import Risk
from hwopt.debug import compare_layers
from hwopt.debug.compare.pairs import BY_NAME, BY_SOURCES, computed, pair_tensors
from hwopt.find import find_choices, with_places
from hwopt.nodes import Array
from hwopt.provenance import CHANNELS, note_channels
from hwopt.registry import load_target, select_passes
from hwopt.rewrite import carry_out_steps, chosen_values
from tests.debug.compare_nets import (
    X,
    bumped_nth,
    names,
    parsed,
    saved,
)
from tests.graphs import classifier
from tests.planted import planted


def planted_model(model: ir.Model, wrong: int | None = None) -> ir.Model:
    """Every convolution with its bias as a node of its own, by the passes of tests.planted."""
    placed = with_places(model)
    choices, _ = find_choices(placed, planted(wrong=wrong), load_target("edge-npu"), frozenset({Risk.EXACT}))
    taken = {choice.id: choice.values[0].name for choice in choices}
    return carry_out_steps(placed, chosen_values(choices, taken))


def test_a_node_that_took_the_place_of_others_is_found_by_what_the_file_says(tmp_path: Path) -> None:
    """Conv --> Conv, Add leaves the old name on what is now in between."""
    model = classifier()
    other = saved(planted_model(model), tmp_path)
    layers = compare_layers(model, other, X)
    assert layers.same
    by = {layer.name: (layer.other, layer.how) for layer in layers.tensors}
    assert by["p"] == ("p.add", BY_SOURCES)
    assert by["y"] == ("y", BY_NAME)
    assert [(item.name, item.in_) for item in layers.not_compared if item.name == "p"] == [("p", "second")]


def test_the_rewrite_that_made_the_first_difference_is_named(tmp_path: Path) -> None:
    model = classifier()
    layers = compare_layers(model, saved(planted_model(model, wrong=2), tmp_path), X)
    assert layers.first is not None
    assert (layers.first.name, layers.first.other) == ("d", "d.add")
    assert [maker.op for maker in layers.first.two] == ["Conv", "Add"]
    (step,) = layers.first.rewrites
    assert step.startswith("3 planted planted-002:conv-")
    assert [layer.name for layer in layers.tensors if layer.begins] == ["d"]


def test_a_fused_block_is_one_piece(tmp_path: Path) -> None:
    placed = with_places(classifier())
    target = load_target("edge-npu")
    choices, _ = find_choices(placed, select_passes(("fuse_ibn",), ()), target, frozenset({Risk.LOSSY}))
    first = {choices[0].id: choices[0].values[0].name}
    layers = compare_layers(
        placed, saved(carry_out_steps(placed, chosen_values(choices, first)), tmp_path), X
    )
    assert layers.first is not None
    assert layers.first.rewrites[0].startswith("1 fuse_ibn ")
    assert len(layers.first.one) > len(layers.first.two)
    alone = {item.name for item in layers.not_compared}
    assert alone == {str(value.name) for value in computed(placed)} - set(names(layers))
    assert alone


PAIR = """
<ir_version: 8, opset_import: ["" : 13]>
g (float[N,3,8,8] x) => (float[N,2,8,8] y)
{ a = Conv(x, w1) b = Relu(a) y = Conv(b, w2) }
"""


def with_weights(text: str, **weights: Array) -> ir.Model:
    """A model from ONNX text with these initializers."""
    proto = onnx.parser.parse_model(text)
    for name, array in weights.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return ir.from_proto(proto)


def pruned(kept: Sequence[int], told: bool = True) -> tuple[ir.Model, ir.Model]:
    """Two convolutions, and the same with these channels in between left; -1 is one of zeros."""
    rng = np.random.default_rng(0)
    w1 = rng.standard_normal((4, 3, 1, 1)).astype(np.float32)
    w2 = rng.standard_normal((2, 4, 1, 1)).astype(np.float32)
    one = with_weights(PAIR, w1=w1, w2=w2)
    taken = np.array(kept)
    left1 = np.where((taken >= 0).reshape(-1, 1, 1, 1), w1[taken], np.float32(0))
    two = with_weights(PAIR, w1=left1, w2=np.ascontiguousarray(w2[:, taken]))
    if told:
        for node in two.graph:
            if node.outputs[0].name in ("a", "b"):
                note_channels(node.outputs[0], 1, 4, slice(0, 4), kept)
                note = node.outputs[0].meta[CHANNELS].to_json()
                node.metadata_props[CHANNELS] = f'{{"{node.outputs[0].name}": {note}}}'.replace("'", '"')
    return one, two


def test_of_a_pruned_tensor_the_channels_that_are_left_are_compared(tmp_path: Path) -> None:
    feeds = {"x": np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)}
    one, two = pruned((0, 3, 2, -1))
    layers = compare_layers(one, saved(two, tmp_path), feeds)
    a, b, y = layers.tensors
    assert (a.same, b.same, a.channels, a.gap.shapes[0]) == (True, True, 3, (1, 3, 8, 8))
    assert layers.first is y  # a channel is missing
    assert y.own == pytest.approx(y.gap.max_rel, rel=1e-5)
    wrong, two = pruned((0, 3, 2, -1))
    two.graph[0].metadata_props[CHANNELS] = '{"a": {"axis": 1, "channels": [3, 0, 2, -1]}}'
    assert compare_layers(wrong, saved(two, tmp_path), feeds).first is not None
    assert not compare_layers(wrong, saved(two, tmp_path), feeds).tensors[0].same


def test_another_shape_that_nothing_explains_is_a_difference() -> None:
    feeds = {"x": np.ones((1, 3, 8, 8), np.float32)}
    layers = compare_layers(*pruned((0, 1, 2), told=False), feeds)
    assert layers.first is not None
    assert layers.first.name == "a"
    assert layers.first.gap.shapes == ((1, 4, 8, 8), (1, 3, 8, 8))


@pytest.mark.parametrize(
    "told",
    ['{"a": {"axis": 9, "channels": [0, 1, 2]}}', '{"a": {"axis": 1, "channels": [0, 99, 2]}}', "[1]", "{"],
)
def test_what_a_file_claims_of_channels_is_not_trusted(told: str) -> None:
    one, two = pruned((0, 1, 2), told=False)
    two.graph[0].metadata_props[CHANNELS] = told
    layers = compare_layers(one, two, {"x": np.ones((1, 3, 8, 8), np.float32)})
    assert layers.first is not None
    assert layers.first.name == "a"


CONSTANT = """
<ir_version: 8, opset_import: ["" : 13]>
g (float[N,4] x) => (float[N,4] y)
<float[4] k = {1, 2, 3, 4}>
{ s = Mul(k, k) t = Identity(s) y = Add(x, t) }
"""
FOLDED = """
<ir_version: 8, opset_import: ["" : 13]>
g (float[N,4] x) => (float[N,4] y)
<float[4] t = {1, 4, 9, 16}>
{ y = Add(x, t) }
"""


def test_a_tensor_that_became_a_constant_is_compared() -> None:
    feeds = {"x": np.ones((1, 4), np.float32)}
    layers = compare_layers(parsed(CONSTANT), parsed(FOLDED), feeds)
    assert layers.same
    assert names(layers) == ["t", "y"]
    assert [item.name for item in layers.not_compared] == ["s"]
    wrong = compare_layers(parsed(CONSTANT), parsed(FOLDED.replace("9", "8")), feeds)
    assert wrong.first is not None
    assert wrong.first.name == "t"
    node = parsed(FOLDED.replace("<float[4] t = {1, 4, 9, 16}>", "").replace(
        "{ y", "{ t = Constant<value = float[4] {1, 4, 9, 16}>() y"))  # fmt: skip
    assert names(compare_layers(parsed(CONSTANT), node, feeds)) == ["t", "y"]


def test_tensors_that_were_renamed_are_found_by_the_nodes_that_make_them() -> None:
    one, two = classifier(), classifier()
    for number, node in enumerate(one.graph):
        node.name = f"node{number}"
    for number, node in enumerate(two.graph):
        node.name = f"node{number}"
        if not node.outputs[0].is_graph_output():
            node.outputs[0].name = f"other{number}"
    pairing = pair_tensors(one, two)
    assert len(pairing.pairs) == 13
    assert {pair.how for pair in pairing.pairs[:-1]} == {BY_SOURCES}
    layers = compare_layers(one, bumped_nth(two, 2), X)
    assert layers.first is not None
    assert (layers.first.name, layers.first.other) == ("d", "other4")


CLIPPED = """
<ir_version: 8, opset_import: ["" : 13]>
g (float[N,4] x) => (float[N,4] y)
<float zero = {0.0}, float six = {6.0}>
{ a = Mul(x, x) c = Clip(a, zero, six) d = Neg(c) r = Clip(d, zero, six) y = Abs(r) }
"""
ROUNDED = """
<ir_version: 8, opset_import: ["" : 13]>
g (float[N,4] x) => (float[N,4] y)
<float scale = {0.03125}, uint8 nought = {0}>
{
  c = Mul(x, x)
  q = QuantizeLinear(c, scale, nought)
  e = DequantizeLinear(q, scale, nought)
  r = Neg(e)
  s = QuantizeLinear(r, scale, nought)
  f = DequantizeLinear(s, scale, nought)
  y = Abs(f)
}
"""


def test_what_a_quantiser_rounds_stands_for_the_activation_that_it_took_in() -> None:
    """c was Clip's output; now it is Mul's, and the quantiser cuts at 0 and 255 / 32."""
    x = np.array([[0.5, 1.0, -2.0, 2.25]], np.float32)
    layers = compare_layers(parsed(CLIPPED), parsed(ROUNDED), {"x": x})
    assert [(layer.name, layer.other) for layer in layers.tensors] == [("c", "e"), ("r", "f"), ("y", "y")]
    assert layers.same  # all numbers are multiples of 1/32 below 6
