"""A whole bisection: opens the plan as a replay does, picks the check, searches, shrinks, writes the case."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from hwopt.choice import Parameter, Value
from hwopt.debug.bisect.checks import Finding
from hwopt.debug.bisect.judging import judging_of
from hwopt.debug.bisect.material import Material
from hwopt.debug.bisect.outcome import Ground, shrunk_case
from hwopt.debug.bisect.search import Bisection, Checked, Outcome, Prober, bisect
from hwopt.debug.bisect.stepwise import Stepwise, opened_untried
from hwopt.debug.shrink.case import Case
from hwopt.nodes import label
from hwopt.places import has_place, place_of
from hwopt.steps import Found
from hwopt.target import Target
from hwopt.trace import Listeners, stage
from hwopt.work import ModelLike, Work


@dataclass(frozen=True)
class StepInfo:
    """A step, for people. nodes: labels of the nodes that it touches, as far as the input has them."""

    step: int
    pass_name: str
    choice: str
    value: str
    risk: str
    nodes: tuple[str, ...]
    parameters: Mapping[str, Parameter]


@dataclass(frozen=True)
class Hunt:
    """What `bisect_plan` found. culprit, partners, needs: the steps of the bisection, described.

    case: what was written, None where nothing was.
    """

    bisection: Bisection
    culprit: StepInfo | None = None
    partners: tuple[StepInfo, ...] = ()
    needs: tuple[StepInfo, ...] = ()
    case: Case | None = None
    notes: tuple[str, ...] = ()


def bisect_plan(
    model: ModelLike,
    material: Material,
    *,
    output: Path | None = None,
    most: int | None = None,
    force: bool = False,
    command: str = "",
    tell: Callable[[Checked], None] = lambda checked: None,
    listeners: Listeners = (),
) -> Hunt:
    """Finds the first step of a plan that breaks a check, and what it takes to break it.

    output: the folder for the smallest failing model; None: nothing is written. most: checks that may be
    made. command: the line that asked for all this. tell: hears of each check. Raises BadInput for material
    that does not belong to the plan, and where no check was given that can judge it.
    """
    with stage(listeners, "load"):
        work = material.opened(model)
    with stage(listeners, "find"):
        steps, found = opened_untried(work, listeners)
    with stage(listeners, "bisect"):
        judging = judging_of(work, steps, found, material.wanted, listeners)
        prober = Prober(judging.steps, judging.judge, tell, judging.always, most)
        bisection = bisect(prober, judging.good, judging.sure)
    hunt = _described(work, found, steps, bisection, judging.notes)
    if output is None or bisection.outcome != Outcome.FOUND:
        return hunt
    with stage(listeners, "shrink"):
        named = "" if isinstance(material.target, Target) else str(material.target)
        ground = Ground(work, judging, bisection, named, material.told, material.shapes_told, command)
        again = partial(_found_again, material, bisection.finding)
        case, notes = shrunk_case(output, ground, again, force, listeners)
    return replace(hunt, case=case, notes=(*hunt.notes, *notes))


def _found_again(material: Material, finding: Finding, model: Path, plan: Path) -> bool:
    """Whether a bisection of another model with another plan ends with the same kind of failure."""
    if not material.lasts:
        return False
    found = bisect_plan(model, material.about(model, plan)).bisection
    return found.outcome == Outcome.FOUND and found.finding.kind == finding.kind


def _described(
    work: Work, found: Found, steps: Stepwise, bisection: Bisection, notes: tuple[str, ...]
) -> Hunt:
    """What was found, with its steps described."""
    notes = (*notes, *bisection.notes)
    if bisection.outcome != Outcome.FOUND:
        return Hunt(bisection, notes=notes)
    info = partial(step_info, work, found, steps)
    partners, needs = map(info, bisection.partners), map(info, bisection.needs)
    return Hunt(bisection, info(bisection.culprit), tuple(partners), tuple(needs), notes=notes)


def step_info(work: Work, found: Found, steps: Stepwise, number: int) -> StepInfo:
    """A step of the plan, described. number: from 1."""
    value = steps.value(number)
    return StepInfo(
        number, value.pass_name, value.choice, value.name, value.risk.value, _touched(work, found, value),
        dict(value.parameters),
    )  # fmt: skip


def _touched(work: Work, found: Found, value: Value) -> tuple[str, ...]:
    """Labels of the nodes at the value's places: in the input, else in the canonical model."""
    names: dict[str, str] = {}
    for model in (found.base, work.model):
        names |= {place_of(node): label(node) for node in model.graph if has_place(node)}
    return tuple(names[place] for place in value.places if place in names)
