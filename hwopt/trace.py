"""What happens during a run, as events: the engine emits them, listeners do something with them.

A pass, a search or a repair never prints and never looks at a clock. It says what happened
(`emit(listeners, RewriteApplied(...))`), and timing, progress bars, logs and dumps are
listeners that a caller adds. Without listeners nothing is spent: what takes time to tell
(prices of single values, errors of fits) is worked out only where somebody listens.

A listener must not raise and must not change what it is told of. What happens where one does: every
other listener still hears of the event, then the run ends with `ListenerFailed`, which names the listener
and is never taken for a fault of a pass or of the model. BadInput alone goes through as it is: a folder
that cannot be written is the user's to mend. Files of a run that ends are not published.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from hwopt.errors import BadInput, HwoptError, reason_of
from hwopt.estimate import Estimate

if TYPE_CHECKING:
    import onnx_ir as ir  # the command line's help needs no model

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
    """A pass has ended: seconds of wall-clock time, with what listeners did; nodes before and after."""

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
    """What the choice's part of the model costs with this value and everything else kept.

    Told once the tables stand, *keep* first. latency_us: None where the value cannot be
    written, or nobody can say. damage: of the model's output, measured or read off between values that
    were; 0 for EXACT; None where nobody knows: then the value cannot be chosen by itself.
    """

    choice: str
    value: str
    latency_us: Estimate | None
    damage: float | None = 0.0


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
    `--rewrite-limit` and `hwopt bisect` speak of. A plan that is given up for another one begins again
    behind the folds, with the same numbers. model: as it is now. The next step edits this very
    object: who wants to keep it clones it. removed, added: nodes that went and that are new; seconds: of
    wall-clock time, without what listeners do.
    """

    step: int
    pass_name: str
    choice: str
    value: str
    nodes_before: int
    nodes_after: int
    model: ir.Model = field(repr=False, compare=False)
    removed: int = 0
    added: int = 0
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class ModelMade:
    """A step behind the rewrites made another model of it: "repair", "tune" or "quantise"."""

    name: str
    model: ir.Model = field(repr=False, compare=False)


@dataclass(frozen=True)
class RepairFitted:
    """Weights of one node were fitted on all calibration data.

    choice: whose rewrite asked for it; "" for a node that absorbs what others left. Errors: relative, of the
    node's output behind what its activation clips, with the weights that the rewrite put there and with
    the fitted ones, on the rows that were fitted. Two nodes that were fitted together share the output
    behind both.
    """

    choice: str
    node: str
    error_before: float
    error_after: float


@dataclass(frozen=True)
class CheckFailed:
    """A check on a rewritten model did not hold; the run may recover by taking another plan.

    check: what was held ("verify", "interface", "rewrite", or a limit's name); where: on what.
    """

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


class ListenerFailed(HwoptError):
    """A listener raised, which it must not: the run ends, since nobody knows what the listener missed."""


class Listener(Protocol):
    """Anything that wants to know. It must not change what it is told of, and must not raise."""

    def __call__(self, event: Event, /) -> None: ...


Listeners = tuple[Listener, ...]


def emit(listeners: Listeners, event: Event) -> None:
    """Tells every listener, in their order, also where one of them raises.

    Raises what the first of those raised: BadInput as it is, anything else as ListenerFailed.
    """
    failure: HwoptError | None = None
    for listener in listeners:
        try:
            listener(event)
        except Exception as error:
            failure = failure or _failure(listener, event, error)
    if failure is not None:
        raise failure


def _failure(listener: Listener, event: Event, error: Exception) -> HwoptError:
    if isinstance(error, BadInput | ListenerFailed):
        return error
    who = getattr(listener, "__qualname__", type(listener).__qualname__)
    told = type(event).__name__
    failure = ListenerFailed(f"the listener {who} broke down when told of {told}: {reason_of(error)}")
    failure.__cause__ = error
    return failure


@contextmanager
def stage(listeners: Listeners, name: str) -> Iterator[None]:
    """Wraps a step of the pipeline in StageStarted and StageDone (also where the step raises)."""
    emit(listeners, StageStarted(name))
    start = perf_counter()
    with _told_after(listeners, lambda: StageDone(name, perf_counter() - start)):
        yield


@contextmanager
def timed_pass(listeners: Listeners, pass_name: str, model: ir.Model, phase: str = FINDING) -> Iterator[None]:
    """Wraps what a pass does to a model in PassStarted and PassDone (also where the pass raises)."""
    before = model.graph.num_nodes()
    emit(listeners, PassStarted(pass_name, phase))
    start = perf_counter()

    def done() -> PassDone:
        seconds = perf_counter() - start
        return PassDone(pass_name, seconds, before, model.graph.num_nodes(), phase)

    with _told_after(listeners, done):
        yield


@contextmanager
def _told_after(listeners: Listeners, event: Callable[[], Event]) -> Iterator[None]:
    """Tells of an event whatever happens inside; what is raised there beats a listener's failure."""
    try:
        yield
    except BaseException:
        with suppress(HwoptError):
            emit(listeners, event())
        raise
    emit(listeners, event())


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
