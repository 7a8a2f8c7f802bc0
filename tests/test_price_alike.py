"""Joint values that come to the same in a cell are written once, and cost what each of them costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import onnx_ir as ir
import pytest

from hwopt.choice import Choice, Kind, Risk, Stage, Value
from hwopt.find import find_choices
from hwopt.pricing import price
from hwopt.pricing.alike import gather_alike
from hwopt.pricing.cells import Scene, make_scene
from hwopt.pricing.regions import apply_each
from hwopt.registry import all_passes
from hwopt.shapes import infer_shapes
from hwopt.target import read_target
from tests.graphs import Weights, classifier, model_of

TARGETS = Path(__file__).parents[1] / "targets"
GROUPED = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[1,9,6,6] x) => (float[1,9,6,6] y) {
  p = Conv(x, wp)
  q = Conv<group=6, pads=[1,1,1,1]>(p, wq)
  r = Conv(q, wr)
  s = Relu(r)
  t = Conv<group=10, pads=[1,1,1,1]>(s, wt)
  u = Concat<axis=1>(s, t)
  v = Conv(u, wv)
  y = Add(v, x)
}
"""
WEIGHTS: Weights = {
    "wp": (12, 9, 1, 1), "wq": (24, 2, 3, 3), "wr": (10, 24, 1, 1), "wt": (10, 1, 3, 3), "wv": (9, 20, 1, 1),
}  # fmt: skip


@cache
def network(name: str) -> ir.Model:
    return classifier() if name == "classifier" else model_of(GROUPED, WEIGHTS)


@cache
def found(name: str, target: str, risks: frozenset[Risk]) -> tuple[Scene, list[Choice]]:
    model, read = network(name), read_target(TARGETS / target)
    choices, _ = find_choices(model, all_passes(), read, risks)
    return make_scene(model, infer_shapes(model, {}), read), choices


EXACT, BOTH = frozenset({Risk.EXACT}), frozenset({Risk.EXACT, Risk.LOSSY})
CASES = [
    (name, target, risks)
    for name in ("classifier", "grouped")
    for target in ("edge-npu", "ethos-u55-256")
    for risks in (EXACT, BOTH)
]


@pytest.mark.parametrize(("name", "target", "risks"), CASES)
def test_they_cost_what_each_costs_when_it_is_written(
    name: str, target: str, risks: frozenset[Risk], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, choices = found(name, target, risks)
    together = price.draft(scene, choices)
    monkeypatch.setattr(price, "gather_alike", lambda joints, groups: [[n] for n in range(len(joints))])
    assert price.draft(scene, choices) == together


def test_what_is_padded_alike_is_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scene, choices = found("classifier", "edge-npu", EXACT)
    written = Counter[str]()

    def counted(region: ir.Model, wanted: Sequence[Sequence[Value]]) -> Iterator[tuple[int, ir.Model]]:
        written["sets"] += len(wanted)
        return apply_each(region, wanted)

    monkeypatch.setattr(price, "apply_each", counted)
    joints = sum(len(table) for table in price.draft(scene, choices).tables)
    assert written["sets"] < joints * 2 / 3


def width(name: str, **widths: tuple[int, int]) -> Value:
    """A value of one group where it is named after one, else of the whole model."""
    kind = Kind.WIDTH if name in widths else Kind.MODEL
    return Value(name, kind, "v", "align", Risk.EXACT, Stage.ALIGN, (), lambda model: None, widths=widths)


UP = width("model", a=(9, 12), far=(5, 8))


@pytest.mark.parametrize(
    ("joints", "alike"),
    [
        ([(None,), (width("model", far=(5, 8)),)], [[0, 1]]),
        ([(width("a", a=(9, 12)),), (UP,)], [[0, 1]]),
        ([(width("a", a=(9, 16)),), (UP,)], [[0], [1]]),
        ([(width("a", a=(9, 12)), width("b", b=(6, 8))), (width("m", a=(9, 12), b=(6, 8)),)], [[0, 1]]),
        ([(width("a", a=(9, 8)),), (width("m", a=(9, 8), far=(5, 4)),)], [[0], [1]]),
        ([(None,), (width("far", far=(5, 8)),)], [[0], [1]]),
    ],
    ids=[
        "not here",
        "here alike",
        "here wider",
        "two at once",
        "pruned",
        "a choice of the cell, nobody knows how",
    ],
)
def test_joint_values_that_give_the_groups_of_a_cell_the_same_widths(
    joints: list[tuple[Value | None, ...]], alike: list[list[int]]
) -> None:
    assert gather_alike(joints, {"a", "b"}) == alike


def test_nothing_is_alike_where_no_tensor_names_its_group() -> None:
    assert gather_alike([(width("a", a=(9, 12)),), (UP,), (None,)], ()) == [[0], [1], [2]]
