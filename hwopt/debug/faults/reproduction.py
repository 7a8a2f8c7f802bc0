"""The one line that shows a failure again, tried before it is handed out."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from hwopt.debug.bisect.stepwise import steps_of_run
from hwopt.debug.faults.incident import Incident, failed_step
from hwopt.debug.faults.objection import Objections
from hwopt.errors import HwoptError, PassFailed
from hwopt.plan import Plan
from hwopt.pricing.price import draft, make_scene
from hwopt.steps import find
from hwopt.target import Target
from hwopt.work import Work

_CHECKING = ("verify", "write")  # stages in which a model fails that is wrong


@dataclass(frozen=True)
class Line:
    """words: of a command. folder: where it must be given, "" for anywhere. tried: it was seen to fail alike.

    bisect: the line that finds the step at fault, "" where there is no plan to look through.
    """

    words: tuple[str, ...]
    folder: str
    tried: bool
    bisect: str = ""

    def __str__(self) -> str:
        return shlex.join(self.words)

    @property
    def trust(self) -> str:
        """What can be said of it."""
        return "tried: it fails in the same way" if self.tried else "the command that failed, not tried again"


def reproduction(incident: Incident, model: Path | None, plan: Path | None) -> Line | None:
    """A replay of the plan where that fails alike, else the command itself; None for a call from Python.

    model, plan: the files to name.
    """
    if model is not None and plan is not None and fails_again(incident):
        material = tuple(_material(incident, model, plan))
        bisect = shlex.join(("hwopt", "bisect", *material))
        return Line(("hwopt", "optimize", *material, "--refine", "0", "--dry-run"), "", True, bisect)
    if not incident.asked.command:
        return None
    return Line(tuple(shlex.split(incident.asked.command)), str(Path.cwd()), False)


def fails_again(incident: Incident) -> bool:
    """Whether a replay of the incident's plan breaks down in the same place, without repair."""
    work, plan = incident.work, incident.plan
    if work is None or plan is None:
        return False
    if not isinstance(incident.error, HwoptError) and incident.stage not in _CHECKING:
        return False  # nobody knows what it takes
    if incident.lossy and not isinstance(incident.asked.calib, str | Path):
        return False  # data that only the caller has
    try:
        return _fails(work, plan, incident.error)
    except Exception:
        return False


def _fails(work: Work, plan: Plan, error: Exception) -> bool:
    plain = replace(work.settings, hints=None, rewrite_limit=None, only_choice=(), keep_going=False)
    work = replace(work, replayed=plan, settings=plain)
    try:
        found = find(work)
        steps = steps_of_run(work, found)
        if steps.lossy:
            return False  # what it does shows only after a repair, which takes long
        if isinstance(error, PassFailed):
            draft(make_scene(found.base, work.shapes(found.base), work.target), found.choices)
            return False
        return bool(Objections(work).to(steps.structure(range(len(steps) + 1))))
    except PassFailed as again:
        same = isinstance(error, PassFailed) and error.pass_name == again.pass_name
        return same and failed_step(again) == failed_step(error)


def _material(incident: Incident, model: Path, plan: Path) -> Iterator[str]:
    """Model, target, plan and what else decides what the steps are."""
    work, asked = incident.work, incident.asked
    assert work is not None, "there is a plan"
    yield from (str(model.resolve()), "--target", _target(asked.target))
    yield from ("--plan", str(plan.resolve()))
    for name, shape in work.settings.input_shapes.items():
        yield from ("--input-shape", f"{name}:{','.join(map(str, shape))}")
    for option, names in (("--passes", work.settings.passes), ("--disable", work.settings.disable)):
        if names:
            yield from (option, ",".join(names))
    if work.settings.allow_interface_change:
        yield "--allow-interface-change"
    if work.settings.cost_model is not None:
        yield from ("--cost-model", str(work.settings.cost_model.resolve()))
    if incident.lossy:
        yield from _data(incident)
    if work.settings.seed:
        yield from ("--seed", str(work.settings.seed))


def _data(incident: Incident) -> Iterator[str]:
    asked = incident.asked
    for option, given in (
        ("--calib", asked.calib),
        ("--labels", asked.labels),
        ("--preprocess", asked.preprocess),
    ):
        if isinstance(given, str | Path):
            yield from (option, str(Path(given).resolve()))
    if incident.work is not None and incident.work.settings.augment:
        yield from ("--augment", str(incident.work.settings.augment))


def _target(target: object) -> str:
    """A name stays a name; a folder is named from the root."""
    if isinstance(target, Target):
        return str(target.folder.resolve())
    path = Path(str(target))
    return str(path.resolve()) if path.exists() else str(target)
