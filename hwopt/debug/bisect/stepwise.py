"""A plan as a row of numbered steps on the input model, any of which can be made or left out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.choice import Risk, Value
from hwopt.debug.overheard import Overheard
from hwopt.errors import HwoptError, PassFailed
from hwopt.find import canonicalise, find_choices
from hwopt.hints.apply import Orders
from hwopt.replay import check_plan, planned_folds
from hwopt.replayed import named_choices
from hwopt.rewrite import carry_out_numbered, chosen_values
from hwopt.steps import Found
from hwopt.trace import Event, Listeners, Recorder, RewriteApplied
from hwopt.work import Work


@dataclass(frozen=True)
class Stepwise:
    """source: the input, its nodes carrying places; never edited. values: step k is values[k - 1].

    base: the canonical model, which the first `folds` steps make. planned: how many steps the plan has;
    more than there are values where a fold broke down, so that nobody knows what would come after it.
    """

    source: ir.Model
    values: tuple[Value, ...]
    base: ir.Model | None = None
    folds: int = 0
    planned: int = 0

    def __len__(self) -> int:
        return len(self.values)

    @property
    def lossy(self) -> frozenset[int]:
        """The numbers of the steps whose weights must be repaired."""
        return frozenset(n for n, value in enumerate(self.values, start=1) if value.risk != Risk.EXACT)

    def value(self, step: int) -> Value:
        """The value of a step, counted from 1."""
        return self.values[step - 1]

    def those(self, wanted: Collection[int]) -> tuple[Value, ...]:
        """The values of these steps, in the plan's order."""
        return tuple(value for n, value in enumerate(self.values, start=1) if n in wanted)

    def structure(self, wanted: Collection[int], listeners: Listeners = ()) -> ir.Model:
        """The input with these steps made, in the plan's order; weights of LOSSY steps are initial ones.

        Where all folds are wanted, it is made of the canonical model, with what calibration data have
        written into that. Raises RewriteFailed where a step needs one that is left out, PassFailed where a
        pass breaks down.
        """
        whole = self.base is not None and all(n in wanted for n in range(1, self.folds + 1))
        begin, skipped = (self.base, self.folds) if whole and self.base is not None else (self.source, 0)
        steps = [(n, value) for n, value in enumerate(self.values, start=1) if n in wanted and n > skipped]
        return carry_out_numbered(begin, steps, listeners)

    def attempt(self, wanted: Collection[int]) -> ir.Model | Broken:
        """As `structure`; where a step cannot be made, which one and why."""
        done = _LastStep()
        try:
            return self.structure(wanted, (done,))
        except HwoptError as error:
            first = self.folds if done.step == 0 and self._begins_behind_folds(wanted) else 0
            return Broken(min(n for n in wanted if n > max(done.step, first)), error)

    def _begins_behind_folds(self, wanted: Collection[int]) -> bool:
        return self.base is not None and all(n in wanted for n in range(1, self.folds + 1))


@dataclass(frozen=True)
class Broken:
    """A step that could not be made. error: RewriteFailed where it does not fit, PassFailed for a crash."""

    step: int
    error: HwoptError

    @property
    def crash(self) -> bool:
        """Whether the pass raised something that it does not raise on purpose."""
        return isinstance(self.error, PassFailed)


class _LastStep:
    """A listener that knows the last step that was made."""

    def __init__(self) -> None:
        self.step = 0

    def __call__(self, event: Event, /) -> None:
        if isinstance(event, RewriteApplied):
            self.step = event.step


def steps_of_run(work: Work, found: Found) -> Stepwise:
    """The steps of the plan that a run replays: its folds, then its values in the order they compose in."""
    taken = {choice.id: choice.values[0].name for choice in found.choices}
    values = (*found.folds, *chosen_values(found.choices, taken))
    return Stepwise(work.model, values, found.base, len(found.folds), len(values))


def opened_untried(work: Work, listeners: Listeners = ()) -> tuple[Stepwise, Found]:
    """The steps of the plan that a run replays, none of its values tried: any of them may be broken.

    Where a fold breaks down, the steps end with it. Raises BadInput as opening a replay does.
    """
    plan = work.replayed
    assert plan is not None, "asked for replays alone"
    fingerprint = None if work.calibration is None else work.calibration.fingerprint
    check_plan(plan, work.sha256, work.target, fingerprint, lossy=False)
    seen, made = tuple(Overheard(item) for item in work.passes), Recorder()
    try:
        canonical = canonicalise(work.model, seen, work.target, planned_folds(plan), (made, *listeners))
    except PassFailed as error:
        if not error.choice:
            raise
        return _until(work, seen, error, made)
    offered, skipped = find_choices(canonical.model, work.passes, work.target, frozenset(Risk), listeners)
    chosen = named_choices(work, canonical.folds, offered)
    found = Found(
        canonical.model, canonical.folds, chosen, (*canonical.skipped, *skipped), Orders(listed=chosen)
    )
    return steps_of_run(work, found), found


def _until(
    work: Work, passes: Sequence[Overheard], error: PassFailed, made: Recorder
) -> tuple[Stepwise, Found]:
    """The folds that were made before one broke down, and that one."""
    assert work.replayed is not None
    before = frozenset((e.choice, e.value) for e in made.events if isinstance(e, RewriteApplied))
    canonical = canonicalise(work.model, passes, work.target, before)
    offered = {key: value for item in passes for key, value in item.offered.items()}
    values = (*canonical.folds, offered[error.choice, error.value])
    steps = Stepwise(work.model, values, planned=len(work.replayed.steps))
    return steps, Found(canonical.model, canonical.folds, (), canonical.skipped, Orders())
