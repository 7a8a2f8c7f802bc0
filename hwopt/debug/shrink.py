"""The smallest piece of a model on which making some steps still fails.

A piece is a set of the source's nodes; what they read from outside becomes inputs, with the data that flow
there when the whole model runs. Constants come along and are not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.choice import Value
from hwopt.runtime import Feeds
from hwopt.trace import Listeners

Fails = Callable[[ir.Model, Sequence[Value], Feeds], bool]


@dataclass(frozen=True)
class Piece:
    """What is left of a model. before, after: without and with the steps made in it.

    after: None where the steps cannot be made (a crash). feeds: by input of `before`. nodes: of `before`,
    constants not counted. trials: how often `fails` was asked. complete: no single node can be taken out;
    False where the trials ran out first, or where not even the whole model fails. replays: the steps are found again by
    the passes in `before` alone and fail there too, so that a plan can be written for it.
    """

    before: ir.Model
    after: ir.Model | None
    feeds: Feeds
    nodes: int
    trials: int
    complete: bool
    replays: bool


def shrink(
    source: ir.Model,
    values: Sequence[Value],
    feeds: Feeds,
    fails: Fails,
    listeners: Listeners = (),
    replays: Fails | None = None,
) -> Piece:
    """The smallest piece of the source in which making these steps, in their order, still fails.

    source: its nodes carry places; it is not edited. feeds: inputs of the source on which the whole fails.
    fails: handed a piece of the source that carries the same places; static shapes. What it raises counts as
    "does not fail". replays: as `fails`, with the steps found anew in the piece (`hwopt.debug.case.found_anew`
    makes it): where the smallest piece does not replay, a little larger one that does is preferred.
    """
    raise NotImplementedError
