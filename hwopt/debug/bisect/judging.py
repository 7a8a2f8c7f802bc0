"""What a bisection goes by: the check that the user wants, and how models of some steps are made for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import onnx_ir as ir

from hwopt.debug.bisect.checks import Check, Finding, NumericCheck
from hwopt.debug.bisect.checks_command import command_check
from hwopt.debug.bisect.checks_data import DropCheck, Fitter
from hwopt.debug.bisect.material import Wanted
from hwopt.debug.bisect.search import Steps
from hwopt.debug.bisect.stepwise import Stepwise
from hwopt.debug.compare.data import given_inputs
from hwopt.debug.compare.inputs import Inputs, generated_inputs
from hwopt.debug.compare.tolerance import Tolerance
from hwopt.errors import BadInput
from hwopt.repair.reference import Reference
from hwopt.repair.saliency import annotate
from hwopt.runtime import Feeds, Session
from hwopt.steps import Found, open_data
from hwopt.trace import Listeners
from hwopt.wording import said
from hwopt.work import Work

_NO_CHECK = (
    "the plan has LOSSY steps, whose outputs differ by design: say what breaks it with --max-drop X, "
    "--max-divergence X, --tolerance X or --check 'COMMAND {model}'"
)


@dataclass(frozen=True)
class Judging:
    """How sets of steps are judged.

    always: steps that must be there wherever a later one is. good: so many steps from the beginning are
    good; sure: that is known, not only hoped. made: the model of some steps. check: of a model, None where
    only whole plans can be judged. feeds: inputs on which a model shows what is wrong with it.
    """

    steps: Stepwise
    judge: Callable[[Steps], Finding]
    made: Callable[[Steps], ir.Model]
    check: Check | None
    feeds: Callable[[ir.Model], Feeds]
    always: Steps = frozenset()
    good: int = 0
    sure: bool = True
    notes: tuple[str, ...] = ()


def judging_of(work: Work, steps: Stepwise, found: Found, wanted: Wanted, listeners: Listeners) -> Judging:
    """What the user asks for. Raises BadInput where nothing that was asked for can judge the plan."""
    notes = tuple(_unseen(work))
    if _limited(work):
        return replace(_by_accuracy(work, steps, found, wanted, listeners), notes=notes)
    if steps.lossy and wanted.command is None and wanted.tolerance is None:
        raise BadInput(_NO_CHECK)
    made = _fitter(work, steps, found, listeners) if steps.lossy else steps.structure
    by_models = _by_numbers if wanted.command is None else _by_command
    judging = by_models(work, steps, made, wanted)
    return replace(judging, always=_folds(steps) if steps.lossy else frozenset(), notes=notes)


def _limited(work: Work) -> bool:
    return work.settings.max_drop is not None or work.settings.max_divergence is not None


def _folds(steps: Stepwise) -> Steps:
    return frozenset(range(1, steps.folds + 1))


def _fitter(work: Work, steps: Stepwise, found: Found, listeners: Listeners) -> Fitter:
    """Makes LOSSY models as they would be delivered; writes what the data say into the canonical model."""
    assert work.calibration is not None, "checked when the plan was opened"
    reference = Reference(found.base, work.calibration)
    annotate(reference, work.settings.seed, work.settings.ranking)
    return Fitter(steps, reference, work.settings.seed, listeners)


def _by_accuracy(work: Work, steps: Stepwise, found: Found, wanted: Wanted, listeners: Listeners) -> Judging:
    """The limit on accuracy, cross-fitted against the canonical model, whose numbers are looked at first."""
    if work.calibration is None or work.limit is None:
        raise BadInput("--max-drop and --max-divergence need calibration data: give --calib")
    by_numbers = _by_numbers(work, steps, steps.structure, wanted)
    if by_numbers.judge(_folds(steps)).bad:
        few = replace(steps, values=steps.values[: steps.folds], planned=len(steps))
        return replace(by_numbers, steps=few)
    data = open_data(work, found, listeners)
    assert data is not None, "there are calibration data and a limit"
    drop = DropCheck(steps, found.choices, data.harm, work.limit)
    fit = Fitter(steps, data.reference, work.settings.seed, listeners)
    return Judging(steps, drop, fit, None, by_numbers.feeds, _folds(steps), good=steps.folds)


def _by_numbers(work: Work, steps: Stepwise, made: Callable[[Steps], ir.Model], wanted: Wanted) -> Judging:
    """The built-in comparison with the input, which is good by definition."""
    check = NumericCheck(work.model, _inputs(work, wanted), Tolerance(wanted.tolerance))
    return Judging(
        steps, lambda chosen: check(made(chosen)), made, check, lambda model: check.looked_at(model)[1]
    )


def _by_command(work: Work, steps: Stepwise, made: Callable[[Steps], ir.Model], wanted: Wanted) -> Judging:
    """A command, of which nobody knows whether it likes the input."""
    assert wanted.command is not None
    check = command_check(wanted.command, wanted.timeout_s, wanted.said)
    return Judging(
        steps, lambda chosen: check(made(chosen)), made, check, lambda model: _first_feeds(work, wanted),
        sure=False,
    )  # fmt: skip


def _inputs(work: Work, wanted: Wanted) -> list[Inputs]:
    if wanted.inputs is not None:
        return given_inputs(wanted.inputs, work.model)
    try:
        session = Session(work.model)
    except Exception as error:  # whatever ONNX Runtime throws
        what = f"ONNX Runtime cannot load the model, so no numbers can be compared: {said(error)}"
        raise BadInput(f"{what}; give a --check") from None
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
    if work.settings.quantize is not None and not _limited(work):
        notes.append(f"models are checked before they are written in {work.settings.quantize}")
    return notes
