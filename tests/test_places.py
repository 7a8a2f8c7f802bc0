"""Structural ids survive a re-export that renames and reorders every node."""

from __future__ import annotations

import random

import onnx
import onnx_ir as ir
import pytest

from hwopt.errors import RewriteFailed
from hwopt.places import assign_places, node_at, place_of
from tests.graphs import classifier, model_of

TWINS = """
<ir_version: 8, opset_import: ["" : 13]>
twins (float[N,4,8,8] x) => (float[N,8,8,8] y) {
  a = Conv<kernel_shape=[1,1]>(x, wa)
  b = Conv<kernel_shape=[1,1]>(x, wb)
  y = Concat<axis=1>(a, b)
}
"""


def reexported(model: ir.Model, seed: int) -> ir.Model:
    """The same network under other names and in another topological order."""
    proto = ir.to_proto(model)
    names = {name: f"t{seed}_{i}" for i, name in enumerate(sorted(_value_names(proto)))}
    keep = {v.name for v in (*proto.graph.input, *proto.graph.output)}
    for node in proto.graph.node:
        node.name = f"n{random.Random(seed).random()}_{node.output[0]}"
        node.input[:] = [n if n in keep else names[n] for n in node.input]
        node.output[:] = [n if n in keep else names[n] for n in node.output]
    for tensor in proto.graph.initializer:
        tensor.name = names[tensor.name]
    nodes = _shuffled(list(proto.graph.node), keep | {t.name for t in proto.graph.initializer}, seed)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    copy = ir.from_proto(proto)
    assign_places(copy)
    return copy


def _value_names(proto: onnx.ModelProto) -> set[str]:
    read = {n for node in proto.graph.node for n in (*node.input, *node.output)}
    return read | {tensor.name for tensor in proto.graph.initializer}


def _shuffled(nodes: list[onnx.NodeProto], known: set[str], seed: int) -> list[onnx.NodeProto]:
    rng, known, done = random.Random(seed), set(known), []
    while nodes:
        ready = [node for node in nodes if set(node.input) <= known]
        node = rng.choice(ready)
        nodes.remove(node)
        known.update(node.output)
        done.append(node)
    return done


@pytest.mark.parametrize("seed", range(5))
def test_ids_survive_renaming_and_reordering(seed: int) -> None:
    model = classifier()
    assert {place_of(n) for n in model.graph} == {place_of(n) for n in reexported(model, seed).graph}


def test_every_node_has_its_own_id() -> None:
    model = classifier()
    places = [place_of(node) for node in model.graph]
    assert len(set(places)) == len(places)
    assert all(place_of(node_at(model, place)) == place for place in places)


@pytest.mark.parametrize("seed", range(4))
def test_twins_are_told_apart_by_what_they_feed_or_by_their_weights(seed: int) -> None:
    model = model_of(TWINS, {"wa": (4, 4, 1, 1), "wb": (4, 4, 1, 1)})
    other = reexported(model, seed)

    def weights(m: ir.Model) -> dict[str, bytes]:
        convs = [node for node in m.graph if node.op_type == "Conv"]
        return {place_of(n): n.inputs[1].const_value.numpy().tobytes() for n in convs}  # type: ignore[union-attr]

    assert len(weights(model)) == 2
    assert weights(model) == weights(other)


def test_a_lost_place_is_an_error_that_names_it() -> None:
    model = classifier()
    with pytest.raises(RewriteFailed, match="conv-nothing"):
        node_at(model, "conv-nothing")
