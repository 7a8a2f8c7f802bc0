"""What every pass must keep to, on every small model and every target that ships."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hwopt.choice import Pass, Risk, Skip, Stage, Value
from hwopt.ir import interface, model_bytes
from hwopt.places import has_place
from hwopt.registry import all_passes
from hwopt.repair.marks import fit_of
from hwopt.rewrite import rewrite
from hwopt.target import read_target
from hwopt.verify import differences, require_exact
from tests.graphs import classifier, ibn, model_of

TARGETS = [folder.parent for folder in sorted((Path(__file__).parents[2] / "targets").glob("*/target.toml"))]


def unfolded() -> ir.Model:
    """What training frameworks write: batch normalisation, scalar chains, a decomposed HardSwish."""
    text = """
    <ir_version: 8, opset_import: ["" : 12]>
    unfolded (float[N,3,12,12] x) => (float[N,8,12,12] y) {
      half = Constant<value = float {0.5}>()
      a = Sub(x, half)
      b = Mul(a, half)
      c = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(b, w)
      d = BatchNormalization(c, scale, shift, mean, var)
      three = Constant<value = float {3.0}>()
      e = Add(d, three)
      f = Clip(e, zero, six)
      g = Mul(d, f)
      h = Div(g, six)
      i = Identity(h)
      y = Conv<kernel_shape=[1,1]>(i, w2, b2)
    }
    """
    weights = {"w": (8, 3, 3, 3), "scale": (8,), "shift": (8,), "mean": (8,), "w2": (8, 8, 1, 1), "b2": (8,)}
    model = model_of(text, {**weights, "var": (8,)})
    variance = model.graph.initializers["var"]
    assert variance.const_value is not None
    variance.const_value = ir.tensor(np.abs(variance.const_value.numpy()) + 0.5, name="var")
    return model


def foreign() -> ir.Model:
    """Operators nobody knows, an If, and a weight that is also an input."""
    text = """
    <ir_version: 8, opset_import: ["" : 13]>
    foreign (float[N,4,6,6] x, float[4,4,1,1] w) => (float[N,4,6,6] y) {
      a = Conv<kernel_shape=[1,1]>(x, w)
      b = Relu(a)
      y = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=2>(b, v)
    }
    """
    return model_of(text, {"v": (4, 2, 3, 3)})


MODELS: dict[str, Callable[[], ir.Model]] = {
    "ibn": ibn, "classifier": classifier, "unfolded": unfolded, "foreign": foreign,
}  # fmt: skip
CASES = [
    pytest.param(item, model, folder, id=f"{item.name}-{name}-{folder.name}")
    for item in all_passes()
    for name, model in MODELS.items()
    for folder in TARGETS
]
contract = pytest.mark.parametrize(("item", "make", "folder"), CASES)


def found(item: Pass, model: ir.Model, folder: Path) -> list[Value | Skip]:
    return list(item.values(model, read_target(folder)))


def names(found: list[Value | Skip]) -> list[tuple[str, str]]:
    return [(v.choice, v.name) if isinstance(v, Value) else (v.node, v.reason) for v in found]


@contract
def test_looking_edits_nothing_and_finds_the_same_again(
    item: Pass, make: Callable[[], ir.Model], folder: Path
) -> None:
    model = make()
    before = model_bytes(model)
    first = found(item, model, folder)
    assert model_bytes(model) == before
    assert names(found(item, model, folder)) == names(first)
    assert names(found(item, make(), folder)) == names(first)
    assert all(v.pass_name == item.name for v in first)


@contract
def test_every_value_keeps_the_interface_the_checker_and_its_risk(
    item: Pass, make: Callable[[], ir.Model], folder: Path
) -> None:
    model = make()
    original = model_bytes(model)
    for value in found(item, model, folder):
        if isinstance(value, Skip):
            continue
        changed = rewrite(model, [value])
        assert model_bytes(model) == original
        assert item.changes_interface or interface(changed) == interface(model)
        onnx.checker.check_model(ir.to_proto(changed), full_check=True)
        assert value.stage == item.stage
        if value.risk == Risk.EXACT:
            require_exact(differences(model, changed, {}, seed=0), value.name)
            assert not any(fit_of(node) for node in changed.graph)
        else:
            assert item.changes_interface or any(fit_of(node) for node in changed.graph)


@contract
def test_a_rewrite_gives_the_same_bytes_twice_and_does_something(
    item: Pass, make: Callable[[], ir.Model], folder: Path
) -> None:
    model = make()
    for value in found(item, model, folder):
        if isinstance(value, Value):
            once, again = rewrite(model, [value]), rewrite(model, [value])
            assert model_bytes(once) == model_bytes(again)
            assert model_bytes(once) != model_bytes(model)


@contract
def test_what_was_done_is_not_offered_again(item: Pass, make: Callable[[], ir.Model], folder: Path) -> None:
    """A form or fold that was taken is gone; widths may move on to the next multiple."""
    if item.stage not in (Stage.CANONICALISE, Stage.FORM):
        pytest.skip("a width that was changed may be changed again")
    model = make()
    for value in found(item, model, folder):
        if isinstance(value, Value):
            changed = rewrite(model, [value])
            assert (value.choice, value.name) not in names(found(item, changed, folder))


@contract
def test_nodes_that_stay_keep_their_place(item: Pass, make: Callable[[], ir.Model], folder: Path) -> None:
    model = make()
    for value in found(item, model, folder):
        if isinstance(value, Value):
            changed = rewrite(model, [value])
            lost = [n for n in changed.graph if n.op_type != "Constant" and not has_place(n)]
            assert lost == []
