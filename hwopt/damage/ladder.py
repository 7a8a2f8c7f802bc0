"""Ladders: values of one pass and one choice that differ in strength alone, each harsher than the last.

A repair and a run tell the damage of a few rungs; between two of them it is read off the straight
line in the logarithms of strength and damage (damage goes with a power of what is taken away).
Whatever a plan then wants is measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from hwopt.choice import Choice, Risk, Value

FEWEST = 4  # shorter ladders are measured rung by rung
_LEAST = 1e-9  # nats: below this a logarithm says nothing


def ladders(choice: Choice) -> list[tuple[Value, ...]]:
    """The choice's LOSSY values with a strength, by pass, the mildest first."""
    found: dict[str, list[Value]] = {}
    for value in choice.values:
        if value.risk == Risk.LOSSY and value.strength is not None:
            found.setdefault(value.pass_name, []).append(value)
    return [tuple(sorted(values, key=_strength)) for values in found.values()]


def _strength(value: Value) -> float:
    assert value.strength is not None
    return value.strength


def probes(rungs: Sequence[Value]) -> list[Value]:
    """The rungs to measure: all of a short ladder, else both ends and every second between."""
    if len(rungs) < FEWEST:
        return list(rungs)
    return [value for index, value in enumerate(rungs) if index % 2 == 0 or index == len(rungs) - 1]


def between(rungs: Sequence[Value], known: Mapping[str, float], name: str) -> float | None:
    """The damage of a rung that lies between two known ones; None where it does not.

    known: damage by value name. A neighbour that cannot be written makes the rung impossible too.
    """
    at = next(index for index, value in enumerate(rungs) if value.name == name)
    below = next((value for value in reversed(rungs[:at]) if value.name in known), None)
    above = next((value for value in rungs[at + 1 :] if value.name in known), None)
    if below is None or above is None:
        return None
    low, high = known[below.name], known[above.name]
    if math.isinf(low) or math.isinf(high):
        return math.inf
    share = _position(_strength(below), _strength(rungs[at]), _strength(above))
    logs = math.log(max(low, _LEAST)), math.log(max(high, _LEAST))
    return math.exp(logs[0] + share * (logs[1] - logs[0]))


def _position(low: float, middle: float, high: float) -> float:
    """Where the middle lies between the others, in logarithms: 0 at the lower end, 1 at the upper."""
    if low <= 0 or high <= low:
        return 1.0
    return math.log(middle / low) / math.log(high / low)
