"""Work grows with the graph, not with its square: calls are counted, no clock is looked at."""

from __future__ import annotations

import cProfile
import inspect
import sys
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from bench.scaling import exponent, slope
from bench.scaling_nets import FAMILIES
from hwopt.pipeline import optimize
from hwopt.report import words
from hwopt.report.html import to_html
from hwopt.report.markdown import to_markdown
from hwopt.report.schema import SubgraphRow
from hwopt.settings import settings
from hwopt.settle import Settled
from hwopt.steps import Found, choose, find, price_choices
from hwopt.work import open_work

NODES = 120
ALWAYS = ("chain", "different")
MOST = 2.3  # times as many calls for twice the nodes; n log n has 2.3 at 120 nodes


def decided(family: str, nodes: int) -> tuple[Found, Settled]:
    """A graph of a family through finding, pricing and searching."""
    work = open_work(ir.from_proto(FAMILIES[family](nodes)), "edge-npu", settings(refine=0))
    found = find(work)
    problem, data = price_choices(work, found)
    return found, choose(work, found, problem, data)


def calls(family: str, nodes: int) -> int:
    """How many functions are called on the way."""
    profile = cProfile.Profile()
    profile.runcall(decided, family, nodes)
    return sum(entry.callcount for entry in profile.getstats())


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    decided("chain", 10)


@pytest.mark.parametrize(
    "family",
    [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES],
)
def test_twice_the_nodes_are_about_twice_the_calls(family: str) -> None:
    one, two = calls(family, NODES), calls(family, 2 * NODES)
    assert two <= MOST * one, f"{one} calls, then {two}"


def test_a_deep_graph_needs_no_deep_stack() -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 150)
    try:
        for family in ("chain", "different", "elementwise"):
            decided(family, 400)
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize("nodes", [600, pytest.param(5_000, marks=pytest.mark.slow)])
def test_a_long_chain_is_decided(nodes: int) -> None:
    found, settled = decided("chain", nodes)
    convs = sum(node.op_type == "Conv" for node in found.base.graph)
    assert convs == len(found.folds)
    assert not any(node.op_type == "BatchNormalization" for node in found.base.graph)
    assert settled.model.graph.num_nodes() < nodes


def test_a_page_shows_so_many_rows_and_says_how_many_more_there_are() -> None:
    report = optimize(ir.from_proto(FAMILIES["chain"](20)), target="edge-npu", refine=0).report
    rows: tuple[SubgraphRow, ...] = (*report.subgraphs.before,) * 150
    long = replace(report, subgraphs=replace(report.subgraphs, before=rows))
    more = words.beyond(len(rows))
    page, text = to_html(long), to_markdown(long)
    assert more in page
    assert more in text
    assert page.count("<tr") < 8 * words.MOST_ROWS
    assert words.beyond(len(report.subgraphs.before)) not in to_html(report)


def test_no_two_blocks_of_different_widths_are_alike() -> None:
    model = FAMILIES["different"](20_000)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    blocks = [shapes[node.input[1]] for node in model.graph.node if node.op_type == "Conv"][1::3]
    assert len({*blocks}) == len(blocks) > 2200
    assert max(shape[0] for shape in blocks[:100]) == max(shape[0] for shape in blocks)


def test_the_bench_finds_the_exponent_beneath_what_a_start_costs() -> None:
    nodes = np.array([10.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0, 20_000.0])
    noise = 1 + 0.03 * np.array([1, -1, 1, -1, 1, -1, 1])
    linear, square = (exponent(nodes, noise * (5.0 + 50.0 * (nodes / 20_000) ** p)) for p in (1.0, 2.0))
    assert linear == pytest.approx(1.0, abs=0.1)
    assert square == pytest.approx(2.0, abs=0.15)
    assert slope(nodes[-2:], 3 * nodes[-2:] ** 1.5) == pytest.approx(1.5)
    assert 1.1 < exponent(nodes, nodes * np.log(nodes)) < 1.2
