"""From a culprit to a small case: what is shrunk, what still counts as the same failure, what is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from hwopt.choice import Value
from hwopt.debug.bisect.checks import CRASH, REFUSED, Check, Finding, NumericCheck, Verdict
from hwopt.debug.bisect.judging import Judging
from hwopt.debug.bisect.search import Bisection, Steps
from hwopt.debug.compare.inputs import Inputs
from hwopt.debug.shrink.case import Bisects, Case, Story, found_anew, write_case
from hwopt.debug.shrink.search import Fails, Piece, shrink
from hwopt.errors import PassFailed, RewriteFailed
from hwopt.nodes import is_op
from hwopt.rewrite import rewrite
from hwopt.runtime import Feeds
from hwopt.trace import Listeners
from hwopt.work import Work

_WHOLE = "fitted weights and limits on accuracy belong to the whole model: it was not shrunk"
_NOT_SMALLEST = "the model could not be made as small as it might be"


@dataclass(frozen=True)
class Ground:
    """What was searched, how, and with what result.

    target: as `--target` was given; options: of `hwopt bisect`, for the check and its data; shapes: those
    that the whole model alone needs, since a piece has fixed shapes; command: the line that asked for it.
    """

    work: Work
    judging: Judging
    found: Bisection
    target: str = ""
    options: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ()
    command: str = ""

    @property
    def steps(self) -> Steps:
        """The fewest steps that fail, with those that must be there wherever a later one is."""
        fewest = frozenset(self.found.minimal)
        return fewest | self.judging.always if fewest - self.judging.always else fewest

    @property
    def values(self) -> tuple[Value, ...]:
        """The values of these steps."""
        return self.judging.steps.those(self.steps)

    @property
    def fitted(self) -> bool:
        """Whether weights of these steps are fitted to data."""
        return bool(self.steps & self.judging.steps.lossy)

    @property
    def making(self) -> bool:
        """Whether the failure is that the last step cannot be made."""
        return self.found.finding.kind in (CRASH, REFUSED)


def shrunk_case(
    folder: Path, ground: Ground, again: Bisects, force: bool, listeners: Listeners = ()
) -> tuple[Case, tuple[str, ...]]:
    """Writes the smallest failing model into the folder; notes say what a reader must know of it.

    again: whether a bisection of another model and plan, in files, ends with the same kind of failure.
    Raises BadInput where a file is in the way.
    """
    fails, options = _fails(ground), ground.options
    if ground.making or (ground.judging.check is not None and not ground.fitted):
        piece = _small(ground, fails, listeners)
        notes = () if piece.complete else (_NOT_SMALLEST,)
    else:
        piece, notes, options = _whole(ground), (_WHOLE,), (*options, *ground.shapes)
    if ground.making and not ground.fitted:
        options = ()  # whatever the check, making the steps shows it
    bisects = again if options else None
    finding, numbers = ground.found.finding, tuple(sorted(ground.steps))
    story = Story(finding.kind, finding.reason, numbers, ground.target, options, ground.command)
    return write_case(folder, piece, ground.values, ground.work, story, fails, force, bisects), notes


def _small(ground: Ground, fails: Fails, listeners: Listeners) -> Piece:
    model = ground.work.model if ground.making else ground.judging.made(ground.steps)
    feeds, anew = ground.judging.feeds(model), found_anew(fails, ground.work)
    return shrink(ground.work.model, ground.values, feeds, fails, listeners, replays=anew)


def _whole(ground: Ground) -> Piece:
    before, after = ground.work.model, ground.judging.made(ground.steps)
    nodes = sum(not is_op(node, "Constant") for node in before.graph)
    return Piece(before, after, ground.judging.feeds(after), nodes, trials=0, complete=False, replays=True)


def _fails(ground: Ground) -> Fails:
    """The same kind of failure, in a piece of the model."""
    check, finding = ground.judging.check, ground.found.finding
    if ground.making:
        return _BreaksDown(ground.values[-1].pass_name, finding)
    if check is None or ground.fitted:
        return lambda piece, steps, feeds: True  # whole models, which a bisection of their own judges
    return _Differs(check, finding) if isinstance(check, NumericCheck) else _FailsCheck(check, finding)


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
