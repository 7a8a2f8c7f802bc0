"""Whatever exact passes do to a network that nobody thought of, in whatever order: its function stays."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
from hypothesis import given
from hypothesis import strategies as st

from hwopt.choice import Pass, Risk, Stage, Value, in_order
from hwopt.errors import RewriteFailed
from hwopt.find import canonicalise, with_places
from hwopt.ir import interface, model_bytes
from hwopt.registry import all_passes
from hwopt.rewrite import rewrite
from hwopt.target import Target
from hwopt.verify import differences, require_exact
from tests.properties.networks import RECIPES, Recipe, network
from tests.properties.profile import TARGETS, examples

PASSES = {item.name: item for item in all_passes() if not item.changes_interface}
_DRAWN_PASSES = st.lists(st.sampled_from(sorted(PASSES)), min_size=1, max_size=4)
_PICKS = st.lists(st.integers(0, 5), min_size=1, max_size=6)


def offered(model: ir.Model, passes: Sequence[Pass], target: Target, risks: set[Risk]) -> list[Value]:
    """Everything that these passes offer, of these risks."""
    found = [value for item in passes for value in item.values(model, target)]
    return [value for value in found if isinstance(value, Value) and value.risk in risks]


def picked(values: Sequence[Value], picks: Sequence[int]) -> list[Value]:
    """At most one value of each choice, as drawn; no two that touch the same nodes."""
    chosen, taken = list[Value](), set[str]()
    for number, value in enumerate(values):
        if picks[number % len(picks)] % 2 == 0 and taken.isdisjoint(value.places):
            chosen.append(value)
            taken.update(value.places)
    return in_order(chosen)


def passed(model: ir.Model, item: Pass, target: Target, picks: Sequence[int]) -> ir.Model:
    """The model after one pass has had its way, with the values that were drawn."""
    if item.stage == Stage.CANONICALISE:
        return canonicalise(model, [item], target).model
    return rewrite(model, picked(offered(model, [item], target, {Risk.EXACT}), picks))


@examples(60)
@given(RECIPES, _DRAWN_PASSES, _PICKS, st.sampled_from(TARGETS))
def test_any_sequence_of_exact_passes_keeps_the_function(
    recipe: Recipe, names: list[str], picks: list[int], target: Target
) -> None:
    original = network(recipe)
    changed = with_places(original)
    for name in names:
        # A pass that runs on what another one wrote finds nodes without ids: they get theirs now.
        changed = with_places(passed(changed, PASSES[name], target, picks))
    assert interface(changed) == interface(original)
    found = differences(original, changed, {}, seed=recipe.seed)
    assert not isinstance(found, str), found
    require_exact(found, f"{names}")


@examples(40)
@given(RECIPES, _PICKS, st.sampled_from(TARGETS))
def test_any_plan_applied_twice_gives_the_same_bytes(
    recipe: Recipe, picks: list[int], target: Target
) -> None:
    folded = canonicalise(with_places(network(recipe)), PASSES.values(), target).model
    again = canonicalise(with_places(network(recipe)), PASSES.values(), target).model
    assert model_bytes(folded) == model_bytes(again)
    values, anew = (
        picked(offered(model, list(PASSES.values()), target, {Risk.EXACT, Risk.LOSSY}), picks)
        for model in (folded, again)
    )
    assert [(v.choice, v.name) for v in values] == [(v.choice, v.name) for v in anew]
    assert _bytes(folded, values) == _bytes(folded, values) == _bytes(again, anew)


def _bytes(model: ir.Model, values: Sequence[Value]) -> bytes | str:
    """What the plan makes; a text where its values do not go together, which must be the same, too."""
    try:
        return model_bytes(rewrite(model, values))
    except RewriteFailed as error:
        return str(error)
