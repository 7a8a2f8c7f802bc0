"""What can be said against a rewritten model, without a repair: what every run checks at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.choice import Risk, Value
from hwopt.debug.checks import invalid
from hwopt.errors import HwoptError, RewriteFailed, reason_of
from hwopt.resolution import changed_sizes
from hwopt.rewrite import rewrite
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


def _first(work: Work, values: Sequence[Value], exact: bool) -> Wrong | None:
    """By halves: the plan breaks with `bad` values, and does not with `good` ones."""
    good, bad, reason = 0, len(values), _objection(work, values, exact)
    if not reason:
        return None
    while bad - good > 1:
        middle = (good + bad) // 2
        found = _objection(work, values[:middle], exact)
        if found:
            bad, reason = middle, found
        else:
            good = middle
    return Wrong(tuple(values[:bad]), reason, rewrite(work.model, values[:good]), _made(work, values[:bad]))


def _objection(work: Work, values: Sequence[Value], exact: bool) -> str:
    try:
        return objection(work, rewrite(work.model, values), exact)
    except HwoptError as error:
        return str(error)


def _made(work: Work, values: Sequence[Value]) -> ir.Model | None:
    try:
        return rewrite(work.model, values)
    except HwoptError:
        return None
