"""From a culprit to a small case: what is shrunk, what still counts as the same failure, what is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from hwopt.choice import Value
from hwopt.debug.bisect import Bisection, Steps
from hwopt.debug.case import Case, Story, found_anew, write_case
from hwopt.debug.checks import CRASH, REFUSED, Check, Finding, NumericCheck, Verdict
from hwopt.debug.compare_inputs import Inputs
from hwopt.debug.shrink import Fails, Piece, shrink
from hwopt.debug.stepwise import Stepwise
from hwopt.errors import PassFailed, RewriteFailed
from hwopt.rewrite import rewrite
from hwopt.runtime import Feeds
from hwopt.trace import Listeners
from hwopt.work import Work


@dataclass(frozen=True)
class Ground:
    """What the search stood on.

    made: the model of some steps; always: steps that must be there wherever a later one is. check: of a
    model; None where only whole plans are judged. feeds: inputs that show what is wrong with a model. again:
    whether a bisection of another model and plan, in files, ends with the same kind of failure. target,
    options, command: for the line that reproduces it (`case.Story`); shapes: options that only the whole
    model needs, since a piece has fixed shapes.
    """

    work: Work
    steps: Stepwise
    made: Callable[[Steps], ir.Model]
    check: Check | None
    feeds: Callable[[ir.Model], Feeds]
    again: Callable[[Path, Path], bool]
    always: Steps = frozenset()
    target: str = ""
    options: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ()
    command: str = ""


def shrunk_case(
    folder: Path,
    found: Bisection,
    ground: Ground,
    force: bool,
    listeners: Listeners = (),
) -> tuple[Case, tuple[str, ...]]:
    """Writes the smallest failing model into the folder; notes say what a reader must know of it.

    Raises BadInput where a file is in the way.
    """
    minimal = frozenset(found.minimal)
    if minimal - ground.always:
        minimal |= ground.always
    values = ground.steps.those(minimal)
    fails = _fails(ground, found.finding, values)
    making = found.finding.kind in (CRASH, REFUSED)
    if making or (not minimal & ground.steps.lossy and ground.check is not None):
        options = ground.options
        piece = _small(ground, minimal, values, fails, making, listeners)
        notes = () if piece.complete else ("the model could not be made as small as it might be",)
    else:
        options = (*ground.options, *ground.shapes)
        piece, notes = _whole(ground, minimal), (_WHOLE,)
    numbers, told = tuple(sorted(minimal)), found.finding
    story = Story(told.kind, told.reason, numbers, ground.target, options, ground.command)
    bisects = None if isinstance(ground.check, NumericCheck) and not ground.options else ground.again
    return write_case(folder, piece, values, ground.work, story, fails, force, bisects), notes


_WHOLE = "fitted weights and limits on accuracy belong to the whole model: it was not shrunk"


def _small(
    ground: Ground, minimal: Steps, values: Sequence[Value], fails: Fails, making: bool, listeners: Listeners
) -> Piece:
    feeds = ground.feeds(ground.work.model if making else ground.made(minimal))
    return shrink(ground.work.model, values, feeds, fails, listeners, replays=found_anew(fails, ground.work))


def _whole(ground: Ground, minimal: Steps) -> Piece:
    before, after = ground.work.model, ground.made(minimal)
    feeds = ground.feeds(after)
    nodes = sum(node.op_type != "Constant" for node in before.graph)
    return Piece(before, after, feeds, nodes, trials=0, complete=False, replays=True)


def _fails(ground: Ground, finding: Finding, values: Sequence[Value]) -> Fails:
    """The same kind of failure, in a piece of the model."""
    if finding.kind in (CRASH, REFUSED):
        return _BreaksDown(values[-1].pass_name, finding)
    if isinstance(ground.check, NumericCheck):
        return _Differs(ground.check, finding)
    if ground.check is not None and not any(value.risk != "exact" for value in values):
        return _FailsCheck(ground.check, finding)
    return lambda piece, steps, feeds: True  # whole models, which a bisection of their own judges


@dataclass(frozen=True)
class _BreaksDown:
    """The last step of several cannot be made, for the reason that was found."""

    pass_name: str
    finding: Finding

    def __call__(self, piece: ir.Model, values: Sequence[Value], feeds: Feeds) -> bool:
        del feeds
        *before, culprit = values
        changed = rewrite(piece, before)  # what this raises is another failure
        try:
            rewrite(changed, [culprit])
        except PassFailed as error:
            same = (error.pass_name, type(error.__cause__).__name__) == (self.pass_name, self.finding.cause)
            return self.finding.kind == CRASH and same
        except RewriteFailed as error:
            return self.finding.kind == REFUSED and str(error) == self.finding.cause
        return False


@dataclass(frozen=True)
class _Differs:
    """The built-in check says the same of the piece with the steps, held against the piece without them."""

    check: NumericCheck
    finding: Finding

    def __call__(self, piece: ir.Model, values: Sequence[Value], feeds: Feeds) -> bool:
        changed = rewrite(piece, values)
        numeric = NumericCheck(piece, [Inputs("recorded", feeds)], self.check.tolerance)
        return numeric(changed).like(self.finding)


@dataclass(frozen=True)
class _FailsCheck:
    """The user's command passes the piece and fails the piece with the steps."""

    check: Check
    finding: Finding

    def __call__(self, piece: ir.Model, values: Sequence[Value], feeds: Feeds) -> bool:
        del feeds
        changed = rewrite(piece, values)
        return self.check(changed).like(self.finding) and self.check(piece).verdict == Verdict.GOOD
