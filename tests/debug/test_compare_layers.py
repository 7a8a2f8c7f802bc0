"""Tensor by tensor: which tensors belong together, which is the first that differs, what lives meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from hwopt.choice import Risk
from hwopt.cli import main
from hwopt.debug import Layers, compare_layers
from hwopt.debug.layers_pairs import BY_NAME, BY_SOURCES, computed, pair_tensors
from hwopt.debug.layers_plan import plan_pieces
from hwopt.debug.layers_walk import Side, _States, walk
from hwopt.edit import set_constant
from hwopt.find import find_choices, with_places
from hwopt.inputs import random_feeds
from hwopt.ir import load_model, save_model
from hwopt.nodes import Array, convs
from hwopt.provenance import CHANNELS, note_channels
from hwopt.registry import load_target, select_passes
from hwopt.rewrite import carry_out_steps, chosen_values
from hwopt.runtime import run
from tests.graphs import classifier, values_of
from tests.planted import planted

X = {"x": np.random.default_rng(3).standard_normal((2, 3, 16, 16)).astype(np.float32)}


def parsed(text: str) -> ir.Model:
    """A model from ONNX text."""
    return ir.from_proto(onnx.parser.parse_model(text))


def bumped(model: ir.Model, number: int) -> ir.Model:
    """The model with one weight of a convolution changed; they are counted from 0."""
    changed = model.clone()
    conv = list(convs(changed))[number]
    weight = np.array(conv.weight)
    weight.reshape(-1)[0] += 0.5
    set_constant(conv.node, 1, weight)
    return changed


def saved(model: ir.Model, folder: Path) -> ir.Model:
    """The model as it comes back from a file: what it carries in memory alone is gone."""
    save_model(model, folder / "saved.onnx", force=True)
    return load_model(folder / "saved.onnx")


def names(layers: Layers) -> list[str]:
    return [layer.name for layer in layers.tensors]


@pytest.mark.parametrize("number", range(5))
def test_the_tensor_behind_a_changed_weight_is_named_first(number: int) -> None:
    model = classifier()
    changed = list(convs(model))[number]
    layers = compare_layers(model, bumped(model, number), X)
    assert layers.first is not None
    assert layers.first.name == changed.output.name
    assert [layer.name for layer in layers.tensors if layer.begins] == [changed.output.name]
    order = [str(value.name) for value in computed(model)]
    assert names(layers) == order
    before = order[: order.index(layers.first.name)]
    assert all(layer.gap.different == 0 for layer in layers.tensors if layer.name in before)
    assert [maker.op for maker in layers.first.two] == ["Conv"]


def test_the_statistics_are_those_of_the_whole_models() -> None:
    """Pieces give what the model as a whole gives, float rounding aside."""
    model, other = classifier(), bumped(classifier(), 1)
    layers = compare_layers(model, other, X)
    for layer in layers.tensors:
        one, two = values_of(model, X["x"], layer.name), values_of(other, X["x"], layer.name)
        apart = float(np.abs(one - two).max() / np.abs(one).max())
        assert layer.gap.max_rel == pytest.approx(apart, rel=1e-3, abs=1e-6)


def test_a_models_own_part_is_what_its_nodes_add() -> None:
    """With two changes the second is seen apart from what the first one has left."""
    model = classifier()
    layers = compare_layers(model, bumped(bumped(model, 0), 3), X)
    assert [layer.name for layer in layers.tensors if layer.begins] == ["s", "p"]
    alone = compare_layers(model, bumped(model, 3), X)
    own = {layer.name: layer.own for layer in layers.tensors}
    assert own["p"] == pytest.approx(
        {layer.name: layer.gap.max_rel for layer in alone.tensors}["p"], rel=1e-4
    )
    assert own["sa"] == 0.0


def test_equal_models_are_the_same_bit_by_bit() -> None:
    layers = compare_layers(classifier(), classifier(), X)
    assert layers.same
    assert layers.first is None
    assert len(layers.tensors) == 13
    assert not layers.not_compared


def planted_model(model: ir.Model, **bugs: int) -> ir.Model:
    """Every convolution with its bias as a node of its own, by the passes of tests.planted."""
    placed = with_places(model)
    choices, _ = find_choices(placed, planted(**bugs), load_target("edge-npu"), frozenset({Risk.EXACT}))
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


BRANCH = """
<ir_version: 8, opset_import: ["" : 13]>
g (float[N,4] x, bool b) => (float[N,4] y)
<float k = {2.0}>
{
  a = Relu(x)
  c = If (b) <
    then_branch = t () => (float[N,4] p) { q = Mul(a, k) p = Neg(q) },
    else_branch = e () => (float[N,4] r) { r = Identity(x) }
  >
  y = Abs(c)
}
"""


def test_around_an_if_the_outer_tensors_are_compared() -> None:
    one, two = parsed(BRANCH), parsed(BRANCH.replace("2.0", "3.0"))
    feeds: dict[str, Array] = {"x": np.array([[1, -2, 3, 4]], np.float32), "b": np.array(True)}
    layers = compare_layers(one, two, feeds)
    assert names(layers) == ["a", "c", "y"]
    assert layers.first is not None
    assert layers.first.name == "c"
    assert layers.nested == (3, 3)
    other = compare_layers(one, two, {**feeds, "b": np.array(False)})
    assert other.same


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
    layers = compare_layers(one, bumped(two, 2), X)
    assert layers.first is not None
    assert (layers.first.name, layers.first.other) == ("d", "other4")


INTEGERS = """
<ir_version: 8, opset_import: ["" : 13]>
g (float[N,4] x) => (int64[N] y)
{ a = Mul(x, x) y = ArgMax<axis=1, keepdims=0>(a) }
"""
SEQUENCE = """
<ir_version: 8, opset_import: ["" : 13]>
g (float[4,4] x) => (float[4,4] y)
{ a = Relu(x) s = SplitToSequence<axis=0>(a) n = Neg(a) c = ConcatFromSequence<axis=0>(s) y = Add(c, n) }
"""


def test_integers_are_the_same_or_not() -> None:
    one, two = parsed(INTEGERS), parsed(INTEGERS.replace("Mul", "Add"))
    layers = compare_layers(one, two, {"x": np.array([[1, 2, 3, -9]], np.float32)})
    by = {layer.name: layer for layer in layers.tensors}
    assert by["y"].limit == 0.0
    assert (by["y"].gap.one, by["y"].gap.two) == (3.0, 2.0)


def test_values_that_are_no_tensors_are_part_of_the_pieces_that_read_them() -> None:
    model = parsed(SEQUENCE)
    layers = compare_layers(model, parsed(SEQUENCE), {"x": np.eye(4, dtype=np.float32)})
    assert layers.same
    assert names(layers) == ["a", "n", "c", "y"]


def test_what_cannot_be_run_alone_is_named_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    from hwopt.debug import layers_run

    whole = layers_run._model_of

    def broken(model: ir.Model, piece: layers_run.Piece, examples: dict[str, Array]) -> ir.Model:
        if any(node.outputs[0].name == "p" for node in piece.nodes):
            raise RuntimeError("not today")
        return whole(model, piece, examples)

    monkeypatch.setattr(layers_run, "_model_of", broken)
    layers = compare_layers(classifier(), classifier(), X)
    reasons = {item.name: item.reason for item in layers.not_compared}
    assert "not today" in reasons["p"]
    assert reasons["r"].endswith("it needs 'p', which was not computed")
    assert names(layers) == ["s", "sa", "e", "ea", "d", "da"]


def test_every_node_is_in_one_piece_and_pieces_read_what_was_made() -> None:
    model = classifier()
    targets = [value for value in computed(model) if value.name in ("ea", "r", "y")]
    pieces = plan_pieces(model, targets)
    assert sorted(node.outputs[0].name or "" for piece in pieces for node in piece.nodes) == sorted(
        str(value.name) for value in computed(model)
    )
    known = set(model.graph.inputs)
    for piece, target in zip(pieces, targets, strict=True):
        assert set(piece.reads) <= known
        known |= set(piece.makes)
        assert target in known
    assert [value.name for value in pieces[0].makes] == ["sa", "ea"]  # the residual is read later


CHAIN = "\n".join(f"t{n + 1} = Neg(t{n})" for n in range(40))
LONG = f"""
<ir_version: 8, opset_import: ["" : 13]>
g (float[N,1000] x) => (float[N,1000] t40) {{ t0 = Neg(x) {CHAIN} }}
"""


def test_only_what_is_still_needed_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a chain of 41 tensors never more than the one that is read and the one that is made."""
    one, two = parsed(LONG), parsed(LONG)
    pairs = pair_tensors(one, two).pairs
    feeds = random_feeds(one, {"x": (1, 1000)}, 0)
    sides = [
        Side.of(one, feeds, [pair.one for pair in pairs]),
        Side.of(two, feeds, [pair.two for pair in pairs]),
    ]
    held: list[int] = []
    forget = _States.forget

    def looked_at(self: _States, number: int) -> None:
        alive = [array for known in (self._first, self._second) for array in known.values()]
        held.append(len({id(array) for array in alive}))
        forget(self, number)

    monkeypatch.setattr(_States, "forget", looked_at)
    assert len(list(walk(sides[0], sides[1], pairs))) == 41
    assert max(held) <= 3  # a tensor that is the same in both models is held once


def test_the_second_model_may_compute_in_another_order() -> None:
    """b before a, and both at once."""
    text = """
    <ir_version: 8, opset_import: ["" : 13]>
    g (float[N,4] x) => (float[N,4] y) { FIRST SECOND y = Add(a, b) }
    """
    a, b = "a = Relu(x)", "b = Neg(x)"
    one = parsed(text.replace("FIRST", a).replace("SECOND", b))
    two = parsed(text.replace("FIRST", b).replace("SECOND", "a = Relu(x)"))
    layers = compare_layers(one, two, {"x": np.ones((1, 4), np.float32)})
    assert layers.same
    assert names(layers) == ["a", "b", "y"]


def test_noise_of_the_model_widens_the_limit() -> None:
    """x - (x rounded to halves), far from zero: an ulp of the input is much of the output."""
    text = """
    <ir_version: 8, opset_import: ["" : 13]>
    g (float[N,4] x) => (float[N,4] y) <float k = {KKK}> { a = Mul(x, k) y = Sub(a, x) }
    """
    one, two = parsed(text.replace("KKK", "1.00001")), parsed(text.replace("KKK", "1.0000101"))
    x = np.array([[1000.1, 2000.3, 3000.7, 4000.9]], np.float32)
    layers = compare_layers(one, two, {"x": x})
    by = {layer.name: layer for layer in layers.tensors}
    expected = np.abs(run(one, {"x": np.nextafter(x, np.float32(np.inf))})["y"] - run(one, {"x": x})["y"])
    assert by["y"].noise == pytest.approx(expected.max() / np.abs(run(one, {"x": x})["y"]).max(), rel=1e-3)
    assert by["y"].limit == pytest.approx(1e-4 + 4 * by["y"].noise)
    assert compare_layers(one, two, {"x": x}, tolerance=0.5).same


def test_the_command_tells_of_tensors_inside_though_the_outputs_agree(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save_model(parsed(INTEGERS), tmp_path / "a.onnx")
    other = parsed(INTEGERS.replace("a = Mul(x, x)", "b = Abs(x) a = Mul(b, b)"))
    save_model(other, tmp_path / "b.onnx")
    scaled = INTEGERS.replace("a = Mul(x, x)", "s = Mul(x, x) a = Add(s, s)")
    save_model(parsed(scaled), tmp_path / "c.onnx")
    assert main(["compare", str(tmp_path / "a.onnx"), str(tmp_path / "b.onnx"), "--layers"]) == 0
    capfd.readouterr()
    assert main(["compare", str(tmp_path / "a.onnx"), str(tmp_path / "c.onnx")]) == 0
    capfd.readouterr()
    assert main(["compare", str(tmp_path / "a.onnx"), str(tmp_path / "c.onnx"), "--layers"]) == 1
    out = capfd.readouterr().out
    assert out.startswith("different inside: all outputs agree on 2 inputs, 1 of 2 tensors inside do not")
    assert "first tensor that differs: 'a'" in out
