"""Finds what may change: runs the passes over a model and gathers their values into choices.

Canonicalising comes first and by itself: every later pass, the repair and the plan speak of
the canonical model. Structural ids are given once, on the model as it came in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import onnx_ir as ir

from hwopt.choice import Choice, Pass, Risk, Skip, Stage, Value, group_values
from hwopt.errors import HwoptError, PassFailed
from hwopt.ledger import Ledger, ledger_of
from hwopt.places import assign_places, find_node
from hwopt.provenance import label_sources
from hwopt.rewrite import apply_step, rewrite
from hwopt.target import Target
from hwopt.trace import REWRITING, Listeners, PlaceSkipped, ValueFound, emit, timed_pass

MAX_ROUNDS = 20  # a fold may make the next one possible; chains are short


@dataclass(frozen=True)
class Canonical:
    """The model every decision is about, the folds that led to it, and the model before each."""

    model: ir.Model
    folds: tuple[Value, ...]
    skipped: tuple[Skip, ...]


def with_places(model: ir.Model) -> ir.Model:
    """A clone whose nodes carry their structural ids and labels; the model that came in stays as it is."""
    clone = model.clone()
    assign_places(clone)
    label_sources(clone)
    return clone


def canonicalise(
    model: ir.Model,
    passes: Iterable[Pass],
    target: Target,
    only: frozenset[tuple[str, str]] | None = None,
    listeners: Listeners = (),
    most: int | None = None,
) -> Canonical:
    """Applies every fold that a canonicalising pass finds, until none is left.

    model: carries places; it is not edited. only: (choice, value) of the folds that are wanted; None
    for all. most: only so many of these are made, the first ones; None for all.
    """
    folding = [item for item in passes if item.stage == Stage.CANONICALISE]
    base, folds, skipped = model.clone(), list[Value](), list[Skip]()
    with ledger_of(base) as ledger:
        for _ in range(MAX_ROUNDS):
            values, skipped = _collect(base, folding, target, listeners)
            wanted = (v for v in values if only is None or (v.choice, v.name) in only)
            still = (v for v in wanted if most is None or len(folds) < most)  # asked before every fold
            if not _folded(base, still, partial(rewrite, model), folds, ledger, listeners):
                break
    return Canonical(base, tuple(folds), tuple(skipped))


def _folded(
    base: ir.Model,
    wanted: Iterable[Value],
    remade: Callable[[Sequence[Value]], ir.Model],
    folds: list[Value],
    ledger: Ledger,
    listeners: Listeners,
) -> bool:
    """Makes the folds that still can be made, and lists them; whether there was any.

    An earlier one may have taken a fold's nodes. remade: the model with folds made in it anew.
    """
    known = len(folds)
    for name, group in groupby(wanted, key=lambda value: value.pass_name):
        with timed_pass(listeners, name, base, REWRITING):
            for value in group:
                if _nodes_left(base, value):
                    before = partial(remade, tuple(folds))
                    apply_step(base, (len(folds) + 1, value), before, ledger, listeners)
                    folds.append(value)
    return len(folds) > known


def _nodes_left(model: ir.Model, value: Value) -> bool:
    return all(find_node(model, place) is not None for place in value.places)


def find_choices(
    base: ir.Model, passes: Iterable[Pass], target: Target, risks: frozenset[Risk], listeners: Listeners = ()
) -> tuple[list[Choice], list[Skip]]:
    """Every choice about the canonical model whose values are of the allowed risks."""
    later = [item for item in passes if item.stage != Stage.CANONICALISE]
    values, skipped = _collect(base, later, target, listeners)
    return group_values(value for value in values if value.risk in risks), skipped


def _offered(item: Pass, model: ir.Model, target: Target) -> list[Value | Skip]:
    """What a pass says of the model. Raises PassFailed for anything that it raises itself."""
    try:
        return list(item.values(model, target))
    except HwoptError:
        raise
    except Exception as error:
        raise PassFailed(item.name, error, model) from error


def _collect(
    model: ir.Model, passes: Sequence[Pass], target: Target, listeners: Listeners
) -> tuple[list[Value], list[Skip]]:
    values: list[Value] = []
    skipped: list[Skip] = []
    for item in passes:
        with timed_pass(listeners, item.name, model):
            found = _offered(item, model, target)
            _tell(found, listeners)
        values.extend(value for value in found if isinstance(value, Value))
        skipped.extend(skip for skip in found if isinstance(skip, Skip))
    return values, skipped


def _tell(found: Iterable[Value | Skip], listeners: Listeners) -> None:
    for item in found:
        if isinstance(item, Value):
            emit(listeners, ValueFound(item.pass_name, item.choice, item.name))
        else:
            emit(listeners, PlaceSkipped(item.pass_name, item.node, item.reason))
