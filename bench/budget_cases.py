"""Random budgets: what is asked of a run, drawn from a seed and the input's own figures."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

OBJECTIVES = ("latency", "latency", "latency", "memory", "size", "footprint", "damage")
UNITS = {"max_latency": "us", "max_memory": "b", "max_size": "b", "max_footprint": "b"}
DROPS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1)
# Change of the input's own figure that a limit allows, in percent: slack, near, hard, impossible.
REACHES = ((0, 20), (-12, 0), (-40, -12), (-97, -40))
WITH_DATA = 0.6  # share of runs that get calibration data
LARGEST = 3  # limits at once


@dataclass(frozen=True)
class Case:
    """One run that is asked for.

    data: with calibration data. limits: options of `hwopt.optimize` as a user writes them, such as
    {"max_latency": "-12.5%", "max_drop": 0.02}.
    """

    number: int
    model: str
    target: str
    data: bool
    minimize: str
    limits: Mapping[str, str | float] = field(default_factory=dict)


def draw(model: str, target: str, before: Mapping[str, float], seed: int, number: int) -> Case:
    """The case of that number: the same on every machine.

    before: the input's own figure for each limit of `UNITS`, in microseconds and bytes.
    """
    chance = random.Random(f"{seed} {model} {target} {number}")
    data = chance.random() < WITH_DATA
    names = chance.sample(sorted(UNITS), chance.randint(1, LARGEST))
    limits: dict[str, str | float] = {name: written(name, before[name], chance) for name in sorted(names)}
    if data and chance.random() < 0.7:
        if len(limits) == LARGEST:
            limits.pop(chance.choice(sorted(limits)))
        limits["max_drop"] = chance.choice(DROPS)
    return Case(number, model, target, data, chance.choice(OBJECTIVES), limits)


def written(name: str, before: float, chance: random.Random) -> str:
    """One limit as a user writes it, absolute or relative to the input's figure."""
    percent = round(chance.uniform(*chance.choice(REACHES)), 1)
    if chance.random() < 0.5:
        return f"{percent:+.1f}%"
    return f"{before * (1 + percent / 100):.6g}{UNITS[name]}"


def absolute(name: str, limit: str | float, before: Mapping[str, float]) -> float:
    """What a drawn limit means: microseconds, bytes, or a share for a drop."""
    if isinstance(limit, float):
        return limit
    if limit.endswith("%"):
        return before[name] * (1 + float(limit[:-1]) / 100)
    return float(limit.removesuffix(UNITS[name]))
