"""What a network costs is a matter of its structure: names and the order of nodes change nothing."""

from __future__ import annotations

import random

import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwopt.assess import Assessment, assess
from hwopt.choice import Value
from hwopt.cost.loading import load_cost_model
from hwopt.find import canonicalise, with_places
from hwopt.registry import all_passes
from hwopt.target import Target
from tests.properties.networks import RECIPES, Recipe, network
from tests.properties.profile import TARGETS, examples

MODELS = {target.name: load_cost_model(target, None) for target in TARGETS}
PASSES = [item for item in all_passes() if not item.changes_interface]


def assessed(model: ir.Model, target: Target) -> Assessment:
    cost_model = MODELS[target.name]
    return assess(model, {}, target, cost_model, cost_model.header.streamed)


def renamed(model: ir.Model, rng: random.Random) -> ir.Model:
    """A copy in which every value but the interface, every weight and every node has another name."""
    copy = model.clone()
    fixed = {value.name for value in (*copy.graph.inputs, *copy.graph.outputs)}
    numbers = iter(rng.sample(range(10**6), 10**4))
    for value in list(copy.graph.initializers.values()):
        value.name = f"weight_{next(numbers)}"
    for node in copy.graph:
        node.name = f"node_{next(numbers)}"
        for value in node.outputs:
            if value.name not in fixed:
                value.name = f"value_{next(numbers)}"
    return copy


def reordered(model: ir.Model, rng: random.Random) -> ir.Model:
    """A copy whose nodes stand in another order that still computes everything before it is read."""
    proto = ir.to_proto(model)
    left, ready = list(proto.graph.node), {value.name for value in proto.graph.input}
    ready |= {tensor.name for tensor in proto.graph.initializer}
    order = list[onnx.NodeProto]()
    while left:
        node = rng.choice([node for node in left if ready.issuperset(filter(None, node.input))])
        left.remove(node)
        order.append(node)
        ready.update(node.output)
    weights = sorted(proto.graph.initializer, key=lambda _: rng.random())
    del proto.graph.node[:], proto.graph.initializer[:]
    proto.graph.node.extend(order)
    proto.graph.initializer.extend(weights)
    return ir.from_proto(proto)


@examples(40)
@given(RECIPES, st.integers(0, 99), st.sampled_from(TARGETS))
def test_names_and_order_do_not_change_the_cost(recipe: Recipe, seed: int, target: Target) -> None:
    model, rng = network(recipe), random.Random(seed)
    before = assessed(model, target)
    named = assessed(renamed(model, rng), target)
    assert named.latency_us == before.latency_us
    assert named.memory.peak_bytes == before.memory.peak_bytes
    assert named.weight_bytes == before.weight_bytes
    moved = assessed(reordered(model, rng), target)
    # The arena is not in this list: it is the arena of a schedule, and the order of nodes is the schedule.
    assert moved.latency_us.value == pytest.approx(before.latency_us.value, rel=1e-12)
    assert moved.latency_us.spread == pytest.approx(before.latency_us.spread, rel=1e-9)
    assert moved.weight_bytes == before.weight_bytes
    assert sorted(moved.unpriced) == sorted(before.unpriced)


@examples(40)
@given(RECIPES, st.integers(0, 99), st.sampled_from(TARGETS))
def test_names_and_order_do_not_change_what_is_offered(recipe: Recipe, seed: int, target: Target) -> None:
    model, rng = network(recipe), random.Random(seed)
    assert offers(reordered(renamed(model, rng), rng), target) == offers(model, target)


def offers(model: ir.Model, target: Target) -> list[tuple[str, str, str]]:
    """Every value of every pass on the canonical model."""
    base = canonicalise(with_places(model), PASSES, target).model
    found = [value for item in PASSES for value in item.values(base, target)]
    return sorted((v.pass_name, v.choice, v.name) for v in found if isinstance(v, Value))
