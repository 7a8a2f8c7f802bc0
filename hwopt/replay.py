"""Replays a plan: checks what it was made for, and finds its values again."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec

from hwopt.choice import KEEP, Choice, Parameter, Risk, Value
from hwopt.errors import BadInput
from hwopt.files.untrusted import shorten
from hwopt.plan import Plan, Step
from hwopt.settings import PRECISIONS, RANKINGS, Settings
from hwopt.target import Target
from hwopt.wording import guess, unknown


def check_plan(plan: Plan, model_sha256: str, target: Target, fingerprint: str | None, lossy: bool) -> None:
    """Raises BadInput where the plan was made for another model, target or calibration data."""
    if plan.model_sha256 != model_sha256:
        raise BadInput(
            f"the plan is for another file: a model with SHA-256 {plan.model_sha256[:12]}. If this is the "
            "same network exported anew, its ids still hold: write "
            f'"model_sha256": "{model_sha256}" into the plan, or give its steps as [pin] in a --hints file'
        )
    if plan.target != target.name:
        raise BadInput(
            f"the plan is for target {shorten(plan.target)}, this run for {target.name}: name that "
            "target, or give the plan's steps as [pin] in a --hints file"
        )
    if plan.target_config != target.config_hash:
        raise BadInput(
            f"the plan is for target {plan.target} as it was then: hardware, fusion or oracle differ now; "
            "optimise again"
        )
    pin = None if target.cost_model is None else target.cost_model.sha256
    if plan.cost_model_sha256 != pin:
        raise BadInput(
            "the plan was priced by another cost model of this target: optimise again, or restore it"
        )
    if lossy and fingerprint is None:
        raise BadInput("the plan has LOSSY steps: give the calibration data that it was made with (--calib)")
    if lossy and plan.calibration != fingerprint:
        raise BadInput(
            "the plan has LOSSY steps that were made with other calibration data than --calib gives"
        )


LONGEST_TUNING = 1_000_000  # gradient steps that a plan may ask for: days
_OPTIONS: Mapping[str, Callable[[Parameter], bool]] = {  # settings that decide the result, beside the steps
    "quantize": lambda made: made in PRECISIONS,
    "ranking": lambda made: made in RANKINGS,
    "tune": lambda made: type(made) is int and 0 <= made <= LONGEST_TUNING,
}


def plan_options(chosen: Settings, tuned: int) -> dict[str, Parameter]:
    """What a plan must record beside its steps. tuned: gradient steps that were really made."""
    made = {name: getattr(chosen, name) for name in _OPTIONS} | {"tune": tuned}
    return {name: value for name, value in made.items() if value != getattr(Settings(), name)}


def with_options(chosen: Settings, plan: Plan) -> Settings:
    """The settings that the plan was made with.

    Raises BadInput where the user asks for others, or where the plan names what is no such setting.
    """
    for name in plan.options.keys() - _OPTIONS.keys():
        raise BadInput(f"the plan's option {unknown('setting', shorten(name), _OPTIONS)}")
    for name in _OPTIONS:
        default = getattr(Settings(), name)
        made, asked = plan.options.get(name, default), getattr(chosen, name)
        if asked not in (default, made):
            raise BadInput(f"--{name} {asked}: the plan was made with {name} {made}: leave the option out")
        if made != default and not _OPTIONS[name](made):
            raise BadInput(f"the plan's option '{name}' cannot be {shorten(repr(made))}")
        chosen = replace(chosen, **{name: made})
    if chosen.tune and find_spec("torch") is None:
        raise BadInput("the plan takes gradient steps with PyTorch: pip install 'hwopt[train]'")
    return chosen


def planned_folds(plan: Plan) -> frozenset[tuple[str, str]]:
    """Every step as (choice, value): canonicalising takes only those of its folds that are among them."""
    return frozenset((step.choice, step.value) for step in plan.steps)


def planned_assignment(plan: Plan, folds: Sequence[Value], choices: Sequence[Choice]) -> Mapping[str, str]:
    """The plan's values among the choices that were found; a step whose value is *keep* decides nothing.

    choices: with values of every risk. Raises BadInput naming the first step that does not exist, with
    the nearest name.
    """
    done = {(fold.choice, fold.name) for fold in folds}
    known = {choice.id: choice for choice in choices}
    assignment: dict[str, str] = {}
    for number, step in enumerate(plan.steps, start=1):
        where = f"step {number} of the plan"
        if (step.choice, step.value) in done:
            continue
        if step.choice not in known:
            raise BadInput(f"{where}: {_unknown_choice(step, folds, known)}")
        if step.choice in assignment:
            raise BadInput(f"{where} decides choice '{step.choice}' a second time")
        assignment[step.choice] = _value_of(step, known[step.choice], where)
    return {choice: name for choice, name in assignment.items() if name != KEEP}


def _value_of(step: Step, choice: Choice, where: str) -> str:
    """The step's value. Raises BadInput where the choice does not offer it, or only training can mend it."""
    names = [KEEP, *(value.name for value in choice.values)]
    if step.value not in names:
        raise BadInput(
            f"{where}: '{step.choice}' offers {', '.join(names)}, not '{step.value}'; "
            f"{guess(step.value, names)}".rstrip("; ")
        )
    value = choice.value(step.value)
    if value is not None and value.risk == Risk.RETRAIN:
        raise BadInput(f"{where}: only training mends {step.choice} = {step.value}: choose a milder value")
    return step.value


def _unknown_choice(step: Step, folds: Sequence[Value], known: Mapping[str, Choice]) -> str:
    names = [*known, *(fold.choice for fold in folds)]
    close = difflib.get_close_matches(step.choice, names, n=1, cutoff=0.5)
    nearest = f"; the nearest is '{close[0]}'" if close else ""
    offered = next((fold.name for fold in folds if fold.choice == step.choice), None)
    if offered is not None:
        return f"'{step.choice}' offers {KEEP}, {offered}, not '{step.value}'"
    return (
        f"the model has no choice '{step.choice}'{nearest}; it may be one of a model after folds that the "
        "plan does not make, or of a pass that is left out"
    )


def is_lossy(assignment: Mapping[str, str], choices: Sequence[Choice]) -> bool:
    """Whether any value of the assignment needs repair."""
    return any(
        value is not None and value.risk != Risk.EXACT
        for choice in choices
        if choice.id in assignment
        for value in [choice.value(assignment[choice.id])]
    )
