"""`--rewrite-limit` and `--only-choice`: a plan of which only some steps are made.

What is made was chosen by somebody, so the run goes on as the replay of a shorter plan: it need not pay,
limits that were asked for hold, and its damage is measured anew. Steps are numbered as they are told of:
folds first, then values in the order in which they compose.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from hwopt.choice import KEEP, Choice, Risk, Value
from hwopt.find import canonicalise, find_choices
from hwopt.plan import Plan, steps_of
from hwopt.replay import check_plan, planned_assignment, planned_folds
from hwopt.rewrite import chosen_values
from hwopt.selection import OPTION, PLAN, chosen_choices, chosen_folds
from hwopt.trace import (
    REWRITING,
    Event,
    Listener,
    Listeners,
    ModelMade,
    PassDone,
    PassStarted,
    RepairFitted,
    RewriteApplied,
)
from hwopt.work import Work


def replaying(work: Work, plan: Plan) -> Work:
    """The same run, set to carry out a plan that it found itself."""
    tuned = plan.options.get("tune", 0)
    assert isinstance(tuned, int)
    return replace(work, replayed=plan, settings=replace(work.settings, tune=tuned))


def shortened(work: Work) -> tuple[Work, tuple[str, ...]]:
    """The run with the steps of its plan alone that were asked for, and what a reader must know of that.

    None of the steps is tried: what comes behind the last one may be broken. Raises BadInput where the
    plan was made for another model or target, or names what there is not.
    """
    notes: list[str] = []
    if work.replayed is not None and work.settings.only_choice:
        steps = _selected(work, work.replayed)
        notes.append(f"{len(steps)} of {_count(work.replayed)} steps were made ({OPTION})")
        work = _with_steps(work, steps)
    limit = work.settings.rewrite_limit
    if work.replayed is not None and limit is not None:
        count, steps = _count(work.replayed), _first(work, work.replayed, limit)
        notes.append(f"{len(steps)} of {count} steps were made (--rewrite-limit {limit})")
        work = _with_steps(work, steps)
    return work, tuple(notes)


def _with_steps(work: Work, values: Sequence[Value]) -> Work:
    assert work.replayed is not None
    return replace(work, replayed=replace(work.replayed, steps=steps_of(values), output_sha256=None))


def _count(plan: Plan) -> int:
    return sum(step.value != KEEP for step in plan.steps)


def _first(work: Work, plan: Plan, most: int) -> Sequence[Value]:
    """The first steps. Where they are folds alone, nothing is asked about the choices behind them."""
    folds, choices = _opened(work, plan, most)
    if len(folds) == most:
        return folds
    return [*folds, *_values(plan, folds, choices)][:most]


def _selected(work: Work, plan: Plan) -> Sequence[Value]:
    """The steps of the choices that are named, and the folds."""
    names = work.settings.only_choice
    folds, choices = _opened(work, plan)
    values = _values(plan, folds, choices)
    planned = [choice for choice in choices if choice.id in {value.choice for value in values}]
    wanted = chosen_folds(names, folds, work.model, PLAN)
    named = chosen_choices(names, planned, work.model, PLAN)
    return [
        *(fold for fold in folds if wanted is None or fold.choice in wanted),
        *(value for value in values if value.choice in named),
    ]


def _opened(work: Work, plan: Plan, most: int | None = None) -> tuple[Sequence[Value], Sequence[Choice]]:
    """The folds that the plan names, and all that may be decided behind them; () where none is asked for."""
    fingerprint = None if work.calibration is None else work.calibration.fingerprint
    check_plan(plan, work.sha256, work.target, fingerprint, lossy=False)
    canonical = canonicalise(work.model, work.passes, work.target, planned_folds(plan), most=most)
    if most is not None and len(canonical.folds) == most:
        return canonical.folds, ()
    return canonical.folds, find_choices(canonical.model, work.passes, work.target, frozenset(Risk))[0]


def _values(plan: Plan, folds: Sequence[Value], choices: Sequence[Choice]) -> list[Value]:
    return chosen_values(choices, planned_assignment(plan, folds, choices))


@dataclass(frozen=True)
class Unmade:
    """A listener of a search whose plan is not the result: passes on what is not about steps being made."""

    listener: Listener

    def __call__(self, event: Event, /) -> None:
        step = isinstance(event, RewriteApplied | ModelMade | RepairFitted)
        if not step and not (isinstance(event, PassStarted | PassDone) and event.phase == REWRITING):
            self.listener(event)


def unmade(listeners: Iterable[Listener]) -> Listeners:
    """The listeners, as a search hears them of whose plan only some steps will be made."""
    return tuple(Unmade(listener) for listener in listeners)
