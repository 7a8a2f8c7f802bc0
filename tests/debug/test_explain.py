"""`hwopt explain`: the report's reasons, every price that there is, and what passes say of a node."""

from __future__ import annotations

from pathlib import Path

import pytest

import hwopt
from hwopt.choice import KEEP, Risk
from hwopt.debug.explain.answer import Explanation, answer, explain
from hwopt.debug.explain.choice import ChoiceExplained, row_of
from hwopt.debug.explain.fates import Fate
from hwopt.debug.explain.prices import difference
from hwopt.debug.explain.quotes import Change
from hwopt.debug.explain.run import Run, decide_only
from hwopt.debug.explain.values import ValueExplained
from hwopt.errors import BadInput
from hwopt.estimate import Estimate, Source
from hwopt.report.schema import Missing
from hwopt.settings import settings
from hwopt.work import open_work
from tests.graphs import model_of

FIGURES = Path(__file__).parents[2] / "models" / "figures" / "figures.onnx"
TARGET = "edge-npu"
BLOCK1 = "form:conv-1b990fa119"  # offers dense, which pays, and merged, which is LOSSY


@pytest.fixture(scope="module")
def run() -> Run:
    return decide_only(open_work(FIGURES, TARGET, settings(refine=0)))


def one(found: Explanation) -> ChoiceExplained:
    assert len(found.choices) == 1
    return found.choices[0]


def value(choice: ChoiceExplained, name: str) -> ValueExplained:
    return next(item for item in choice.values if item.name == name)


def change(found: Change | Missing) -> Change:
    assert isinstance(found, Change), found
    return found


def figure(found: Estimate | Missing) -> float:
    assert isinstance(found, Estimate), found
    return found.value


def test_what_is_said_of_a_choice_is_what_the_report_says(run: Run) -> None:
    report = hwopt.optimize(FIGURES, target=TARGET, refine=0, dry_run=True).report
    assert report.choices
    for row in report.choices:
        assert row_of(run, run.offered[row.id]) == row
    listed = {line.id: (line.chosen, line.reason) for line in answer(run, "").listed}
    assert {row.id: (row.chosen, row.reason) for row in report.choices}.items() <= listed.items()
    for row in [row for row in report.choices if row.kind in ("form", "width")][::6]:
        found = one(answer(run, row.id))
        assert (found.id, found.nodes, found.chosen, found.reason) == (
            row.id,
            row.nodes,
            row.chosen,
            row.reason,
        )
        for told in row.values:
            mine = value(found, told.name)
            assert (mine.latency_us, mine.peak_bytes, mine.weight_bytes, mine.damage) == (
                told.latency_us, told.peak_bytes, told.weight_bytes, told.damage,
            )  # fmt: skip
            assert mine.dominated_by == told.dominated_by


def test_every_value_is_priced_and_has_a_fate(run: Run) -> None:
    found = one(answer(run, BLOCK1))
    fates = {item.name: item.fate for item in found.values}
    assert fates == {KEEP: Fate.WORSE, "dense": Fate.CHOSEN, "merged": Fate.NEEDS_DATA}
    assert found.chosen == "dense"
    dense, merged, keep = (value(found, name) for name in ("dense", "merged", KEEP))
    # 32x32 pixels, 16 channels, 3x3: a dense convolution does for each output channel what 16 channels cost.
    depthwise = 32 * 32 * 16 * 9
    assert keep.macs == depthwise
    assert change(dense.alone).macs == depthwise * 15
    assert figure(dense.latency_us) - figure(keep.latency_us) == pytest.approx(
        change(dense.alone).latency_us.value
    )
    assert f"by itself {change(dense.alone).latency_us.value:.3g} us; exact" == found.reason
    assert merged.risk == "lossy"
    assert merged.damage == Missing("needs calibration data: give --calib")
    assert merged.reason == "needs calibration data: give --calib"
    # dense over both convolutions in one: 24 x 16 x 9 for the one, 24 x 16 + 16 x 9 for the two
    assert change(merged.alone).macs == 32 * 32 * (24 * 16 * 9 - 24 * 16 - 16 * 9)
    assert change(merged.alone).latency_us.value < 0
    assert dense.edits == ("block1.depthwise.conv2d",)
    assert "-->" in dense.summary


def test_a_change_in_the_plan_is_the_difference_of_two_whole_plans(run: Run) -> None:
    problem, plan = run.decided.problem, dict(run.decided.assignment)
    found = one(answer(run, "width:809fe7ce9c"))
    wider = next(item for item in found.values if item.risk == "exact" and item.name != KEEP)
    top = change(wider.on_top)
    before, after = problem.total(plan), problem.total({**plan, found.id: wider.name})
    assert before is not None
    assert after is not None
    assert top.latency_us.value == pytest.approx(after.latency_us.value - before.latency_us.value)
    assert top.macs == after.macs - before.macs
    assert top.weight_bytes == after.weight_bytes - before.weight_bytes
    assert top.peak_bytes == after.peak_bytes - before.peak_bytes
    beside = {scope.id: scope.choices for scope in problem.scopes if found.id in scope.choices}
    assert {n.id for n in found.priced_with} == {id for ids in beside.values() for id in ids} - {found.id}
    assert all(n.chosen == plan.get(n.id, KEEP) for n in found.priced_with)


def test_prices_made_for_the_answer_are_those_of_the_tables(run: Run) -> None:
    """LOSSY values are priced apart; EXACT ones in both ways, which must agree."""
    from hwopt.debug.explain.prices import prices_apart

    for id in (BLOCK1, "form:conv-b7048e8bc9", "width:809fe7ce9c"):
        choice = run.offered[id]
        apart = prices_apart(run.work, run.found.base, run.decided.problem.choices, choice)
        exact = [item.name for item in choice.values if item.risk == Risk.EXACT]
        assert exact
        for name in exact:
            mine = apart.prices[name].latency_us.value - apart.prices[KEEP].latency_us.value
            found = value(one(answer(run, id)), name)
            assert mine == pytest.approx(change(found.alone).latency_us.value)


def test_a_node_is_told_of_by_its_name(run: Run) -> None:
    found = answer(run, "block1.depthwise.conv2d")
    assert found.choices[0].id == BLOCK1  # the node's own comes first
    assert {item.kind for item in found.choices} == {"form", "width", "canonical"}
    fold = next(item for item in found.choices if item.kind == "canonical")
    assert {item.name: item.fate for item in fold.values} == {
        KEEP: Fate.PASSED_OVER, "fold_after": Fate.CHOSEN,
    }  # fmt: skip
    assert "--disable canonicalize" in fold.values[0].reason
    assert [item.id for item in answer(run, "width:block3.add").choices] == ["width:809fe7ce9c"]


def test_every_reason_that_passes_had_is_told(run: Run) -> None:
    nodes = answer(run, "logits").nodes
    assert nodes is not None
    said = {(row.pass_, row.reason) for row in nodes.skipped}
    expected = {(s.pass_name, s.reason) for s in run.found.skipped if s.node == "logits"}
    assert said == expected
    assert {name for name, _ in said} == {"depth_multiplier", "prune_channels", "align_channels"}
    assert {row.pass_ for row in nodes.everywhere} == {"cluster_weights", "sparsify"}
    assert "fuse_ibn" in nodes.silent
    assert nodes.left_out == ("resize_input",)


def test_a_node_that_nothing_is_offered_for() -> None:
    found = explain(
        FIGURES, target=TARGET, choice="head.conv2d", refine=0, passes=("densify_depthwise", "canonicalize"),
        disable=("canonicalize",),
    )  # fmt: skip
    assert found.choices == ()
    assert found.nodes is not None
    assert found.nodes.silent == ("densify_depthwise",)
    assert "prune_channels" in found.nodes.left_out


NESTED = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[1,4,8,8] x, bool c) => (float[1,4,8,8] y) {
  k = Constant<value = float {2.0}>()
  m = Mul(x, k)
  r = Relu(m)
  y = If(c) <
    then_branch = t () => (float[1,4,8,8] a) { a = Sigmoid(r) },
    else_branch = e () => (float[1,4,8,8] b) { b = Tanh(r) }
  >
}
"""


def test_nodes_that_no_pass_looks_at() -> None:
    run = decide_only(open_work(model_of(NESTED, {}), TARGET, settings(refine=0)))
    for name, reason in (("a", "branch"), ("k", "constant")):
        found = answer(run, name)
        assert found.choices == ()
        assert found.nodes is not None
        assert [row.node for row in found.nodes.skipped] == [name]
        assert reason in found.nodes.skipped[0].reason
    with pytest.raises(BadInput, match="names no choice"):
        answer(run, "nothing")


def test_names_that_nobody_knows(run: Run) -> None:
    with pytest.raises(BadInput, match=r"--choice block1\.depthwise\.conv: .*did you mean 'block1\.depth"):
        answer(run, "block1.depthwise.conv")
    with pytest.raises(BadInput, match=r"may mean form:conv-1b990fa119, .* more: write one"):
        answer(run, "form:")
    assert one(answer(run, "form:conv-1b99")).id == BLOCK1


def test_of_a_difference_what_is_common_cancels() -> None:
    def predicted(value: float, spread: float, common: float) -> Estimate:
        return Estimate(value, spread, Source.PREDICTED, common)

    assert difference(predicted(10, 5, 3), predicted(6, 5, 3)).spread == pytest.approx((16 + 16) ** 0.5)
    assert difference(predicted(10, 5, 5), predicted(6, 2, 2)).spread == pytest.approx(3)
    assert difference(predicted(10, 5, 0), predicted(10, 5, 0)) == Estimate(0, 0, Source.PREDICTED)
    measured = Estimate(10, 0, Source.MEASURED)
    assert difference(measured, predicted(6, 0, 0)).source == Source.PREDICTED
    assert difference(measured, Estimate(6, 0, Source.MEASURED)).source == Source.MEASURED
