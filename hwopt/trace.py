"""What happens during a run, as events: the engine emits them, listeners do something with them.

A pass, a search or a repair never prints and never looks at a clock. It says what happened
(`emit(listeners, RewriteApplied(...))`), and timing, progress bars, logs and dumps are
listeners that a caller adds. Without listeners nothing is spent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

import onnx_ir as ir

from hwopt.estimate import Estimate

FINDING = "find"
REWRITING = "rewrite"


@dataclass(frozen=True)
class StageStarted:
    """A step of the pipeline begins: "load", "price", "search", "repair", "verify" ..."""

    name: str


@dataclass(frozen=True)
class StageDone:
    """A step of the pipeline has ended, after so many seconds of wall-clock time."""

    name: str
    seconds: float


@dataclass(frozen=True)
class Progress:
    """So many units of a stage are done. `total` is 0 where nobody knows it."""

    stage: str
    done: int
    total: int


@dataclass(frozen=True)
class PassStarted:
    """A pass begins to look for places, or to write what was chosen into the model.

    phase: FINDING or REWRITING.
    """

    pass_name: str
    phase: str = FINDING


@dataclass(frozen=True)
class PassDone:
    """A pass has ended: seconds of wall-clock time, and the nodes of the model before and after."""

    pass_name: str
    seconds: float
    nodes_before: int
    nodes_after: int
    phase: str = FINDING


@dataclass(frozen=True)
class ValueFound:
    """A pass offers a value for a choice."""

    pass_name: str
    choice: str
    value: str


@dataclass(frozen=True)
class PlaceSkipped:
    """A pass looked at a place that is its business and could not act there."""

    pass_name: str
    node: str
    reason: str


@dataclass(frozen=True)
class ValuePriced:
    """What a value would cost: None where nobody can say."""

    choice: str
    value: str
    latency_us: Estimate | None


@dataclass(frozen=True)
class BetterPlan:
    """A plan that keeps every limit where it counts, and is better than those before it.

    assignment: choice id -> value name, for every choice that does not keep. damage: measured, 0
    where nothing is changed but EXACT.
    """

    assignment: Mapping[str, str]
    latency_us: float
    damage: float


@dataclass(frozen=True)
class RewriteApplied:
    """A step of the plan was written into the model.

    step: counts from 1, folds first, then values in the order in which they compose: the number that
    `--rewrite-limit` and `hwopt bisect` speak of. model: as it is now. The next step edits this very
    object: who wants to keep it clones it.
    """

    step: int
    pass_name: str
    choice: str
    value: str
    nodes_before: int
    nodes_after: int
    model: ir.Model = field(repr=False, compare=False)


@dataclass(frozen=True)
class ModelMade:
    """A step behind the rewrites made another model of it: "repair", "tune" or "quantise"."""

    name: str
    model: ir.Model = field(repr=False, compare=False)


@dataclass(frozen=True)
class RepairFitted:
    """Weights of one node were fitted; the errors are relative, of the fitted output."""

    choice: str
    node: str
    error_before: float
    error_after: float


@dataclass(frozen=True)
class CheckFailed:
    """A check on a rewritten model did not hold; the run may recover by dropping the value."""

    check: str
    where: str
    detail: str


Event = (
    StageStarted
    | StageDone
    | Progress
    | PassStarted
    | PassDone
    | ValueFound
    | PlaceSkipped
    | ValuePriced
    | BetterPlan
    | RewriteApplied
    | ModelMade
    | RepairFitted
    | CheckFailed
)


class Listener(Protocol):
    """Anything that wants to know. It must not change what it is told of, and must not raise."""

    def __call__(self, event: Event, /) -> None: ...


Listeners = tuple[Listener, ...]


def emit(listeners: Listeners, event: Event) -> None:
    """Tells every listener, in their order."""
    for listener in listeners:
        listener(event)


@contextmanager
def stage(listeners: Listeners, name: str) -> Iterator[None]:
    """Wraps a step of the pipeline in StageStarted and StageDone (also where the step raises)."""
    emit(listeners, StageStarted(name))
    start = perf_counter()
    try:
        yield
    finally:
        emit(listeners, StageDone(name, perf_counter() - start))


@contextmanager
def timed_pass(listeners: Listeners, pass_name: str, model: ir.Model, phase: str = FINDING) -> Iterator[None]:
    """Wraps what a pass does to a model in PassStarted and PassDone."""
    before = model.graph.num_nodes()
    emit(listeners, PassStarted(pass_name, phase))
    start = perf_counter()
    try:
        yield
    finally:
        seconds = perf_counter() - start
        emit(listeners, PassDone(pass_name, seconds, before, model.graph.num_nodes(), phase))


@dataclass
class Timings:
    """A listener that sums seconds by stage, in the order of first appearance (`timings_s`)."""

    seconds: dict[str, float] = field(default_factory=dict)

    def __call__(self, event: Event, /) -> None:
        if isinstance(event, StageDone):
            self.seconds[event.name] = self.seconds.get(event.name, 0.0) + event.seconds

    def to_json(self) -> dict[str, float]:
        """Seconds by stage, to a millisecond."""
        return {name: round(value, 3) for name, value in self.seconds.items()}


@dataclass
class Recorder:
    """A listener that keeps every event: for tests and for the report's list of skipped places."""

    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event, /) -> None:
        self.events.append(event)

    def skipped(self) -> list[PlaceSkipped]:
        """The places that were passed over, in the order in which passes met them."""
        return [event for event in self.events if isinstance(event, PlaceSkipped)]
