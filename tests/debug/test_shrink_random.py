"""Random small nets: what is left is as small as any piece that fails, by trying them all."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import combinations

import numpy as np
import onnx_ir as ir
import pytest

from hwopt.choice import Value
from hwopt.debug.shrink.cut import Nodes, Outline, cut
from hwopt.debug.shrink.record import recording
from hwopt.debug.shrink.search import shrink
from hwopt.debug.shrink.sweep import thinned
from hwopt.find import with_places
from hwopt.inputs import random_feeds
from hwopt.nodes import convs, label
from tests.channel_nets import random_net
from tests.debug.shrink_nets import differs, doubles, drops_halving, step, wrong

MOST = 11  # nodes that may be in a piece beside the culprits: 2 ** 11 pieces


def smallest(model: ir.Model, values: list[Value], among: Nodes) -> int:
    """The fewest nodes of any piece that fails, by trying all that hold the culprits, the smallest first."""
    outline = Outline.of(model)
    core = outline.at(place for value in values for place in value.places)
    rest = outline.ordered(among - core)
    assert len(rest) <= MOST
    with recording(model, random_feeds(model, {}, 0)) as tensors:
        for count in range(len(rest) + 1):
            for some in combinations(rest, count):
                nodes = core | frozenset(some)
                if outline.closed(nodes, core) == nodes and differs(*_trial(outline, nodes, tensors, values)):
                    return len(nodes)
    raise AssertionError("no piece fails")


def _trial(outline: Outline, nodes: Nodes, tensors: object, values: list[Value]) -> tuple:  # type: ignore[type-arg]
    piece, feeds = cut(outline, nodes, tensors)  # type: ignore[arg-type]
    return piece, values, feeds


def pairs(model: ir.Model) -> Iterator[tuple[str, str]]:
    """Convolutions, one behind the other, few nodes apart."""
    outline = Outline.of(model)
    found = [label(conv.node) for conv in convs(model) if not conv.output.is_graph_output()]
    for first, second in combinations(found, 2):
        steps = [step(model, first, doubles), step(model, second, drops_halving, first)]
        if len(whereabouts(outline, steps)) - 2 <= MOST and _joined(outline, steps):
            yield first, second


def whereabouts(outline: Outline, steps: list[Value]) -> Nodes:
    """All nodes between the culprits, and who reads from those."""
    core = outline.at(place for value in steps for place in value.places)
    return outline.closed(outline.hull(core), core)


def _joined(outline: Outline, steps: list[Value]) -> bool:
    return len(outline.joined(outline.at(p for value in steps for p in value.places))) > 2


@pytest.mark.parametrize("seed", range(6))
def test_one_wrong_step_leaves_its_node_and_the_readers(seed: int) -> None:
    model = with_places(random_net(seed, steps=6))
    outline = Outline.of(model)
    rng = np.random.default_rng(seed)
    found = [conv.node for conv in convs(model) if not conv.output.is_graph_output()]
    node = found[int(rng.integers(len(found)))]
    culprit = step(model, label(node), wrong)
    piece = shrink(model, [culprit], random_feeds(model, {}, 0), differs)
    assert piece.complete
    assert piece.nodes == 1 + len(set(outline.behind(node)))


@pytest.mark.parametrize("seed", range(8))
def test_a_pair_leaves_no_more_than_the_smallest_piece_that_fails(seed: int) -> None:
    model = with_places(random_net(seed, steps=5))
    outline = Outline.of(model)
    feeds = random_feeds(model, {}, 0)
    for first, second in list(pairs(model))[:2]:
        steps = [step(model, first, doubles), step(model, second, drops_halving, first)]
        if not differs(model, steps, feeds):
            continue  # what is wrong there does not reach the output
        piece = shrink(model, steps, feeds, differs)
        assert piece.complete
        assert piece.nodes == smallest(model, steps, whereabouts(outline, steps)), (first, second)


def test_nothing_more_can_go_and_little_is_asked() -> None:
    """Sets that fail where they hold some items; the answer is exactly those, in far less than n squared."""
    rng = np.random.default_rng(0)
    for count in (1, 2, 7, 50, 200):
        for needed in (1, min(3, count), max(count // 2, 1)):
            wanted = set(map(int, rng.choice(count, needed, replace=False)))
            asked: list[int] = []

            def fails(some: object, wanted: set[int] = wanted, asked: list[int] = asked) -> bool:
                asked.append(1)
                return wanted <= set(some)  # type: ignore[call-overload, no-any-return]

            assert set(thinned(range(count), fails, partial(bool, False))) == wanted
            assert len(asked) <= 4 * count + 10 * needed
