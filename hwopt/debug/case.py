"""A small failing case on disk: a model, its inputs, a plan, and one line that shows the failure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hwopt.choice import Value
from hwopt.debug.shrink import Fails, Piece
from hwopt.work import Work


@dataclass(frozen=True)
class Story:
    """What a case is about. kind, reason: of the check's finding. steps: their numbers in the whole plan.

    options: what `hwopt bisect` must be told beside model, plan and target, e.g. ("--check", "cmd {model}").
    """

    kind: str
    reason: str
    steps: tuple[int, ...]
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """A case that was written. reproduction: one line for a shell; verified: it was tried and fails."""

    folder: Path
    reproduction: str
    verified: bool
    nodes: int


def found_anew(fails: Fails, work: Work) -> Fails:
    """As `fails`, with the steps as the passes find them in the piece, as if it had come from a file.

    work: the run whose source, passes and target these are. False where a step is not found.
    """
    raise NotImplementedError


def write_case(
    folder: Path,
    piece: Piece,
    values: Sequence[Value],
    work: Work,
    story: Story,
    fails: Fails,
    force: bool = False,
    bisects: Callable[[Path, Path], bool] | None = None,
) -> Case:
    """Writes before.onnx, after.onnx, inputs.npz, plan.json and case.json into the folder, all or none.

    fails: the check that the piece was shrunk with. bisects: whether `hwopt bisect BEFORE --plan PLAN` with
    the story's options finds the failure (given both paths); None: the built-in numeric check decides, and
    a step that raises. Raises BadInput where a file exists and `force` is not set, or the disk refuses.
    """
    raise NotImplementedError
