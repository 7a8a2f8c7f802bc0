"""What can be said against a rewritten model, without a repair: what every run checks at its end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.choice import Risk, Value
from hwopt.debug.bisect.checks import GOOD, INVALID, Finding, Verdict, invalid
from hwopt.debug.bisect.search import Prober, Steps, narrowed
from hwopt.debug.bisect.stepwise import Stepwise
from hwopt.errors import RewriteFailed, reason_of
from hwopt.resolution import changed_sizes
from hwopt.verify import differences_from, expected_of, require_exact
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


class Objections:
    """Holds models against a run's input, whose outputs are computed once."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self._expected = expected_of(work.model, work.input_shapes, work.settings.seed)

    def to(self, model: ir.Model, exact: bool = True) -> str:
        """Why a model that was made of the input cannot be delivered; "" where nothing speaks against it.

        exact: its outputs must be those of the input; LOSSY steps that are not repaired have others.
        """
        if complaint := invalid(self.work.model, model):
            return complaint
        try:
            self.work.assess(model)
            if exact and not isinstance(self._expected, str) and not changed_sizes(self.work.model, model):
                require_exact(differences_from(self._expected, model), "it")
        except RewriteFailed as error:
            return str(error)
        except Exception as error:  # whatever ONNX Runtime throws
            return reason_of(error)
        return ""


def first_wrong(objections: Objections, values: Sequence[Value]) -> Wrong | None:
    """The first value of a plan with which the model cannot be delivered; None where all is well.

    The EXACT values first, whose outputs can be held against the input's; then all, by their structure.
    """
    if objections.to(objections.work.model):
        return None
    exact = [value for value in values if value.risk == Risk.EXACT]
    return _first(objections, exact, True) or _first(objections, values, False)


def wrong_alone(
    objections: Objections, base: ir.Model, folds: Sequence[Value], values: Iterable[Value]
) -> Iterator[Wrong]:
    """Every one of these EXACT values with which alone the canonical model cannot be delivered."""
    if objections.to(base):
        return
    for value in values:
        steps = Stepwise(objections.work.model, (*folds, value), base, len(folds), len(folds) + 1)
        made = steps.attempt(range(1, len(steps) + 1))
        if isinstance(made, ir.Model) and (reason := objections.to(made)):
            yield Wrong(steps.values, reason, base, made)


def _first(objections: Objections, values: Sequence[Value], exact: bool) -> Wrong | None:
    """By halves, as `hwopt bisect` does."""
    steps = Stepwise(objections.work.model, tuple(values))

    def judge(wanted: Steps) -> Finding:
        reason = objections.to(steps.structure(wanted), exact)
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
