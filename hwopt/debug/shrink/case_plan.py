"""A plan for a piece of a model: steps that were found in the whole, as the passes find them in the piece.

Ids of choices rest on structure, and the piece has another one. A step is found again by its pass, its
value's name and the nodes it is about, which keep the names of their outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from hwopt.choice import Risk, Stage, Value
from hwopt.debug.overheard import Overheard
from hwopt.debug.shrink.search import Fails
from hwopt.errors import HwoptError, PassFailed
from hwopt.find import canonicalise, find_choices, with_places
from hwopt.places import has_place, place_of
from hwopt.plan import Plan, steps_of
from hwopt.runtime import Feeds
from hwopt.work import Work


def found_anew(fails: Fails, work: Work) -> Fails:
    """As `fails`, with the steps as the passes find them in the piece, as if it had come from a file.

    work: the run whose source, passes and target these are. False where a step is not found.
    """

    def fails_anew(piece: ir.Model, values: Sequence[Value], feeds: Feeds) -> bool:
        fresh = with_places(piece)
        steps = steps_in(fresh, values, work)
        return steps is not None and fails(fresh, steps, feeds)

    return fails_anew


def plan_in(piece: ir.Model, values: Sequence[Value], work: Work, sha256: str) -> Plan | None:
    """The plan that makes the steps in the piece; None where one of them is not found there.

    sha256: of the piece's file.
    """
    found = steps_in(piece, values, work)
    if found is None:
        return None
    pin = work.target.cost_model
    data = work.calibration if any(value.risk != Risk.EXACT for value in found) else None
    return Plan(
        model_sha256=sha256,
        target=work.target.name,
        target_config=work.target.config_hash,
        cost_model_sha256=None if pin is None else pin.sha256,
        calibration=None if data is None else data.fingerprint,
        seed=work.settings.seed,
        steps=steps_of(found),
    )


def steps_in(piece: ir.Model, values: Sequence[Value], work: Work) -> list[Value] | None:
    """The piece's own values for these steps, folds first; None where one of them is not found there.

    piece: with places of its own. values: steps of the whole model, found in `work`.
    """
    names = _Names(_names(work.model), _names(piece))
    folds = [value for value in values if value.stage == Stage.CANONICALISE]
    rest = [value for value in values if value.stage != Stage.CANONICALISE]
    try:
        found, base = _folds_in(piece, folds, names, work)
        if len(found) < len(folds) or not rest:
            return found if len(found) == len(folds) else None
        wanted = {value.pass_name for value in rest}
        passes = [item for item in work.passes if item.name in wanted]
        offered, _ = find_choices(base, passes, work.target, frozenset(Risk))
    except HwoptError:
        return None
    later = names.matched(rest, [value for choice in offered for value in choice.values])
    return [*found, *later] if len(later) == len(rest) else None


def _folds_in(
    piece: ir.Model, folds: Sequence[Value], names: _Names, work: Work
) -> tuple[list[Value], ir.Model]:
    """The piece's folds that are these, and the piece with them made; one may make the next possible."""
    found: list[Value] = []
    wanted = {value.pass_name for value in folds}
    while True:
        seen = [Overheard(item) for item in work.passes if item.name in wanted]
        only = frozenset((value.choice, value.name) for value in found)
        try:
            base = canonicalise(piece, seen, work.target, only).model
        except PassFailed:
            return found, piece  # the last of them is the one that breaks down
        more = names.matched(folds, [value for item in seen for value in item.offered.values()])
        if len(more) <= len(found):
            return found, base
        found = more


def _names(model: ir.Model) -> dict[str, str]:
    """By place, what a node is called in every model that it is part of: its first output's name."""
    return {place_of(node): str(node.outputs[0].name) for node in model.graph if has_place(node)}


class _Names:
    """Tells which value of a piece is a value of the whole. whole, piece: names of nodes by place."""

    def __init__(self, whole: Mapping[str, str], piece: Mapping[str, str]) -> None:
        self._whole, self._piece = whole, piece
        self._shared = frozenset(piece.values())

    def matched(self, wanted: Sequence[Value], offered: Sequence[Value]) -> list[Value]:
        """The offered value for each that is wanted, without those that have none; none is taken twice."""
        found: dict[tuple[str, str], Value] = {}
        for value in wanted:
            alike = [
                one for one in offered
                if (one.pass_name, one.name) == (value.pass_name, value.name)
                and (one.choice, one.name) not in found
            ]  # fmt: skip
            best = max(alike, key=lambda one: self._likeness(value, one), default=None)
            if best is not None and self._likeness(value, best) > 0:
                found[best.choice, best.name] = best
        return list(found.values())

    def _likeness(self, whole: Value, piece: Value) -> float:
        """The share of nodes that both values are about, among those that either is and the piece has."""
        one = {self._whole[place] for place in whole.places if place in self._whole} & self._shared
        two = {self._piece[place] for place in piece.places if place in self._piece}
        return len(one & two) / len(one | two) if one | two else 0.0
