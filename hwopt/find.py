"""Finds what may change: runs the passes over a model and gathers their values into choices.

Canonicalising comes first and by itself: every later pass, the repair and the plan speak of
the canonical model. Structural ids are given once, on the model as it came in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.choice import Choice, Pass, Risk, Skip, Stage, Value, group_values
from hwopt.places import assign_places, has_place, place_of
from hwopt.target import Target
from hwopt.trace import Listeners, PlaceSkipped, ValueFound, emit, timed_pass

MAX_ROUNDS = 20  # a fold may make the next one possible; chains are short


@dataclass(frozen=True)
class Canonical:
    """The model every decision is about, the folds that led to it, and the model before each."""

    model: ir.Model
    folds: tuple[Value, ...]
    skipped: tuple[Skip, ...]


def with_places(model: ir.Model) -> ir.Model:
    """A clone whose nodes carry their structural ids; the model that came in stays as it is."""
    clone = model.clone()
    assign_places(clone)
    return clone


def canonicalise(
    model: ir.Model,
    passes: Iterable[Pass],
    target: Target,
    only: frozenset[tuple[str, str]] | None = None,
    listeners: Listeners = (),
) -> Canonical:
    """Applies every fold that a canonicalising pass finds, until none is left.

    model: carries places; it is not edited. only: (choice, value) of the folds that a replayed
    plan names; None for all.
    """
    folding = [item for item in passes if item.stage == Stage.CANONICALISE]
    base, folds, skipped = model.clone(), list[Value](), list[Skip]()
    for _ in range(MAX_ROUNDS):
        values, skipped = _collect(base, folding, target, ())
        wanted = [v for v in values if only is None or (v.choice, v.name) in only]
        done = [value for value in wanted if _applied(base, value)]
        folds.extend(done)
        if not done:
            break
    for skip in skipped:
        emit(listeners, PlaceSkipped(skip.pass_name, skip.node, skip.reason))
    return Canonical(base, tuple(folds), tuple(skipped))


def _applied(model: ir.Model, value: Value) -> bool:
    """Whether the fold could still be made: an earlier one may have taken its nodes."""
    present = {place_of(node) for node in model.graph if has_place(node)}
    if not present.issuperset(value.places):
        return False
    value.rewrite(model)
    return True


def find_choices(
    base: ir.Model, passes: Iterable[Pass], target: Target, risks: frozenset[Risk], listeners: Listeners = ()
) -> tuple[list[Choice], list[Skip]]:
    """Every choice about the canonical model whose values are of the allowed risks."""
    later = [item for item in passes if item.stage != Stage.CANONICALISE]
    values, skipped = _collect(base, later, target, listeners)
    return group_values(value for value in values if value.risk in risks), skipped


def _collect(
    model: ir.Model, passes: Sequence[Pass], target: Target, listeners: Listeners
) -> tuple[list[Value], list[Skip]]:
    values: list[Value] = []
    skipped: list[Skip] = []
    for item in passes:
        with timed_pass(listeners, item.name, model.graph.num_nodes()):
            found = list(item.values(model, target))
        values.extend(value for value in found if isinstance(value, Value))
        skipped.extend(skip for skip in found if isinstance(skip, Skip))
    for value in values:
        emit(listeners, ValueFound(value.pass_name, value.choice, value.name))
    for skip in skipped:
        emit(listeners, PlaceSkipped(skip.pass_name, skip.node, skip.reason))
    return values, skipped
