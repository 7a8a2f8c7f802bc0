"""`--keep-going`: a rewrite that breaks down, or turns out to be wrong, is left out, and the run begins anew.

Anew from looking for rewrites: with that value barred, so the result is the one of a run in which nobody
offered it. What was measured is in the cache, which makes the next round quick. Nothing wrong is delivered on
the way: every round ends with the same checks as a run without this option.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import onnx_ir as ir

from hwopt.choice import Pass, Risk, Skip, Value
from hwopt.debug.faults.incident import Asked, Incident, incident_of
from hwopt.debug.faults.objection import Objections, Wrong, first_wrong, wrong_alone
from hwopt.debug.faults.reproducer import with_folder
from hwopt.errors import BadInput, BudgetNotMet, HwoptError, PassFailed, RewriteFailed, reason_of
from hwopt.nodes import label
from hwopt.partial import SoFar
from hwopt.places import has_place, place_of
from hwopt.rewrite import rewrite
from hwopt.settle import Settled
from hwopt.steps import plan_of
from hwopt.target import Target
from hwopt.trace import CheckFailed, ListenerFailed, Listeners, emit
from hwopt.work import Work

MAX_ROUNDS = 30
MAX_PROBED = 50  # values that are tried for the same fault before the run begins anew
MAX_WRONG = 3  # values of one pass; after that nobody trusts its others

T = TypeVar("T")


@dataclass(frozen=True)
class LeftOut:
    """A rewrite that a run went on without. choice, value: "" where all of the pass was left out.

    node: label of the first node that it is about. folder: what is needed to see it again; "" for none.
    wrong: it did not raise, but the model was none that could be delivered.
    """

    pass_name: str
    choice: str
    value: str
    node: str
    reason: str
    folder: str
    wrong: bool = False

    @property
    def what(self) -> str:
        """The rewrite, for people."""
        if not self.choice:
            return f"pass {self.pass_name}"
        return f"{self.choice} = {self.value} (pass {self.pass_name})"

    @property
    def text(self) -> str:
        """One line for people."""
        where = f"; what is needed to see it again is in {self.folder}" if self.folder else ""
        return f"{self.what} was left out: {' '.join(self.reason.split())}{where}"

    def skip(self) -> Skip:
        """As a row of the report."""
        return Skip(
            self.pass_name, self.node or self.choice or "-", f"left out by --keep-going: {self.reason}"
        )


@dataclass(frozen=True)
class Without(Pass):
    """A pass that does not offer some of its values."""

    inner: Pass
    barred: frozenset[tuple[str, str]]

    def __post_init__(self) -> None:
        for name in ("name", "stage", "risk", "summary", "changes_interface"):
            object.__setattr__(self, name, getattr(self.inner, name))

    def values(self, model: ir.Model, target: Target) -> Iterator[Value | Skip]:
        for item in self.inner.values(model, target):
            if not isinstance(item, Value) or (item.choice, item.name) not in self.barred:
                yield item


def going_on(
    work: Work, asked: Asked, so_far: SoFar, listeners: Listeners, run: Callable[[Work, Sequence[LeftOut]], T]
) -> T:
    """What a run gives; with `--keep-going`, what it gives without the rewrites that break it.

    run: is handed its material and what was left out of it. Raises what it raises, where no rewrite
    can be blamed for that.
    """
    left: tuple[LeftOut, ...] = ()
    for _ in range(MAX_ROUNDS):
        material = without(work, left)
        so_far.begin(material)
        try:
            return run(material, left)
        except (BadInput, BudgetNotMet) as error:
            if not left:
                raise
            text = f"{error} ({'; '.join(one.text for one in left)})"
            raise type(error)(text, error.details) from None
        except Exception as error:
            fresh = blamed(error, asked, so_far, left) if work.settings.keep_going else ()
            if not fresh:
                raise
        for one in fresh:
            emit(listeners, CheckFailed("rewrite", one.what, one.reason))
        left = (*left, *fresh)
    names = ",".join(dict.fromkeys(one.pass_name for one in left))
    raise HwoptError(
        f"{len(left)} rewrites were left out, and there is one more that breaks: try --disable {names}"
    )


def without(work: Work, left: Sequence[LeftOut]) -> Work:
    """The same material with passes that do not offer what was left out, and a plan without it."""
    whole = {one.pass_name for one in left if not one.choice}
    barred = frozenset((one.choice, one.value) for one in left if one.choice)
    passes = tuple(Without(item, barred) for item in work.passes if item.name not in whole)
    plan = work.replayed
    if plan is not None:
        kept = [s for s in plan.steps if s.pass_name not in whole and (s.choice, s.value) not in barred]
        plan = replace(plan, steps=tuple(kept))
    return replace(work, passes=passes, replayed=plan) if left else work


def noted(settled: Settled, left: Sequence[LeftOut]) -> Settled:
    """The result with a note on everything that was left out."""
    for one in left:
        settled = settled.noted(one.text)
    return settled


def blamed(error: Exception, asked: Asked, so_far: SoFar, left: Sequence[LeftOut]) -> tuple[LeftOut, ...]:
    """What to leave out, so that this does not happen again; () where no rewrite can be blamed.

    A folder is written for each that broke the run or is wrong; not for others that are found on the way.
    """
    if isinstance(error, PassFailed | RewriteFailed) and error.pass_name:
        first = _left_out(error, _why(error), incident_of(error, asked, so_far), so_far)
        fresh = (first, *_alike(error, so_far, first))
    elif isinstance(error, ListenerFailed):
        fresh = ()
    else:
        wrong = tuple(_wrong(error, asked, so_far))
        fresh = (*wrong, *_distrusted([*left, *wrong]))
    known = {(one.pass_name, one.choice, one.value) for one in left}
    return tuple(one for one in fresh if (one.pass_name, one.choice, one.value) not in known)


def _why(error: PassFailed | RewriteFailed) -> str:
    if isinstance(error, RewriteFailed):
        return f"it cannot be written: {error}"
    what = error.what.replace(f"{error.choice} = {error.value}", "it") if error.choice else error.what
    return f"the pass {what}: {reason_of(error.__cause__ or error)}"


def _alike(error: PassFailed | RewriteFailed, so_far: SoFar, first: LeftOut) -> Iterator[LeftOut]:
    """Other values of the pass that break down by themselves too: one round for all of them."""
    if not isinstance(error, PassFailed) or not error.choice:
        return
    base = error.model if so_far.found is None else so_far.found.base
    others = [v for v in _offered(error, so_far) if (v.choice, v.name) != (first.choice, first.value)]
    for value in others[:MAX_PROBED]:
        try:
            rewrite(base, [value])
        except PassFailed as again:
            node, why = _node(so_far, value), f"{_why(again)}, as did {first.choice} = {first.value}"
            yield replace(first, choice=value.choice, value=value.name, node=node, reason=why)
        except HwoptError:
            continue  # it does not fit here: no bug


def _offered(error: PassFailed | RewriteFailed, so_far: SoFar) -> list[Value]:
    """What the pass that failed offers; where nothing was found yet, in the model that it failed in."""
    work, found = so_far.work, so_far.found
    if found is not None:
        offered = [*found.folds, *(value for choice in found.choices for value in choice.values)]
        return [value for value in offered if value.pass_name == error.pass_name]
    if work is None or not isinstance(error, PassFailed) or not error.choice:
        return []
    passes = [item for item in work.passes if item.name == error.pass_name]
    return [v for item in passes for v in item.values(error.model, work.target) if isinstance(v, Value)]


def _wrong(cause: Exception, asked: Asked, so_far: SoFar) -> Iterator[LeftOut]:
    """The values of the plan that cannot be in it; where there is none, those that no plan can have."""
    work, found, values = so_far.work, so_far.found, _values(so_far)
    if work is None or found is None:
        return
    objections, none = Objections(work), True
    while wrong := first_wrong(objections, values):
        yield _left_out_as(wrong, cause, asked, so_far)
        values.remove(wrong.culprit)
        none = False
    if none:
        exact = [v for choice in found.choices for v in choice.values if v.risk == Risk.EXACT]
        for wrong in wrong_alone(objections, found.base, found.folds, exact[:MAX_PROBED]):
            yield _left_out_as(wrong, cause, asked, so_far)


def _left_out_as(wrong: Wrong, cause: Exception, asked: Asked, so_far: SoFar) -> LeftOut:
    value, work = wrong.culprit, so_far.work
    assert work is not None, "values were found"
    error = RewriteFailed(f"{value.choice} = {value.name} (pass {value.pass_name}) is wrong: {wrong.reason}")
    error.pass_name, error.choice, error.value = value.pass_name, value.choice, value.name
    error.__cause__ = cause
    plan = plan_of(work, wrong.values, 0)
    incident = Incident(error, asked, so_far.stage, work, plan, wrong.before, wrong.after)
    return replace(_left_out(error, wrong.reason, incident, so_far), wrong=True)


def _values(so_far: SoFar) -> list[Value]:
    """The values of the plan that was carried out."""
    found = so_far.found
    if found is None:
        return []
    offered = [*found.folds, *(value for choice in found.choices for value in choice.values)]
    known = {(value.choice, value.name): value for value in offered}
    names = [(step.choice, step.value) for step in so_far.steps]
    return [known[name] for name in names if name in known]


def _distrusted(left: Sequence[LeftOut]) -> Iterator[LeftOut]:
    """Passes of which too many values were wrong."""
    for name, wrong in Counter(one.pass_name for one in left if one.wrong).items():
        if wrong >= MAX_WRONG:
            yield LeftOut(name, "", "", "", f"{wrong} of its values were wrong", "")


def _left_out(error: PassFailed | RewriteFailed, why: str, incident: Incident, so_far: SoFar) -> LeftOut:
    """What an error is about, with its folder."""
    with_folder(error, incident)
    known = {(value.choice, value.name): value for value in _offered(error, so_far)}
    node = _node(so_far, known.get((error.choice, error.value)))
    return LeftOut(error.pass_name, error.choice, error.value, node, why, str(error.folder or ""))


def _node(so_far: SoFar, value: Value | None) -> str:
    """What a person recognises the place of a value by; "" where it is not known."""
    if so_far.work is None or value is None:
        return ""
    nodes = so_far.work.model.graph
    return next((label(n) for n in nodes if has_place(n) and place_of(n) in value.places), "")
