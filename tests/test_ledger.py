"""What a step leaves on nodes does not depend on how much of the graph was looked at."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from hwopt import ledger
from hwopt.choice import Risk, Stage, Value
from hwopt.edit import fresh_name, know_names, renamed
from hwopt.errors import RewriteFailed
from hwopt.find import canonicalise
from hwopt.places import find_node, inherit_place, place_of
from hwopt.provenance import gone_of
from hwopt.registry import load_target, select_passes
from hwopt.rewrite import carry_out_steps
from tests.small_models import MODELS, input_model, offered

Seen = tuple[dict[str, dict[str, str]], dict[str, str], list[str]]


def seen(model: ir.Model) -> Seen:
    """Everything that steps left on a model: on nodes by their first output, on the graph, all names."""
    nodes = {str(node.outputs[0].name): dict(node.metadata_props) for node in model.graph}
    names = [str(value.name) for node in model.graph for value in (*node.inputs, *node.outputs) if value]
    return nodes, gone_of(model), names


def folded(name: str) -> ir.Model:
    target = load_target("edge-npu")
    return canonicalise(input_model(name), select_passes(), target).model


def made(base: ir.Model, value: Value) -> Seen | str:
    try:
        return seen(carry_out_steps(base, [value]))
    except RewriteFailed as error:
        return str(error)


@pytest.mark.parametrize("name", MODELS)
def test_looking_around_a_step_finds_what_looking_everywhere_finds(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = [v for v in offered(folded(name)) if v.risk == Risk.EXACT and v.stage != Stage.CANONICALISE]
    near = seen(folded(name)), [made(folded(name), value) for value in exact]
    monkeypatch.setattr(ledger, "_near", lambda model, value: None)
    everywhere = seen(folded(name)), [made(folded(name), value) for value in exact]
    assert near == everywhere


def test_names_that_are_known_are_the_ones_that_a_look_finds() -> None:
    graph = folded("folds").graph
    hints = [str(value.name) for node in graph for value in (*node.inputs, *node.outputs) if value]
    looked = [fresh_name(graph, hint) for hint in hints]
    know_names(graph)
    assert [fresh_name(graph, hint) for hint in hints] == looked
    assert fresh_name(graph, "new") == "new"
    renamed(graph, [], ["new"])
    assert fresh_name(graph, "new") == "new.1"
    renamed(graph, ["new"], [])
    assert fresh_name(graph, "new") == "new"


def test_a_clone_has_no_index_of_the_graph_that_it_was_made_of() -> None:
    model = input_model("folds")
    place = next(place_of(node) for node in model.graph if node.op_type == "Conv")
    mine = find_node(model, place)
    clone = model.clone()
    assert mine is not None
    assert find_node(clone, place) is not mine
    assert find_node(clone, place) in set(clone.graph)
    heir = ir.node("Relu", list(mine.inputs[:1]))
    mine.prepend(heir)
    inherit_place(heir, mine)
    assert find_node(model, place) is heir, "the first of several in the graph"
    model.graph.remove(heir, safe=True)
    assert find_node(model, place) is mine
    assert find_node(model, "nowhere") is None
