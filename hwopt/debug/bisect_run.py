"""A whole bisection: opens the plan as a replay does, picks the check, searches, shrinks, writes the case."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Unpack

from hwopt.choice import Parameter, Value
from hwopt.debug.bisect import Bisection, Checked, Outcome, Prober, bisect
from hwopt.debug.bisect_case import Ground, shrunk_case
from hwopt.debug.bisect_judging import Wanted, judging_of, require_one_check
from hwopt.debug.case import Case
from hwopt.debug.checks import Finding
from hwopt.debug.stepwise import Stepwise, opened_untried
from hwopt.errors import BadInput
from hwopt.ir import load_model
from hwopt.nodes import label
from hwopt.places import has_place, place_of
from hwopt.plan import read_plan
from hwopt.settings import Options, settings
from hwopt.steps import Found
from hwopt.target import Target
from hwopt.trace import Listeners, stage
from hwopt.work import CalibrationLike, ModelLike, Work, open_work


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
    *,
    target: str | Path | Target,
    wanted: Wanted,
    output: Path | None = None,
    calib: CalibrationLike | None = None,
    labels: str | Path | None = None,
    preprocess: str | Path | None = None,
    most: int | None = None,
    force: bool = False,
    command: str = "",
    tell: Callable[[Checked], None] = lambda checked: None,
    listeners: Listeners = (),
    **options: Unpack[Options],
) -> Hunt:
    """Finds the first step of a plan that breaks a check, and what it takes to break it.

    options: as for a replay; `plan` is one of them. output: the folder for the smallest failing model; None:
    nothing is written. most: checks that may be made. command: the line that asked for all this. tell: hears
    of each check. Raises BadInput for material that does not belong to the plan, and where no check was
    given that can judge it.
    """
    chosen = settings(**options)
    if chosen.plan is None:
        raise BadInput("--plan FILE: give the plan whose steps are to be looked at")
    if "seed" not in options:
        chosen = replace(chosen, seed=read_plan(chosen.plan).seed)
    require_one_check(wanted, chosen.max_drop is not None or chosen.max_divergence is not None)
    with stage(listeners, "load"):
        work = open_work(model, target, chosen, calib, labels, preprocess)
    with stage(listeners, "find"):
        steps, found = opened_untried(work, listeners)
    with stage(listeners, "bisect"):
        judging = judging_of(work, steps, found, wanted, listeners)
        prober = Prober(judging.steps, judging.judge, tell, judging.always, most)
        bisection = bisect(prober, judging.good, judging.sure)
    notes = (*judging.notes, *bisection.notes)
    if bisection.outcome != Outcome.FOUND:
        return Hunt(bisection, notes=notes)
    info = partial(step_info, work, found, steps)
    hunt = Hunt(
        bisection,
        info(bisection.culprit),
        tuple(map(info, bisection.partners)),
        tuple(map(info, bisection.needs)),
        notes=notes,
    )
    if output is None:
        return hunt
    again = partial(_found_again, wanted, options, calib, labels, preprocess, target, bisection.finding)
    told = _told_anew(wanted, options, calib, labels, preprocess)
    named = "" if isinstance(target, Target) else str(target)
    ground = Ground(
        work, judging.steps, judging.made, judging.check, judging.feeds, again, judging.always, named, told,
        _shapes_told(options), command,
    )  # fmt: skip
    with stage(listeners, "shrink"):
        case, more = shrunk_case(output, bisection, ground, force, listeners)
    return replace(hunt, case=case, notes=(*notes, *more))


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


def _told_anew(
    wanted: Wanted,
    options: Options,
    calib: CalibrationLike | None,
    labels: str | Path | None,
    preprocess: str | Path | None,
) -> tuple[str, ...]:
    """What `hwopt bisect` must be told of the check and its data, to judge another model alike."""
    told: dict[str, object] = {
        "--check": wanted.command,
        "--check-timeout": wanted.timeout_s,
        "--tolerance": wanted.tolerance,
        "--max-drop": options.get("max_drop"),
        "--max-divergence": options.get("max_divergence"),
        "--calib": calib if isinstance(calib, str | Path) else None,
        "--labels": labels,
        "--preprocess": preprocess,
        "--augment": options.get("augment") or None,
        "--metric": options["metric"] if isinstance(options.get("metric"), str) else None,
        "--cost-model": options.get("cost_model"),
    }
    given = [(name, value) for name, value in told.items() if value is not None]
    flags = ("--allow-interface-change",) if options.get("allow_interface_change") else ()
    return (*(text for name, value in given for text in (name, str(value))), *flags)


def _shapes_told(options: Options) -> tuple[str, ...]:
    """The shapes of dynamic inputs, for the command line."""
    shapes = (options.get("input_shapes") or {}).items()
    return tuple(
        t for name, shape in shapes for t in ("--input-shape", f"{name}:{','.join(map(str, shape))}")
    )


def _found_again(
    wanted: Wanted,
    options: Options,
    calib: CalibrationLike | None,
    labels: str | Path | None,
    preprocess: str | Path | None,
    target: str | Path | Target,
    finding: Finding,
    model: Path,
    plan: Path,
) -> bool:
    """Whether a bisection of another model with another plan ends with the same kind of failure."""
    if calib is not None and not isinstance(calib, str | Path):
        return False  # an iterable is used up
    names = {value.name for value in load_model(model).graph.inputs}
    shapes = {name: shape for name, shape in (options.get("input_shapes") or {}).items() if name in names}
    asked: Options = {**options, "plan": plan, "input_shapes": shapes}
    hunt = bisect_plan(
        model, target=target, wanted=replace(wanted, said=lambda text: None), calib=calib, labels=labels,
        preprocess=preprocess, **asked,
    )  # fmt: skip
    return hunt.bisection.outcome == Outcome.FOUND and hunt.bisection.finding.kind == finding.kind
