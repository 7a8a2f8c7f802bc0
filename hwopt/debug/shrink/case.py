"""A small failing case on disk: a model, its inputs, a plan, and one line that shows the failure.

before.onnx   the piece of the model, without the steps
after.onnx    with them, where they can be made
inputs.npz    an array per input of the piece: what flows there in the whole model
plan.json     a plan that makes the steps in before.onnx, where the passes find them there
case.json     what failed and where, versions, and the line
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import onnx_ir as ir

from hwopt.choice import Value
from hwopt.debug.bisect.checks import CRASH, NUMERIC, REFUSED
from hwopt.debug.bisect.judging import judging_of
from hwopt.debug.bisect.material import Wanted
from hwopt.debug.bisect.stepwise import Broken, opened_untried
from hwopt.debug.compare.data import given_inputs
from hwopt.debug.compare.outputs import compare_outputs
from hwopt.debug.shrink.case_files import appearing, npz_bytes
from hwopt.debug.shrink.case_plan import found_anew as found_anew
from hwopt.debug.shrink.case_plan import plan_in, steps_in
from hwopt.debug.shrink.search import Fails, Piece
from hwopt.errors import RewriteFailed
from hwopt.find import with_places
from hwopt.ir import load_model, model_bytes, model_sha256, save_model
from hwopt.plan import Plan, read_plan
from hwopt.report.jsonable import JsonObject, encode, json_text
from hwopt.settings import settings
from hwopt.versions import versions
from hwopt.work import Work

BEFORE, AFTER, INPUTS, PLAN, CASE = "before.onnx", "after.onnx", "inputs.npz", "plan.json", "case.json"
FILES = (BEFORE, f"{BEFORE}.data", AFTER, f"{AFTER}.data", INPUTS, PLAN, CASE)
Bisects = Callable[[Path, Path], bool]


@dataclass(frozen=True)
class Story:
    """What a case is about.

    kind, reason: of the check's finding. steps: their numbers in the whole plan. target: as `--target` was
    given; "": by its name. options: what `hwopt bisect` must be told beside model, plan and target, e.g.
    ("--check", "cmd {model}"). command: the line that shows the failure in the whole model, for a case that
    has none of its own.
    """

    kind: str
    reason: str
    steps: tuple[int, ...]
    target: str = ""
    options: tuple[str, ...] = ()
    command: str = ""


@dataclass(frozen=True)
class Case:
    """A case that was written.

    reproduction: one line for a shell, "" where there is none; verified: what it does was tried, and fails.
    """

    folder: Path
    reproduction: str
    verified: bool
    nodes: int


def write_case(
    folder: Path,
    piece: Piece,
    values: Sequence[Value],
    work: Work,
    story: Story,
    fails: Fails,
    force: bool = False,
    bisects: Bisects | None = None,
) -> Case:
    """Writes before.onnx, after.onnx, inputs.npz, plan.json and case.json into the folder, all or none.

    fails: the check that the piece was shrunk with. bisects: whether `hwopt bisect BEFORE --plan PLAN` with
    the story's options finds the failure (given both paths); None: the built-in check decides, and a step
    that cannot be made. Raises BadInput where a file exists and `force` is not set, or the disk refuses.
    """
    with appearing(folder, FILES, force) as made:
        models = {BEFORE: piece.before, AFTER: piece.after}
        invalid = {name: _saved(model, made / name) for name, model in models.items() if model is not None}
        (made / INPUTS).write_bytes(npz_bytes(piece.feeds))
        plan = _plan(made / BEFORE, piece, values, work, fails)
        if plan is not None:
            (made / PLAN).write_text(plan.text(), "utf-8")
        line, verified = _reproduction(folder, made, work, story, bisects)
        told = _told(piece, values, work, story, line, verified)
        told["invalid"] = {name: objection for name, objection in invalid.items() if objection}
        (made / CASE).write_text(json_text(told), "utf-8")
    return Case(folder, line, verified, piece.nodes)


def _saved(model: ir.Model, path: Path) -> str:
    """Writes a model, valid or not: that may be the very failure. Returns what onnx.checker objects to."""
    try:
        return save_model(model, path).unchecked or ""
    except RewriteFailed as error:
        path.write_bytes(model_bytes(model))
        return str(error).replace(f"{path}: ", "")


def _plan(before: Path, piece: Piece, values: Sequence[Value], work: Work, fails: Fails) -> Plan | None:
    """The plan for the file, once it is certain that it fails there."""
    saved = load_model(before)
    placed = with_places(saved)
    steps = steps_in(placed, values, work)
    try:
        if steps is None or not fails(placed.clone(), steps, piece.feeds):
            return None
    except Exception:  # a trial that breaks down shows nothing
        return None
    return plan_in(placed, values, work, model_sha256(before))


def _reproduction(
    folder: Path, made: Path, work: Work, story: Story, bisects: Bisects | None
) -> tuple[str, bool]:
    """The shortest way to see it fail, among those that were tried and do."""
    if (made / PLAN).exists():
        words = ["bisect", BEFORE, "--plan", PLAN, "--target", story.target or work.target.name, "--no-case"]
        recorded = ("--inputs", INPUTS)
        ways = [(story.options, bisects)] if bisects is not None else [
            (story.options, partial(_bisects, work, story.kind, None)),
            ((*story.options, *recorded), partial(_bisects, work, story.kind, made / INPUTS)),
        ]  # fmt: skip
        for options, shows in ways:
            if _tried(shows, made / BEFORE, made / PLAN):
                return _line([*words, *options], folder), True
    limit = story.options if story.options[:1] == ("--tolerance",) else ()
    compares = partial(_compares, float(limit[1]) if limit else None)
    if story.kind == NUMERIC and (made / AFTER).exists() and _tried(compares, made / BEFORE, made / AFTER):
        return _line(["compare", BEFORE, AFTER, "--inputs", INPUTS, *limit], folder), True
    return story.command, False


def _line(words: Sequence[str], folder: Path) -> str:
    """A line for a shell; the case's files are named with their folder."""
    return shlex.join(["hwopt", *(str(folder / word) if word in FILES else word for word in words)])


def _tried(shows: Bisects, one: Path, two: Path) -> bool:
    try:
        return shows(one, two)
    except Exception:  # then it shows nothing
        return False


def _bisects(work: Work, kind: str, inputs: Path | None, before: Path, plan: Path) -> bool:
    """Whether `hwopt bisect` finds this kind of failure, on noise or on these inputs."""
    small = _opened(work, before, plan)
    steps, found = opened_untried(small)
    everything = frozenset(range(1, len(steps) + 1))
    attempt = steps.attempt(everything)
    if isinstance(attempt, Broken):
        return kind == (CRASH if attempt.crash else REFUSED)
    finding = judging_of(small, steps, found, Wanted(inputs=inputs), ()).judge(everything)
    return finding.bad and finding.kind == kind


def _opened(work: Work, model: Path, plan: Path) -> Work:
    """As `open_work` opens them for the same target, without pricing anything."""
    replayed = read_plan(plan)
    chosen = settings(plan=plan, refine=0, seed=replayed.seed)
    return replace(
        work, model=with_places(load_model(model)), path=str(model), sha256=model_sha256(model),
        calibration=None, limit=None, replayed=replayed, settings=chosen,
    )  # fmt: skip


def _compares(tolerance: float | None, before: Path, after: Path) -> bool:
    """Whether `hwopt compare` tells the two models apart on the case's inputs."""
    one, two = load_model(before), load_model(after)
    found = compare_outputs(one, two, given_inputs(before.with_name(INPUTS), one), tolerance)
    return not found.same and not found.failure


def _told(
    piece: Piece, values: Sequence[Value], work: Work, story: Story, line: str, verified: bool
) -> JsonObject:
    """The content of case.json."""
    numbered = zip(story.steps, values, strict=True)
    told = encode(
        {
            "schema_version": 1,
            "kind": story.kind,
            "reason": story.reason,
            "reproduction": line or None,
            "verified": verified,
            "nodes": piece.nodes,
            "trials": piece.trials,
            "smallest": piece.complete,
            "steps": [
                {"step": n, "choice": v.choice, "pass": v.pass_name, "value": v.name} for n, v in numbered
            ],
            "inputs": {name: list(array.shape) for name, array in sorted(piece.feeds.items())},
            "model": {"path": work.path, "sha256": work.sha256},
            "target": {"name": work.target.name, "config": work.target.config_hash},
            "seed": work.settings.seed,
            "whole_model": story.command or None,
            "versions": dict(versions()),
        }
    )
    assert isinstance(told, dict)
    return told
