"""A whole bisection: opens the plan as a replay does, picks the check, searches, shrinks, writes the case."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Unpack

import onnx_ir as ir

from hwopt.choice import Parameter, Value
from hwopt.debug.bisect import Bisection, Checked, Outcome, Prober, Steps, bisect
from hwopt.debug.bisect_case import Ground, shrunk_case
from hwopt.debug.case import Case
from hwopt.debug.checks import Check, Finding, NumericCheck
from hwopt.debug.checks_command import CommandCheck, command_check
from hwopt.debug.checks_data import DropCheck, Fitter
from hwopt.debug.compare_data import given_inputs
from hwopt.debug.compare_inputs import Inputs, generated_inputs
from hwopt.debug.compare_tolerance import Tolerance
from hwopt.debug.stepwise import Stepwise, opened_untried
from hwopt.errors import BadInput
from hwopt.nodes import label
from hwopt.places import has_place, place_of
from hwopt.plan import read_plan
from hwopt.repair.reference import Reference
from hwopt.repair.saliency import annotate
from hwopt.runtime import Feeds, Session
from hwopt.settings import Options, settings
from hwopt.steps import Found, open_data
from hwopt.target import Target
from hwopt.trace import Listeners, stage
from hwopt.work import CalibrationLike, ModelLike, Work, open_work

_NO_CHECK = (
    "the plan has LOSSY steps, whose outputs differ by design: say what breaks it with --max-drop X, "
    "--max-divergence X, --tolerance X or --check 'COMMAND {model}'"
)


@dataclass(frozen=True)
class Wanted:
    """What decides, beside the limits on accuracy in the options; nothing: the comparison of numbers.

    command: with {model} in it; `said` is handed what it prints. inputs: data for the comparison, in the
    place of seeded noise.
    """

    command: str | None = None
    timeout_s: float | None = None
    said: Callable[[str], None] = lambda text: None
    tolerance: float | None = None
    inputs: Path | None = None


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
    nothing is written. most: checks that may be made. tell: hears of each check. command: the line that
    asked for all this. Raises BadInput for
    material that does not belong to the plan, and where no check was given that can judge it.
    """
    chosen = settings(**options)
    if chosen.plan is None:
        raise BadInput("--plan FILE: give the plan whose steps are to be looked at")
    if "seed" not in options:
        chosen = replace(chosen, seed=read_plan(chosen.plan).seed)
    _require_one_check(wanted, chosen.max_drop is not None or chosen.max_divergence is not None)
    with stage(listeners, "load"):
        work = open_work(model, target, chosen, calib, labels, preprocess)
    with stage(listeners, "find"):
        steps, found = opened_untried(work, listeners)
    with stage(listeners, "bisect"):
        judging = _judging(work, steps, found, wanted, listeners)
        prober = Prober(judging.steps, judging.judge, tell, judging.always, most)
        bisection = bisect(prober, judging.sure)
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
    ground = Ground(
        work, judging.steps, judging.made, judging.check, judging.feeds, again,
        "" if isinstance(target, Target) else str(target), _told_anew(wanted, options), command,
    )  # fmt: skip
    with stage(listeners, "shrink"):
        case, more = shrunk_case(output, bisection, ground, force, listeners)
    return replace(hunt, case=case, notes=(*notes, *more))


@dataclass(frozen=True)
class _Judging:
    """How sets of steps are judged.

    sure: the model without steps is good. made: the model of some steps. check: of a model, None where
    only whole plans can be judged. feeds: inputs on which a model shows what is wrong with it.
    """

    steps: Stepwise
    judge: Callable[[Steps], Finding]
    always: Steps
    sure: bool
    made: Callable[[Steps], ir.Model]
    check: Check | None
    feeds: Callable[[ir.Model], Feeds]
    notes: tuple[str, ...] = ()


def _judging(work: Work, steps: Stepwise, found: Found, wanted: Wanted, listeners: Listeners) -> _Judging:
    notes = tuple(_unseen(work))
    folds = frozenset(range(1, steps.folds + 1))
    asked = work.settings.max_drop is not None or work.settings.max_divergence is not None
    if asked and (work.calibration is None or work.limit is None):
        raise BadInput("--max-drop and --max-divergence need calibration data: give --calib")
    if steps.lossy and not asked and wanted.command is None and wanted.tolerance is None:
        raise BadInput(_NO_CHECK)
    if asked:
        numeric = _numeric(work, wanted)
        if steps.base is not None and numeric(steps.base).bad:
            few = replace(steps, values=steps.values[: steps.folds], planned=len(steps))
            return _of_models(work, few, few.structure, numeric, frozenset(), notes)
        data = open_data(work, found, listeners)
        assert data is not None
        drop = DropCheck(steps, found.choices, data.harm, work.limit)
        fit = Fitter(steps, data.reference, work.settings.seed, listeners)
        feeds = _first_feeds(work, wanted)
        return _Judging(steps, drop, folds, True, fit, None, lambda model: feeds, notes)
    made: Callable[[Steps], ir.Model] = steps.structure
    if steps.lossy:
        assert work.calibration is not None, "checked when the plan was opened"
        reference = Reference(found.base, work.calibration)
        annotate(reference, work.settings.seed, work.settings.ranking)
        made = Fitter(steps, reference, work.settings.seed, listeners)
    always = folds if steps.lossy else frozenset[int]()
    if wanted.command is None:
        return _of_models(work, steps, made, _numeric(work, wanted), always, notes)
    command = command_check(wanted.command, wanted.timeout_s, wanted.said)
    return _of_models(work, steps, made, command, always, notes, wanted)


def _of_models(
    work: Work,
    steps: Stepwise,
    made: Callable[[Steps], ir.Model],
    check: NumericCheck | CommandCheck,
    always: Steps,
    notes: tuple[str, ...],
    wanted: Wanted | None = None,
) -> _Judging:
    """Judges sets of steps by the models that they make."""
    if isinstance(check, NumericCheck):
        numeric = check
        sure, feeds = not always, lambda model: numeric.looked_at(model)[1]
    else:
        sure, feeds = False, lambda model: _first_feeds(work, wanted or Wanted())
    return _Judging(steps, lambda chosen: check(made(chosen)), always, sure, made, check, feeds, notes)


def _require_one_check(wanted: Wanted, limited: bool) -> None:
    """Raises BadInput where two things would decide, or an option goes with none of them."""
    given = [
        name
        for name, there in (
            ("--check", wanted.command is not None),
            ("--max-drop or --max-divergence", limited),
            ("--tolerance", wanted.tolerance is not None),
        )
        if there
    ]
    if len(given) > 1:
        raise BadInput(f"{given[0]} and {given[1]}: one check decides; leave one of them out")
    if wanted.timeout_s is not None and wanted.command is None:
        raise BadInput("--check-timeout goes with --check: give a command, or leave it out")


def _numeric(work: Work, wanted: Wanted) -> NumericCheck:
    """The built-in comparison with the input."""
    return NumericCheck(work.model, _inputs(work, wanted), Tolerance(wanted.tolerance))


def _inputs(work: Work, wanted: Wanted) -> list[Inputs]:
    if wanted.inputs is not None:
        return given_inputs(wanted.inputs, work.model)
    try:
        session = Session(work.model)
    except Exception as error:  # whatever ONNX Runtime throws
        text = " ".join(str(error).split())[:200]
        raise BadInput(
            f"ONNX Runtime cannot load the model, so no numbers can be compared: {text}; give a --check"
        ) from None
    return generated_inputs(work.model, session.run, work.input_shapes, work.settings.seed)


def _first_feeds(work: Work, wanted: Wanted) -> Feeds:
    """Inputs for the smallest failing model; none where the model does not run here."""
    try:
        return _inputs(work, wanted)[0].feeds
    except BadInput:
        return {}


def _unseen(work: Work) -> list[str]:
    """What a replay of the plan would do beside its steps, and a bisection does not."""
    notes = []
    if work.settings.tune:
        notes.append("gradient steps (--tune) are no steps of the plan: models are checked without them")
    limited = work.settings.max_drop is not None or work.settings.max_divergence is not None
    if work.settings.quantize is not None and not limited:
        notes.append(f"models are checked before they are written in {work.settings.quantize}")
    return notes


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


def _told_anew(wanted: Wanted, options: Options) -> tuple[str, ...]:
    """What `hwopt bisect` must be told of the check, to judge another model alike."""
    told: list[str] = []
    if wanted.command is not None:
        told += ["--check", wanted.command]
    if wanted.tolerance is not None:
        told += ["--tolerance", f"{wanted.tolerance:g}"]
    if options.get("max_drop") is not None:
        told += ["--max-drop", f"{options['max_drop']:g}"]
    if options.get("max_divergence") is not None:
        told += ["--max-divergence", f"{options['max_divergence']:g}"]
    return tuple(told)


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
    asked: Options = {**options, "plan": plan, "input_shapes": {}}
    if calib is not None and not isinstance(calib, str | Path):
        return False  # an iterable is used up
    hunt = bisect_plan(
        model, target=target, wanted=replace(wanted, said=lambda text: None), calib=calib, labels=labels,
        preprocess=preprocess, **asked,
    )  # fmt: skip
    return hunt.bisection.outcome == Outcome.FOUND and hunt.bisection.finding.kind == finding.kind
