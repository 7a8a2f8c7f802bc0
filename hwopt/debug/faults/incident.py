"""What a run had in hand when it failed, in the words of a reproducer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx_ir as ir

from hwopt.choice import Risk
from hwopt.errors import PassFailed, RewriteFailed
from hwopt.partial import SoFar
from hwopt.plan import Plan, Step
from hwopt.steps import plan_of
from hwopt.target import Target
from hwopt.work import CalibrationLike, ModelLike, Work


@dataclass(frozen=True)
class Asked:
    """How a run was asked for. command: as a shell would read it, "" for a call from Python.

    dump_dir: where reproducers go in the place of the system's temporary folder.
    """

    command: str = ""
    model: ModelLike | None = None
    target: str | Path | Target | None = None
    calib: CalibrationLike | None = None
    labels: str | Path | None = None
    preprocess: str | Path | None = None
    dump_dir: Path | None = None
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Incident:
    """Something that broke down. work: None where the run was still loading.

    plan: up to and with the step that failed, or as far as the run had got. before: what the pass was
    handed. after: what the steps had made of the model.
    """

    error: Exception
    asked: Asked
    stage: str = ""
    work: Work | None = None
    plan: Plan | None = None
    before: ir.Model | None = None
    after: ir.Model | None = None

    @property
    def step(self) -> Step | None:
        """The step that failed, where one is known."""
        return failed_step(self.error)

    @property
    def lossy(self) -> bool:
        """Whether the plan may need calibration data: a pass among its steps makes LOSSY values."""
        if self.plan is None or self.work is None:
            return False
        lossy = {item.name for item in self.work.passes if item.risk != Risk.EXACT}
        return any(step.pass_name in lossy for step in self.plan.steps)


def failed_step(error: Exception) -> Step | None:
    """The step that an error speaks of."""
    if isinstance(error, PassFailed | RewriteFailed) and error.choice:
        return Step(error.choice, error.pass_name, error.value, {})
    return None


def incident_of(error: Exception, asked: Asked, so_far: SoFar) -> Incident:
    """What is known of a failure from what the run had got by then."""
    work = so_far.work
    steps = [] if work is None else _steps(so_far, work, failed_step(error))
    some = bool(steps) or isinstance(error, PassFailed)
    plan = replace(plan_of(work, [], 0), steps=tuple(steps)) if work is not None and some else None
    before = error.model if isinstance(error, PassFailed) else None
    after = None if before is not None else so_far.model
    return Incident(error, asked, so_far.stage, work, plan, before, after)


def _steps(so_far: SoFar, work: Work, failed: Step | None) -> list[Step]:
    """The steps up to and with the one that failed, as made, or as a replayed plan asks for them."""
    steps = list(so_far.steps if work.replayed is None else work.replayed.steps)
    if failed is None:
        return steps
    at = next((n for n, s in enumerate(steps) if (s.choice, s.value) == (failed.choice, failed.value)), None)
    return [*steps, failed] if at is None else steps[: at + 1]
