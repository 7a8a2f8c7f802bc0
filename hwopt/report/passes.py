"""What every pass found, left and did in a run, and the time it took: a listener, and the report's table."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from hwopt.report.schema_choices import PassRow
from hwopt.trace import FINDING, Event, PassDone, PassStarted, PlaceSkipped, RewriteApplied, ValueFound


@dataclass(frozen=True)
class _Step:
    pass_name: str
    removed: int
    added: int


@dataclass
class PassSums:
    """Listens to a run and adds up, pass by pass, in the order in which passes began."""

    _values: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    _skipped: defaultdict[str, set[tuple[str, str]]] = field(default_factory=lambda: defaultdict(set))
    _finding: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _rewriting: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _steps: dict[int, _Step] = field(default_factory=dict)

    def __call__(self, event: Event, /) -> None:
        if isinstance(event, PassStarted):
            self._values.setdefault(event.pass_name, set())
            if event.phase == FINDING:  # a fold may have done away with what was in the way
                self._skipped[event.pass_name].clear()
        elif isinstance(event, ValueFound):
            self._values.setdefault(event.pass_name, set()).add((event.choice, event.value))
        elif isinstance(event, PlaceSkipped):
            self._skipped[event.pass_name].add((event.node, event.reason))
        elif isinstance(event, PassDone) and event.phase == FINDING:
            self._finding[event.pass_name] += event.seconds
        elif isinstance(event, RewriteApplied):
            self._step(event)

    def _step(self, event: RewriteApplied) -> None:
        """A number that was there before belongs to a plan that was given up, and so do those behind it."""
        while self._steps and next(reversed(self._steps)) >= event.step:
            self._steps.popitem()
        self._steps[event.step] = _Step(event.pass_name, event.removed, event.added)
        self._rewriting[event.pass_name] += event.seconds

    def rows(self, unchanged: bool = False) -> tuple[PassRow, ...]:
        """One row per pass that ran. unchanged: the input came back, so that no step is in the result."""
        return tuple(self._row(name, unchanged) for name in self._values)

    def _row(self, name: str, unchanged: bool) -> PassRow:
        steps = [] if unchanged else [step for step in self._steps.values() if step.pass_name == name]
        return PassRow(
            name=name,
            values=len(self._values[name]),
            skipped=len(self._skipped[name]),
            steps=len(steps),
            nodes_removed=sum(step.removed for step in steps),
            nodes_added=sum(step.added for step in steps),
            finding_s=round(self._finding[name], 3),
            rewriting_s=round(self._rewriting[name], 3),
        )
