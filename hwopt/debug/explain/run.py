"""A run up to its decision, with nothing written: what `hwopt explain` reads its answers off."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from hwopt.choice import Choice, Kind, Risk, Value
from hwopt.errors import BudgetNotMet
from hwopt.find import find_choices
from hwopt.held import Checked
from hwopt.judge import better, unchanged, unproved
from hwopt.report.decided import Decided, damage_allowed
from hwopt.scope import Problem
from hwopt.search.curate import curate
from hwopt.settle import Settled
from hwopt.steps import Found, choose, find, price_choices
from hwopt.trace import Listeners, stage
from hwopt.verify import expected_of, runs_whole
from hwopt.work import Work


@dataclass(frozen=True)
class Run:
    """One run's material and its decision.

    offered: every choice with the values of every risk, those that the run could not use among them; folds
    come first, each as a choice of its own. unproved: why the input would come back unproved, "" where that
    is not so.
    """

    work: Work
    found: Found
    offered: Mapping[str, Choice]
    decided: Decided
    unproved: str = ""


def decide_only(work: Work, listeners: Listeners = ()) -> Run:
    """Finds, prices and chooses as `optimize` does. Limits that cannot be met are an answer, not an error."""
    with stage(listeners, "find"):
        found = find(work, listeners)
        later, _ = find_choices(found.base, work.passes, work.target, frozenset(Risk))
    with stage(listeners, "price"):
        problem, data = price_choices(work, found, listeners)
    offered = {choice.id: choice for choice in (*_folds(found.folds), *later)}
    with stage(listeners, "search"):
        try:
            settled, doubt = _held(work, found, choose(work, found, problem, data, listeners))
        except BudgetNotMet as error:
            return Run(work, found, offered, _refused(work, found, problem, error))
    return Run(work, found, offered, _settled(work, found, problem, settled), doubt)


def _held(work: Work, found: Found, settled: Settled) -> tuple[Settled, str]:
    """What comes back of a plan, and why it is the input where nothing can be proved.

    Raises BudgetNotMet where the input that comes back breaks a limit.
    """
    if not better(work, settled):
        return unchanged(work, settled, None if work.settings.quantize is None else found.base), ""
    doubt = "" if settled.model is work.model else _doubt(work)
    return (unproved(work, settled, doubt), doubt) if doubt else (settled, "")


def _doubt(work: Work) -> str:
    """Why no result could be held against the input, by runs of the input alone; "" where one could.

    Above what runs whole it is not asked: there only a run of both, stretch by stretch, would tell.
    """
    if work.calibration is not None or work.settings.allow_unverified or not runs_whole(work.model):
        return ""
    outputs = expected_of(work.model, work.input_shapes, work.settings.seed)
    return outputs if isinstance(outputs, str) else ""


def _folds(folds: Iterable[Value]) -> list[Choice]:
    """Folds as choices; those of one id together."""
    gathered: dict[str, list[Value]] = {}
    for fold in folds:
        gathered.setdefault(fold.choice, []).append(fold)
    return [Choice(id, Kind.CANONICAL, tuple(values)) for id, values in gathered.items()]


def _open(work: Work, found: Found, problem: Problem) -> Decided:
    """Before anything was decided."""
    return Decided(
        model=work.model,
        folds=found.folds,
        orders=found.orders,
        problem=problem,
        objective=work.settings.objective,
        assignment=problem.start,
        accuracy=work.limit,
        damage_allowed=damage_allowed(None, work.limit),
    )


def _settled(work: Work, found: Found, problem: Problem, settled: Settled) -> Decided:
    return replace(
        _open(work, found, problem),
        assignment=settled.decision.assignment,
        limits=settled.limits,
        dropped=settled.decision.dropped,
        unchanged=settled.model is work.model,
        unproved=settled.unproved,
        damage_allowed=damage_allowed(settled.decision, work.limit),
    )


def _refused(work: Work, found: Found, problem: Problem, error: BudgetNotMet) -> Decided:
    """The closest plan in the place of the one that there is not; what the error says of it."""
    before = replace(_open(work, found, problem), refused=str(error), dropped=curate(problem).dropped)
    match error.details.get("closest"):
        case {"steps": dict(steps), "limits": list(limits)}:
            checked = tuple(Checked(f["name"], f["limit"], f["value"], f["source"]) for f in limits)
            return replace(before, assignment={**problem.start, **steps}, limits=checked)
    return before
