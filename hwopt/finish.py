"""What is done to the plan that was settled on: gradient steps, its accuracy, its precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hwopt.choice import Choice
from hwopt.damage.link import suffered
from hwopt.damage.measure import FLOAT, Damage
from hwopt.decide import Decision, broken
from hwopt.errors import BudgetNotMet
from hwopt.judge import better
from hwopt.provenance import note_made
from hwopt.quantize.write import quantised
from hwopt.replay import is_lossy
from hwopt.resolution import at_resolution, changed_sizes
from hwopt.settle import Data, Settled, measured_anew
from hwopt.trace import Listeners, ModelMade, emit
from hwopt.work import Work


def tuned(
    work: Work, choices: Sequence[Choice], data: Data | None, settled: Settled, listeners: Listeners = ()
) -> Settled:
    """The result after gradient steps on its weights (`--tune`), where they help.

    They are left out where, on the folds that they were tried on, they make the plan worse, or break
    the limit that it keeps without them. A replayed plan that was tuned is tuned again.
    """
    steps, plan = work.settings.tune, settled.decision
    if not steps or data is None or not is_lossy(plan.assignment, choices):
        return settled
    if work.replayed is None and not better(work, settled):
        return settled  # the input will come back
    if work.replayed is None and work.stop():
        return settled.noted(f"no gradient steps were made: the run was to end ({work.stop.reason})")
    from hwopt.tuning.tune import tune, why_not  # PyTorch takes seconds to import

    reason = why_not(data.reference, settled.model)
    if reason:
        return settled.noted(f"no gradient steps were made: {reason}")
    damage = data.harm.of_tuned(choices, plan.assignment, steps)
    if work.replayed is None and (reason := _no_gain(work, plan.damage, damage)):
        return settled.noted(f"{steps} gradient steps were tried and left out: {reason}")
    samples = data.reference.training(range(len(data.reference.calibration.folds)))
    model = tune(data.reference, settled.model, samples, seed=work.settings.seed, steps=steps)
    note_made(settled.model, model, "tuned")
    emit(listeners, ModelMade("tune", model))
    settled = replace(settled, decision=replace(plan, damage=damage), tuned=steps)
    return measured_anew(work, settled, model)


def _no_gain(work: Work, without: Damage | None, damage: Damage) -> str:
    """Why the gradient steps are not worth it; "" where they are."""
    assert without is not None
    assert work.limit is not None
    before = sum(without.per_fold[: len(damage.per_fold)]) / len(damage.per_fold)
    if damage.divergence >= before:
        return f"{damage.kind} {damage.divergence:.4g} with them, {before:.4g} without"
    if broken(damage, work.limit):
        return f"{work.limit.name} would be {suffered(damage, work.limit):.4g}"
    return ""


def judged(work: Work, choices: Sequence[Choice], data: Data | None, settled: Settled) -> Settled:
    """The result with all that is known of its accuracy, at every precision that matters.

    Raises BudgetNotMet where the int8 file that was asked for would break the limit.
    """
    damage = settled.decision.damage
    if damage is None and data is not None:
        damage = _of_exact(choices, data, settled.decision)
    if work.settings.quantize is not None and work.replayed is None:
        require_within(work, damage, "the result's")
    if work.settings.quantize is not None:
        settled = replace(settled, decision=replace(settled.decision, damage=damage))
    if data is not None and data.unquantised:
        settled = settled.noted(f"no accuracy in int8: {data.unquantised}")
    return replace(settled, accuracy=() if damage is None else (damage, *damage.beside))


def _of_exact(choices: Sequence[Choice], data: Data, decision: Decision) -> Damage | None:
    """What an EXACT plan does in other precisions, measured on the way to it or now."""
    for known in decision.rounds:
        if dict(known.assignment) == dict(decision.assignment):
            others = [d for d in (known.damage, *known.damage.beside) if d.precision != FLOAT]
            return (
                replace(others[0], beside=tuple(replace(d, beside=()) for d in others[1:]))
                if others
                else None
            )
    return data.harm.of_exact(choices, decision.assignment)


def require_within(work: Work, damage: Damage | None, whose: str) -> None:
    """Raises BudgetNotMet where an int8 form is beyond the limit on accuracy."""
    if work.limit is None or damage is None or not broken(damage, work.limit):
        return
    flag = "--" + work.limit.name.replace("_", "-")
    raise BudgetNotMet(
        f"{flag} {work.limit.value:g} cannot be met in int8: {whose} int8 form has "
        f"{suffered(damage, work.limit):.4g}; allow more, or leave --quantize out"
    )


def in_precision(work: Work, settled: Settled, listeners: Listeners = ()) -> Settled:
    """The result with the form that is written, where that is not fp32; ranges come from all samples."""
    calibration = work.calibration
    if work.settings.quantize is None or calibration is None:
        return settled
    calibration = at_resolution(calibration, changed_sizes(work.model, settled.model))
    samples = calibration.samples(range(len(calibration.folds)))
    settled = settled.noted(
        f"written in int8 as QDQ; latency, memory and weight size are those of the {FLOAT} result as "
        f"{work.target.name} runs it, which is in int8 anyway"
    )
    written = quantised(settled.model, calibration, samples)
    emit(listeners, ModelMade("quantise", written))
    return replace(settled, written=written)
