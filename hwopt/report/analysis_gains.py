"""What each choice could gain at the most by itself, read off a report's rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hwopt.estimate import Estimate
from hwopt.report.schema import ChoiceRow, ValueRow

_KEEP = "keep"


@dataclass(frozen=True)
class Gain:
    """A choice and its quickest value: microseconds that it saves, all other choices kept."""

    choice: ChoiceRow
    value: ValueRow
    saved_us: float


def gains(choices: Iterable[ChoiceRow]) -> list[Gain]:
    """Of every choice that has a value that saves time, the quickest one; the largest gain first."""
    found = [gain for row in choices if (gain := _best(row)) is not None]
    return sorted(found, key=lambda gain: (-gain.saved_us, gain.choice.id))


def _best(row: ChoiceRow) -> Gain | None:
    kept = next((v.latency_us for v in row.values if v.name == _KEEP), None)
    if not isinstance(kept, Estimate):
        return None
    best: Gain | None = None
    for value in row.values:
        if value.name == _KEEP or not isinstance(value.latency_us, Estimate):
            continue
        saved = kept.value - value.latency_us.value
        if saved > (0.0 if best is None else best.saved_us):
            best = Gain(row, value, saved)
    return best
