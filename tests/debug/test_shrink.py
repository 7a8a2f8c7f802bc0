"""Failing models of known cause: what is left of them, and why it cannot be less."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hwopt.choice import Kind, Risk, Value
from hwopt.debug.shrink.cut import Outline
from hwopt.debug.shrink.search import MAX_TRIALS, shrink
from hwopt.edit import set_constant
from hwopt.errors import PassFailed
from hwopt.find import with_places
from hwopt.inputs import random_feeds
from hwopt.ir import interface, model_bytes
from hwopt.nodes import constant_array
from hwopt.places import node_at, place_of
from hwopt.rewrite import rewrite
from hwopt.runtime import Feeds, Session, run
from hwopt.trace import Progress, Recorder
from tests.debug.shrink_nets import (
    Rewrite,
    differs,
    doubles,
    drops_halving,
    labels,
    net,
    node_of,
    raises,
    shifted,
    step,
    wrong,
)
from tests.graphs import classifier


@pytest.fixture(scope="module")
def small() -> ir.Model:
    return with_places(classifier())


def feeds_of(model: ir.Model, batch: int = 1) -> dict[str, np.ndarray]:
    return random_feeds(model, {}, 0, batch)


def checked(piece: ir.Model) -> None:
    onnx.checker.check_model(model_bytes(piece), full_check=True)


def test_one_culprit_is_left_with_its_reader_and_what_flows_into_it(small: ir.Model) -> None:
    feeds = feeds_of(small)
    piece = shrink(small, [step(small, "d", wrong)], feeds, differs)
    assert labels(piece.before) == ["d", "da"]  # the rewrite is only right where a node reads its output
    assert (piece.nodes, piece.complete, piece.replays) == (2, True, False)
    flowing = run(small, feeds, ["ea"])["ea"]
    height, width = piece.feeds["ea"].shape[2:]
    assert np.array_equal(piece.feeds["ea"], flowing[:1, :, :height, :width])
    assert piece.after is not None
    assert [node.op_type for node in piece.after.graph] == ["Conv", "Add", "Clip"]
    assert differs(piece.before, [step(small, "d", wrong)], piece.feeds)
    checked(piece.before)
    checked(piece.after)


def test_the_source_and_its_places_stay_as_they_are(small: ir.Model) -> None:
    before = model_bytes(small)
    piece = shrink(small, [step(small, "d", wrong)], feeds_of(small), differs)
    assert model_bytes(small) == before
    assert place_of(node_of(piece.before, "d")) == place_of(node_of(small, "d"))


def test_the_same_piece_every_time(small: ir.Model) -> None:
    def once() -> tuple[bytes, bytes]:
        piece = shrink(small, [step(small, "p", wrong)], feeds_of(small), differs)
        return model_bytes(piece.before), b"".join(a.tobytes() for _, a in sorted(piece.feeds.items()))

    assert once() == once()


def test_a_culprit_at_the_input_and_one_at_the_output(small: ir.Model) -> None:
    first = shrink(small, [step(small, "s", wrong)], feeds_of(small), differs)
    assert labels(first.before) == ["s", "sa"]
    assert set(first.feeds) == {"x"}
    last = shrink(small, [step(small, "y", shifted)], feeds_of(small), differs)
    assert labels(last.before) == ["y"]
    assert [value.name for value in last.before.graph.outputs] == ["y"]


def test_a_pair_keeps_the_way_between_them_and_not_the_residual(small: ir.Model) -> None:
    pair = [step(small, "e", doubles), step(small, "h", drops_halving, "e")]
    piece = shrink(small, pair, feeds_of(small), differs)
    assert labels(piece.before) == ["e", "ea", "d", "da", "p", "r", "h", "ha"]
    assert set(piece.feeds) == {"sa"}  # one input, which the residual reads, too


def test_a_crash_has_no_after_and_needs_no_data(small: ir.Model) -> None:
    def crashes(piece: ir.Model, values: Sequence[Value], feeds: Feeds) -> bool:
        try:
            rewrite(piece, values)
        except PassFailed as error:
            return isinstance(error.__cause__, ZeroDivisionError)
        return False

    crash = [step(small, "p", raises)]
    piece = shrink(small, crash, feeds_of(small), crashes)
    assert labels(piece.before) == ["p", "r"]
    assert piece.after is None
    assert all(value.shape is not None and value.shape.is_static() for value in piece.before.graph.inputs)
    assert Session(piece.before).run(piece.feeds)["r"].shape[1] == 12
    blind = shrink(small, crash, {}, crashes)
    assert labels(blind.before) == ["p", "r"]
    assert blind.feeds == {}


TWO_OUTPUTS = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[N,8,6,6] x) => (float[N,4,6,6] y) {
  a = Relu(x)
  left, right = Split<axis=1>(a)
  b = Conv<kernel_shape=[1,1]>(left, wb, bb)
  c = Conv<kernel_shape=[1,1]>(right, wc, bc)
  m = Mul(b, c)
  y = Relu(m)
}
"""
TWO_OUTPUTS_WEIGHTS = {"wb": (4, 4, 1, 1), "bb": (4,), "wc": (4, 4, 1, 1), "bc": (4,)}


def swapped(model: ir.Model, place: str) -> None:
    """Who reads the first output of a node reads the second, and the other way round."""
    one, two = node_at(model, place).outputs
    uses = [(use, two) for use in one.uses()] + [(use, one) for use in two.uses()]
    for use, other in uses:
        use.node.replace_input_with(use.idx, other)


def test_nodes_with_several_outputs() -> None:
    model = net(TWO_OUTPUTS, TWO_OUTPUTS_WEIGHTS)
    behind = shrink(model, [step(model, "c", wrong)], feeds_of(model), differs)
    assert labels(behind.before) == ["c", "m"]
    assert set(behind.feeds) == {"right", "b"}
    itself = shrink(model, [step(model, "left", swapped)], feeds_of(model), differs)
    assert labels(itself.before) == ["left", "b", "c"]  # both readers, and not what joins them
    assert [value.name for value in itself.before.graph.outputs] == ["b", "c"]


BRANCHES = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[N,4,6,6] x, bool choice) => (float[N,4,6,6] y) {
  a = Relu(x)
  b = Conv<kernel_shape=[1,1]>(a, wb, bb)
  c = If (choice) <
    then_branch = yes () => (float[N,4,6,6] t) { t = Add(b, x) },
    else_branch = no () => (float[N,4,6,6] f) { f = Mul(b, b) }
  >
  y = Relu(c)
}
"""


def test_a_node_that_holds_graphs_is_one_node_with_all_that_they_read() -> None:
    model = net(BRANCHES, {"wb": (4, 4, 1, 1), "bb": (4,)})
    feeds = feeds_of(model)
    piece = shrink(model, [step(model, "b", wrong)], feeds, differs)
    assert labels(piece.before) == ["b", "c"]
    assert set(piece.feeds) == {"a", "x", "choice"}
    checked(piece.before)


SIZES = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[N,4,6,6] x) => (float[N,144] y) {
  a = Relu(x)
  b = Conv<kernel_shape=[1,1]>(a, wb, bb)
  s = Shape(x)
  n = Gather(s, zero_index)
  k = Concat<axis=0>(n, rest)
  r = Reshape(b, k)
  y = Relu(r)
}
"""


def sizes_net() -> ir.Model:
    text = SIZES.replace("=> (float[N,144] y) {", "=> (float[N,144] y)\n<int64[1] zero_index = {0}, "
                         "int64[1] rest = {144}>\n{")  # fmt: skip
    return net(text, {"wb": (4, 4, 1, 1), "bb": (4,)})


def test_what_sizes_alone_decide_becomes_a_constant() -> None:
    model = sizes_net()
    piece = shrink(model, [step(model, "b", wrong)], feeds_of(model, batch=3), differs)
    assert labels(piece.before) == ["b", "r"]
    assert set(piece.feeds) == {"a"}
    assert constant_array(piece.before.graph.initializers["k"]).tolist() == [3, 144]  # type: ignore[union-attr]
    assert piece.feeds["a"].shape == (3, 4, 6, 6)  # the constant holds for three samples alone


def test_a_free_batch_is_fixed_to_what_still_fails(small: ir.Model) -> None:
    easy = shrink(small, [step(small, "d", wrong)], feeds_of(small, batch=3), differs)
    assert easy.feeds["ea"].shape[0] == 1
    assert [list(value.shape or ()) for value in easy.before.graph.inputs] == [[1, 36, 1, 1]]

    def at_three(piece: ir.Model, values: Sequence[Value], feeds: Feeds) -> bool:
        return len(feeds["ea"]) == 3 and differs(piece, values, feeds)

    hard = shrink(small, [step(small, "d", wrong)], feeds_of(small, batch=3), at_three)
    assert hard.feeds["ea"].shape == (3, 36, 1, 1)


def halved_width(model: ir.Model, place: str, down: str, up: str) -> None:
    """A hidden width loses its second half: a value about three convolutions at once."""
    for where, index, axis in ((place, 1, 0), (place, 2, 0), (down, 1, 0), (down, 2, 0), (up, 1, 1)):
        node = node_at(model, where)
        array = constant_array(node.inputs[index])
        assert array is not None
        set_constant(node, index, np.split(array, 2, axis=axis)[0])
        if where == down and index == 1:
            node.attributes["group"] = ir.AttrInt64("group", array.shape[0] // 2)


def test_a_width_keeps_all_that_has_it(small: ir.Model) -> None:
    places = [place_of(node_of(small, name)) for name in ("e", "d", "p")]
    change: Rewrite = partial(halved_width, down=places[1], up=places[2])
    width = replace(step(small, "e", change, "d", "p"), kind=Kind.WIDTH, risk=Risk.LOSSY)
    piece = shrink(small, [width], feeds_of(small), differs)
    assert labels(piece.before) == ["e", "ea", "d", "da", "p", "r"]


CONSTANTS = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[N,2,4,4] x) => (float[N,2,4,4] y) {
  one = Constant<value_float = 1.0>()
  a = Add(x, one)
  w = Constant<value = float[2,2,1,1] {1.0, 2.0, 3.0, 4.0}>()
  bias = Constant<value_floats = [0.5, 0.25]>()
  b = Conv<kernel_shape=[1,1]>(a, w, bias)
  c = Mul(b, one)
  y = Relu(c)
}
"""


def test_constant_nodes_come_along_and_do_not_count() -> None:
    model = net(CONSTANTS, {})
    piece = shrink(model, [step(model, "b", wrong)], feeds_of(model), differs)
    assert (piece.nodes, labels(piece.before)) == (2, ["b", "c"])
    assert sum(node.op_type == "Constant" for node in piece.before.graph) == 3
    assert set(piece.feeds) == {"a"}


def test_what_a_trial_raises_is_no_failure_and_no_end(small: ir.Model) -> None:
    def fussy(piece: ir.Model, values: Sequence[Value], feeds: Feeds) -> bool:
        if len(labels(piece)) < 4:
            raise MemoryError("too small for me")
        return differs(piece, values, feeds)

    piece = shrink(small, [step(small, "d", wrong)], feeds_of(small), fussy)
    assert piece.nodes == 4
    assert piece.complete


def test_a_model_that_does_not_fail_comes_back_whole(small: ir.Model) -> None:
    piece = shrink(small, [step(small, "d", wrong)], feeds_of(small), lambda *_: False)
    assert (piece.nodes, piece.complete, piece.replays) == (len(Outline.of(small).nodes), False, False)
    assert set(piece.feeds) == {"x"}


def test_trials_are_counted_told_and_limited(small: ir.Model) -> None:
    told = Recorder()
    piece = shrink(small, [step(small, "d", wrong)], feeds_of(small), differs, (told,))
    assert [event.done for event in told.events if isinstance(event, Progress)] == [
        *range(1, piece.trials + 1)
    ]
    assert piece.trials < MAX_TRIALS
    pair = [step(small, "e", doubles), step(small, "h", drops_halving, "e")]
    few = shrink(small, pair, feeds_of(small), differs, max_trials=4)
    assert (few.trials, few.complete) == (4, False)
    assert differs(few.before, pair, few.feeds)


def test_a_piece_that_replays_is_preferred_while_it_is_small(small: ir.Model) -> None:
    def at_least(count: int) -> object:
        return lambda piece, values, feeds: len(labels(piece)) >= count

    steps = [step(small, "d", wrong)]
    few = shrink(small, steps, feeds_of(small), differs, replays=at_least(5))  # type: ignore[arg-type]
    assert (few.nodes, few.replays) == (5, True)
    many = shrink(small, steps, feeds_of(small), differs, replays=at_least(10))  # type: ignore[arg-type]
    assert (many.nodes, many.replays) == (2, False)


def test_a_model_of_which_all_is_needed_is_tried_as_it_came(small: ir.Model) -> None:
    """A command that judges models may hold on to names, order and free sizes of the whole."""

    def picky(piece: ir.Model, values: Sequence[Value], feeds: Feeds) -> bool:
        return interface(piece) == interface(small) and differs(piece, values, feeds)

    piece = shrink(small, [step(small, "d", wrong)], feeds_of(small, batch=3), picky)
    assert interface(piece.before) == interface(small)
    assert (piece.nodes, piece.complete) == (len(Outline.of(small).nodes), True)
    assert piece.feeds["x"].shape == (3, 3, 16, 16)
