"""What can be said against a rewritten model, without a repair: what every run checks at its end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.choice import Risk, Value
from hwopt.debug.bisect import Prober, Steps, narrowed
from hwopt.debug.checks import GOOD, INVALID, Finding, Verdict, invalid
from hwopt.debug.stepwise import Stepwise
from hwopt.errors import RewriteFailed, reason_of
from hwopt.resolution import changed_sizes
from hwopt.verify import differences, require_exact
from hwopt.work import Work


@dataclass(frozen=True)
class Wrong:
    """values: of a plan, up to and with the first that breaks it. reason: what speaks against the model then.

    before, after: the input with all of them but the last, and with that, too; None where it cannot be made.
    """

    values: tuple[Value, ...]
    reason: str
    before: ir.Model
    after: ir.Model | None

    @property
    def culprit(self) -> Value:
        return self.values[-1]


def objection(work: Work, model: ir.Model, exact: bool = True) -> str:
    """Why a model that was made of the input cannot be delivered; "" where nothing speaks against it.

    exact: its outputs must be those of the input; LOSSY steps that are not repaired have others.
    """
    if complaint := invalid(work.model, model):
        return complaint
    try:
        work.assess(model)
        if exact and not changed_sizes(work.model, model):
            found = differences(work.model, model, work.input_shapes, work.settings.seed)
            require_exact(found, "it")
    except RewriteFailed as error:
        return str(error)
    except Exception as error:  # whatever ONNX Runtime throws
        return reason_of(error)
    return ""


def first_wrong(work: Work, values: Sequence[Value]) -> Wrong | None:
    """The first value of a plan with which the model cannot be delivered; None where all is well.

    The EXACT values first, whose outputs can be held against the input's; then all, by their structure.
    """
    if objection(work, work.model):
        return None
    exact = [value for value in values if value.risk == Risk.EXACT]
    return _first(work, exact, True) or _first(work, values, False)


def wrong_alone(
    work: Work, base: ir.Model, folds: Sequence[Value], values: Iterable[Value]
) -> Iterator[Wrong]:
    """Every one of these EXACT values with which alone the canonical model cannot be delivered."""
    if objection(work, base):
        return
    for value in values:
        steps = Stepwise(work.model, (*folds, value), base, len(folds), len(folds) + 1)
        made = steps.attempt(range(1, len(steps) + 1))
        reason = objection(work, made) if isinstance(made, ir.Model) else ""
        if reason:
            yield Wrong(steps.values, reason, base, made if isinstance(made, ir.Model) else None)


def _first(work: Work, values: Sequence[Value], exact: bool) -> Wrong | None:
    """By halves, as `hwopt bisect` does."""
    steps = Stepwise(work.model, tuple(values))

    def judge(wanted: Steps) -> Finding:
        reason = objection(work, steps.structure(wanted), exact)
        return Finding(Verdict.BAD, INVALID, reason) if reason else GOOD

    prober = Prober(steps, judge)
    if not values or not prober.first(len(values)).bad:
        return None
    good, bad = narrowed(prober, 0, len(values))
    after = steps.attempt(range(1, bad + 1))
    return Wrong(
        steps.values[:bad],
        prober.first(bad).reason,
        steps.structure(range(1, good + 1)),
        after if isinstance(after, ir.Model) else None,
    )
