"""The report's table of passes: what a listener adds up, and what a real run says in it."""

from __future__ import annotations

import onnx_ir as ir

import hwopt
from hwopt.report.markdown import to_markdown
from hwopt.report.passes import PassSums
from hwopt.report.schema import PassRow
from hwopt.trace import (
    FINDING,
    REWRITING,
    Event,
    PassDone,
    PassStarted,
    PlaceSkipped,
    RewriteApplied,
    ValueFound,
)
from tests.graphs import classifier

MODEL = ir.Model(ir.Graph([], [], nodes=[]), ir_version=10)


def applied(step: int, name: str, removed: int, added: int, seconds: float = 0.5) -> RewriteApplied:
    after = 10 - removed + added
    return RewriteApplied(step, name, f"c{step}", "v", 10, after, MODEL, removed, added, seconds)


def sums(*events: Event) -> PassSums:
    listener = PassSums()
    for event in events:
        listener(event)
    return listener


def looked(name: str, *found: Event, seconds: float = 1.0) -> list[Event]:
    return [PassStarted(name), *found, PassDone(name, seconds, 10, 10, FINDING)]


def wrote(name: str, *steps: Event) -> list[Event]:
    return [PassStarted(name, REWRITING), *steps, PassDone(name, 99.0, 10, 10, REWRITING)]


def test_each_pass_has_its_counts_and_its_time() -> None:
    found: list[Event] = [
        ValueFound("fold", "c1", "v"),
        ValueFound("fold", "c2", "v"),
        PlaceSkipped("fold", "n", "why"),
    ]
    listener = sums(
        *looked("fold", *found),
        *wrote("fold", applied(1, "fold", 3, 1), applied(2, "fold", 2, 0)),
        *looked("form", seconds=0.25),
    )
    assert listener.rows() == (
        PassRow("fold", 2, 1, 2, 5, 1, 1.0, 1.0),
        PassRow("form", 0, 0, 0, 0, 0, 0.25, 0.0),
    )


def test_a_value_that_is_found_again_counts_once_and_a_place_that_is_free_now_is_no_skip() -> None:
    value = ValueFound("fold", "c1", "v")
    listener = sums(
        *looked("fold", value, PlaceSkipped("fold", "n", "a neighbour is in the way")),
        *looked("fold", value, ValueFound("fold", "c2", "v")),
    )
    assert listener.rows() == (PassRow("fold", 2, 0, 0, 0, 0, 2.0, 0.0),)


def test_steps_of_a_plan_that_was_given_up_do_not_count() -> None:
    listener = sums(
        *wrote("fold", applied(1, "fold", 1, 0)),
        *wrote("form", applied(2, "form", 3, 1), applied(3, "form", 3, 1)),
        *wrote("form", applied(2, "form", 4, 2)),
    )
    steps = {row.name: (row.steps, row.nodes_removed, row.nodes_added) for row in listener.rows()}
    assert steps == {"fold": (1, 1, 0), "form": (1, 4, 2)}
    assert listener.rows()[1].rewriting_s == 1.5  # the time was spent all the same


def test_an_input_that_came_back_has_no_steps() -> None:
    [row] = sums(*wrote("fold", applied(1, "fold", 3, 1))).rows(unchanged=True)
    assert (row.steps, row.nodes_removed, row.nodes_added) == (0, 0, 0)


def test_what_the_engine_itself_passes_over_is_no_pass() -> None:
    listener = sums(*looked("form"), PlaceSkipped("price", "n", "too many joint values"))
    assert [row.name for row in listener.rows()] == ["form"]


def test_a_run_tells_of_every_pass_that_looked() -> None:
    report = hwopt.optimize(classifier(), target="edge-npu", refine=0).report
    rows = {row.name: row for row in report.passes}
    assert list(rows) == list(dict.fromkeys(rows))
    assert {"canonicalize", "densify_depthwise", "prune_channels"} <= set(rows)
    offered = [v for c in report.choices for v in c.values if "densify_depthwise" in v.passes]
    assert rows["densify_depthwise"].values == len(offered) == 1
    skipped = {(row.pass_, row.node, row.reason) for row in report.skipped}
    for name, row in rows.items():
        assert row.skipped == sum(one == name for one, _, _ in skipped)
        assert row.steps == 0  # nothing is better than the input without data
    assert "| densify_depthwise | 1 |" in to_markdown(report)
