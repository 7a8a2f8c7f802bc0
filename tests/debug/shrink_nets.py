"""Small nets, steps with bugs in them, and a check, for the tests of shrinking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import onnx_ir as ir

from hwopt.choice import Kind, Risk, Stage, Value
from hwopt.edit import set_constant
from hwopt.find import with_places
from hwopt.nodes import constant_array, label
from hwopt.places import node_at, place_of
from hwopt.rewrite import rewrite
from hwopt.runtime import Feeds, Session
from hwopt.verify import compare
from tests.graphs import Weights, model_of
from tests.planted import double_and_halve, split_and_drop_halving, split_bias

Rewrite = Callable[[ir.Model, str], None]

wrong: Rewrite = partial(split_bias, off_by=1.0)
doubles: Rewrite = double_and_halve
drops_halving: Rewrite = split_and_drop_halving


def net(text: str, weights: Weights) -> ir.Model:
    """A model from text, as a run has it."""
    return with_places(model_of(text, weights))


def node_of(model: ir.Model, name: str) -> ir.Node:
    """The node of that label."""
    return next(node for node in model.graph if label(node) == name)


def step(model: ir.Model, name: str, change: Rewrite, *beside: str) -> Value:
    """A step that makes this change at a node. beside: labels of other nodes that it is about."""
    places = tuple(place_of(node_of(model, one)) for one in (name, *beside))
    return Value(
        f"test:{places[0]}", Kind.FORM, "changed", "test", Risk.EXACT, Stage.FORM, places,
        lambda given: change(given, places[0]),
    )  # fmt: skip


def shifted(model: ir.Model, place: str, index: int = 2) -> None:
    """The node's constant at that input, off by one."""
    node = node_at(model, place)
    array = constant_array(node.inputs[index])
    assert array is not None
    set_constant(node, index, array + np.ones((), array.dtype))


def raises(model: ir.Model, place: str) -> None:
    node_at(model, place)
    raise ZeroDivisionError("planted")


def differs(piece: ir.Model, values: Sequence[Value], feeds: Feeds) -> bool:
    """Whether the steps change what the piece computes."""
    changed = rewrite(piece, values)
    found = compare(Session(piece).run(feeds), Session(changed).run(feeds))
    return not all(item.exact for item in found)


def labels(model: ir.Model) -> list[str]:
    """Of all nodes but constants, in graph order."""
    return [label(node) for node in model.graph if node.op_type != "Constant"]
