"""When a run is to end early: a time limit, or a caller who has seen enough.

Whoever repeats something that takes long asks `stop()` before each turn and, where it says so, goes
on with the best that it has. What a plan needs to be written is always done. Ctrl-C is no stop: it
raises KeyboardInterrupt wherever the run is, and `hwopt.partial` saves the best plan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

from hwopt.search.problem import never

TIME_LIMIT = "time limit"
ASKED = "asked"


@dataclass
class Stop:
    """Whether a run is to end now. The clock starts when this is made.

    seconds: of wall-clock time, None for no limit. asked: the caller's own. reason: why the run was
    cut short, "" as long as nobody was told to stop: then its result is what any machine gives.
    """

    seconds: float | None = None
    asked: Callable[[], bool] = never
    clock: Callable[[], float] = monotonic
    reason: str = ""
    _start: float = field(init=False)

    def __post_init__(self) -> None:
        self._start = self.clock()

    def __call__(self) -> bool:
        """Whether to end now with the best so far; once it says so, it stays so."""
        return self.used(1.0)

    def used(self, share: float) -> bool:
        """Whether a step that may take this share of the time limit is to end now."""
        if self.reason == ASKED or self.asked():
            self.reason = ASKED
            return True
        if self.seconds is None or self.clock() - self._start < share * self.seconds:
            return False
        self.reason = self.reason or TIME_LIMIT
        return True
