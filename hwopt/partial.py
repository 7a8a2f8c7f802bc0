"""Ctrl-C: the best plan so far goes into OUT.partial.plan.json, and one line says how to go on.

KeyboardInterrupt may come anywhere: nothing that a run leaves on disk is ever half written, and what
was measured is kept as it is measured. So the same command goes on where it was, to the same bytes
as if nobody had interrupted it; and `--plan OUT.partial.plan.json` makes the plan that was saved.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from hwopt.errors import BadInput, Interrupted
from hwopt.files.scratch import workshop
from hwopt.plan import Plan, Step
from hwopt.replay import is_lossy
from hwopt.report.jsonable import json_text
from hwopt.report.write import OutputFiles, publish
from hwopt.rewrite import chosen_values
from hwopt.scope import Assignment
from hwopt.steps import Found, plan_of
from hwopt.trace import BetterPlan, Event, ModelMade, RewriteApplied, StageStarted
from hwopt.work import Work

_GO_ON = "the same command goes on from here"
_KEEPING = ("load", "find")  # stages after which something was measured that is worth keeping


@dataclass
class SoFar:
    """What a run that ends early has to show: a listener, and what the chain hands it as it gets it.

    steps: of the plan that is being carried out, folds among them. model: what they made so far.
    """

    work: Work | None = None
    found: Found | None = None
    best: Assignment | None = None
    stage: str = "load"
    steps: list[Step] = field(default_factory=list)
    model: ir.Model | None = None

    def __call__(self, event: Event, /) -> None:
        if isinstance(event, StageStarted):
            self.stage = event.name
        elif isinstance(event, BetterPlan):
            self.best = event.assignment
        elif isinstance(event, RewriteApplied):
            step = Step(event.choice, event.pass_name, event.value, {})
            self.steps[event.step - 1 :] = [step]  # another plan begins anew behind the folds
            self.model = event.model
        elif isinstance(event, ModelMade):
            self.model = event.model

    def begin(self, work: Work) -> None:
        """Forgets what was found: the run looks for its plan anew, with other material."""
        self.work, self.found, self.best, self.model = work, None, None, None
        self.steps.clear()

    def plan(self) -> Plan | None:
        """The best plan that was found, as a replay reads it; None where there is none yet."""
        work, found = self.work, self.found
        if work is None or found is None or self.best is None or work.replayed is not None:
            return None
        values = [*found.folds, *chosen_values(found.choices, self.best)]
        tuned = work.settings.tune if is_lossy(self.best, found.choices) else 0
        return plan_of(work, values, tuned)


@contextmanager
def saved_when_interrupted(out: Path | None) -> Iterator[SoFar]:
    """Turns Ctrl-C into `Interrupted`, with the best plan so far saved beside OUT.

    out: the result's own name; None in a dry run, when nothing is written.
    """
    so_far = SoFar()
    try:
        yield so_far
    except KeyboardInterrupt:
        raise _interrupted(so_far, out) from None


def _interrupted(so_far: SoFar, out: Path | None) -> Interrupted:
    if so_far.stage in _KEEPING:
        return Interrupted("interrupted before anything was measured: nothing was written")
    kept = f"what was measured is kept, {_GO_ON}"
    plan = so_far.plan()
    if plan is None:
        return Interrupted(f"interrupted in the step '{so_far.stage}', no plan yet: {kept}")
    if out is None:
        return Interrupted(f"interrupted: without an output file its best plan is not saved; {kept}")
    path = OutputFiles.beside(out).partial_plan
    try:
        write_plan(plan, path)
    except OSError as error:
        why = error.strerror or error
        return Interrupted(f"interrupted: the best plan cannot be saved in {path} ({why}); {kept}")
    text = f"interrupted: the best plan so far is in {path} (--plan makes it); {_GO_ON}"
    return Interrupted(text, {"partial_plan": str(path)})


def save_plan(plan: Plan, path: Path) -> None:
    """Writes a finished plan where the user asks for it. Raises BadInput where the disk refuses."""
    try:
        write_plan(plan, path)
    except OSError as error:
        raise BadInput(f"--write-plan {path} cannot be written: {error.strerror or error}") from None


def write_plan(plan: Plan, path: Path) -> None:
    """Made beside its name and then renamed: never half a plan. Raises OSError where the disk refuses."""
    with workshop(path) as folder:
        draft = folder / path.name
        draft.write_text(json_text(plan.to_json()), "utf-8")
        publish(draft, path)
