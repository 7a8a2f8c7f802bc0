"""Tensor by tensor: which is the first that differs, and what lives meanwhile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from hwopt.cli.entry import main
from hwopt.debug import compare_layers
from hwopt.debug.compare.pairs import computed, pair_tensors
from hwopt.debug.compare.pieces import Piece, plan_pieces
from hwopt.debug.compare.walk import Side, _States, walk
from hwopt.inputs import random_feeds
from hwopt.ir import save_model
from hwopt.nodes import Array, convs
from tests.debug.compare_nets import (
    X,
    bumped_nth,
    names,
    parsed,
)
from tests.graphs import classifier, output_of, values_of


@pytest.mark.parametrize("number", range(5))
def test_the_tensor_behind_a_changed_weight_is_named_first(number: int) -> None:
    model = classifier()
    changed = list(convs(model))[number]
    layers = compare_layers(model, bumped_nth(model, number), X)
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
    model, other = classifier(), bumped_nth(classifier(), 1)
    layers = compare_layers(model, other, X)
    for layer in layers.tensors:
        one, two = values_of(model, X["x"], layer.name), values_of(other, X["x"], layer.name)
        apart = float(np.abs(one - two).max() / np.abs(one).max())
        assert layer.gap.max_rel == pytest.approx(apart, rel=1e-3, abs=1e-6)


def test_a_models_own_part_is_what_its_nodes_add() -> None:
    """With two changes the second is seen apart from what the first one has left."""
    model = classifier()
    layers = compare_layers(model, bumped_nth(bumped_nth(model, 0), 3), X)
    assert [layer.name for layer in layers.tensors if layer.begins] == ["s", "p"]
    alone = compare_layers(model, bumped_nth(model, 3), X)
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
    from hwopt.debug.compare import run as layers_run

    whole = layers_run._model_of

    def broken(model: ir.Model, piece: Piece, examples: dict[str, Array]) -> ir.Model:
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
    assert len(list(walk(sides[0], sides[1], pairs, 1e-4))) == 41
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
    plain, moved = output_of(one, x), output_of(one, np.nextafter(x, np.float32(np.inf)))
    assert by["y"].noise == pytest.approx(np.abs(moved - plain).max() / np.abs(plain).max(), rel=1e-3)
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
