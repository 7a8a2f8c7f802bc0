"""Whether the figures of a report that was read hold together: what draws it relies on that.

A report that hwopt wrote always does. One that was edited, or made to do harm, may name a subgraph that is
not there, or a latency below zero.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum

from hwopt.estimate import Estimate
from hwopt.report.schema import Costs, Hardware, Missing, Report, SubgraphRow

LARGEST = 1e18  # of any number: microseconds, bytes, multiply-adds
LARGEST_DIFFERENCE = sys.float_info.max  # of the outputs of models, whose numbers may be as large as any
_DIFFERENCES = "verification."
_BOUNDS = ("compute", "on_chip", "off_chip", "")


def incoherence(report: Report) -> str:
    """The first thing in a report that cannot be, with its place; "" where it holds together."""
    return next(_found(report), "")


def _found(report: Report) -> Iterator[str]:
    for place, number in _numbers(report, ""):
        bound = LARGEST_DIFFERENCE if place.startswith(_DIFFERENCES) else LARGEST
        if not abs(number) <= bound:  # so that NaN is none either
            yield f"{place} is beyond all bounds"
    sides = (
        ("before", report.before, report.subgraphs.before),
        ("after", report.after, report.subgraphs.after),
    )
    for name, costs, rows in sides:
        for index, row in enumerate(rows):
            yield from (f"subgraphs.{name}.{index}: {what}" for what in _of_row(row))
        if isinstance(costs, Costs):
            yield from (f"{name}.{what}" for what in _of_costs(costs, len(rows)))
    if isinstance(report.target.hardware, Hardware):
        yield from _of_hardware(report.target.hardware)


def _of_row(row: SubgraphRow) -> Iterator[str]:
    if not row.nodes:
        yield "it has no nodes"
    if row.bound not in _BOUNDS:
        yield f"bound is none of {', '.join(_BOUNDS[:3])}"
    for name in ("latency_us", "peak_bytes", "macs", "weight_bytes"):
        if _negative(getattr(row, name)):
            yield f"{name} is negative"


def _of_costs(costs: Costs, rows: int) -> Iterator[str]:
    for name in ("latency_us", "peak_bytes", "weight_bytes", "macs", "params", "nodes"):
        if _negative(getattr(costs, name)):
            yield f"{name} is negative"
    if costs.peak is not None and not (0 <= costs.peak.subgraph < rows and costs.peak.live_bytes >= 0):
        yield "peak is of no subgraph"


def _of_hardware(hardware: Hardware) -> Iterator[str]:
    numbers = [hardware.clock_mhz, hardware.macs_per_us, *(m.bytes_per_us for m in hardware.memories)]
    if min(numbers) <= 0 or not hardware.memories or any(memory.bytes <= 0 for memory in hardware.memories):
        yield "target.hardware: a clock, a rate or a memory is not above zero"


def _negative(figure: object) -> bool:
    value = figure.value if isinstance(figure, Estimate) else figure
    return isinstance(value, int | float) and value < 0


def _numbers(value: object, place: str) -> Iterator[tuple[str, float]]:
    """Every number at any depth, with its place."""
    if isinstance(value, bool | str | Enum | Missing) or value is None:
        return
    if isinstance(value, int | float):
        yield place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _numbers(item, f"{place}.{key}" if place else str(key))
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            yield from _numbers(item, f"{place}.{index}")
    elif is_dataclass(value):
        for part in fields(value):
            yield from _numbers(getattr(value, part.name), f"{place}.{part.name}" if place else part.name)
