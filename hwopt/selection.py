"""`--only-choice`: the few choices that a run decides about; every other one keeps.

Names are looked up as those of a hints file. Folds are not decided about and stay, unless one of them is
named: then those that are named are made, and no others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import onnx_ir as ir

from hwopt.choice import Choice, Kind, Pass, Risk, Skip, Value
from hwopt.errors import BadInput
from hwopt.find import Canonical, canonicalise
from hwopt.hints.apply import Orders
from hwopt.hints.file import shorten
from hwopt.hints.names import Book, node_names
from hwopt.nodes import label
from hwopt.places import has_place, place_of
from hwopt.target import Target
from hwopt.trace import Listeners

OPTION = "--only-choice"
MODEL, PLAN = "this model", "the plan"  # whose choices names are looked up among
LEFT_OUT = f"left out by {OPTION}"
_FOLD = f"{Kind.CANONICAL}:"  # how the ids of folds begin


def names_folds(names: Sequence[str]) -> bool:
    """Whether some of the names mean folds."""
    return any(name.startswith(_FOLD) for name in names)


def chosen_folds(
    names: Sequence[str], folds: Sequence[Value], model: ir.Model, whose: str = MODEL
) -> frozenset[str] | None:
    """The ids of the folds that are named; None where none is, and all are made."""
    if not names_folds(names):
        return None
    known: dict[str, Choice] = {}
    for fold in folds:
        values = (*known[fold.choice].values, fold) if fold.choice in known else (fold,)
        known[fold.choice] = Choice(fold.choice, fold.kind, values)
    return _looked_up([name for name in names if name.startswith(_FOLD)], known, model, whose)


def canonical_with(
    names: Sequence[str],
    model: ir.Model,
    passes: Sequence[Pass],
    target: Target,
    listeners: Listeners = (),
) -> Canonical:
    """The model with all folds, or with those alone that are named; the others are among `skipped`."""
    if not names_folds(names):
        return canonicalise(model, passes, target, None, listeners)
    every = canonicalise(model, passes, target).folds
    ids = chosen_folds(names, every, model) or frozenset()
    wanted = frozenset((fold.choice, fold.name) for fold in every if fold.choice in ids)
    made = canonicalise(model, passes, target, wanted, listeners)
    if missing := ids - {fold.choice for fold in made.folds}:
        raise BadInput(f"{OPTION} {min(missing)} is made behind other folds only: name those, too")
    return replace(made, skipped=(*made.skipped, *_skipped_folds(made.folds, every, model)))


def chosen_choices(
    names: Sequence[str], choices: Sequence[Choice], model: ir.Model, whose: str = MODEL
) -> frozenset[str]:
    """The ids of the choices that are named, folds left out.

    model: whose nodes have names; whose: choices they are, in words. Raises BadInput for a name that means
    none or several of them.
    """
    rest = [name for name in names if not name.startswith(_FOLD)]
    return _looked_up(rest, {choice.id: choice for choice in choices}, model, whose)


def _looked_up(
    names: Sequence[str], known: Mapping[str, Choice], model: ir.Model, whose: str
) -> frozenset[str]:
    def wrong(name: str, what: str) -> BadInput:
        return BadInput(f"{OPTION} {shorten(name)} {what}")

    book = Book(wrong, known, node_names(model), whose=whose)
    return frozenset(book.choice(name, name).id for name in names)


def only(
    names: Sequence[str], orders: Orders, offered: Sequence[Choice], risks: frozenset[Risk], model: ir.Model
) -> Orders:
    """The orders of a run that decides about these choices alone.

    offered: with values of every risk; risks: those that the run may use. Raises BadInput for a name that
    means none or several of them, a choice without a value that may be used, and a pin on one that is
    left out.
    """
    if not names:
        return orders
    named = chosen_choices(names, offered, model)
    for choice in offered:
        if choice.id in named and not any(value.risk in risks for value in choice.values):
            need = (
                "calibration data (--calib)" if Risk.LOSSY in {v.risk for v in choice.values} else "training"
            )
            raise BadInput(f"{OPTION} {choice.id}: all its values need {need}")
    for id, (_, key) in {**orders.pins, **orders.training}.items():
        if id not in named:
            raise orders.hints.wrong(key, f"pins {id}, which {OPTION} leaves out: name it there, too")
    gone = {(c.id, value.name): LEFT_OUT for c in offered if c.id not in named for value in c.values}
    wishes = tuple((choice, name) for choice, name in orders.wishes if choice in named)
    return replace(orders, removed={**orders.removed, **gone}, wishes=wishes)


def _skipped_folds(made: Sequence[Value], every: Sequence[Value], model: ir.Model) -> list[Skip]:
    labels = {place_of(node): label(node) for node in model.graph if has_place(node)}
    done = {(fold.choice, fold.name) for fold in made}
    return [
        Skip(fold.pass_name, next((labels[p] for p in fold.places if p in labels), fold.choice), LEFT_OUT)
        for fold in every
        if (fold.choice, fold.name) not in done
    ]
