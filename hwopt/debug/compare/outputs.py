"""Two models side by side: do they take the same, and does the same come out?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import onnx_ir as ir

from hwopt.debug.compare.inputs import Inputs
from hwopt.debug.compare.memory import hand_back
from hwopt.debug.compare.ports import PortGap, inputs_for, interface_gaps, paired_outputs
from hwopt.debug.compare.stats import Gap, gap, top1_agreement
from hwopt.debug.compare.tolerance import Tolerance, own_noise, within
from hwopt.errors import BadInput
from hwopt.nodes import Array
from hwopt.runtime import FrugalSession, Session
from hwopt.trace import Listeners, Progress, emit
from hwopt.verify import nudged, require_survivable
from hwopt.wording import said

Item = TypeVar("Item")


@dataclass(frozen=True)
class OutputGap:
    """One output over all inputs; the statistics are of those inputs where it is closest to, or furthest
    beyond, its limit.

    name: in the first model; other: in the second. inputs: which (from 1). limit, noise: shares of the
    largest magnitude; noise is how far the first model moves by itself. top1: rows of class scores that
    agree, and how many there are; None for other outputs.
    """

    name: str
    other: str
    inputs: int
    gap: Gap
    limit: float
    noise: float
    same: bool
    top1: tuple[int, int] | None = None

    @property
    def excess(self) -> float:
        """The largest difference over the limit."""
        return _over(self.gap, self.limit)


@dataclass(frozen=True)
class Comparison:
    """What two models make of the same inputs.

    interface: how they differ from outside. failure: why the second model did not run, "" where it did.
    telling: the first inputs (from 1) on which it did not, or an output differs; 1 where all is the same.
    """

    inputs: tuple[Inputs, ...]
    interface: tuple[PortGap, ...]
    outputs: tuple[OutputGap, ...]
    tolerance: float | None
    failure: str = ""
    telling: int = 1

    @property
    def same(self) -> bool:
        """Whether nobody who runs them on these inputs can tell them apart, float rounding aside."""
        breaks = any(item.breaks for item in self.interface)
        return not self.failure and not breaks and all(output.same for output in self.outputs)


def load_session(model: ir.Model, name: str) -> Session:
    """The model in ONNX Runtime. Raises BadInput where it cannot be loaded. name: for the message."""
    hand_back()
    try:
        return FrugalSession(model)
    except Exception as error:  # whatever ONNX Runtime throws
        raise BadInput(f"ONNX Runtime cannot load {name}: {said(error)}") from None


def compare_outputs(
    one: ir.Model,
    two: ir.Model,
    inputs: Sequence[Inputs],
    tolerance: float | None = None,
    names: tuple[str, str] = ("the first model", "the second model"),
    listeners: Listeners = (),
) -> Comparison:
    """Runs both on the same inputs and compares what comes out, output by output.

    tolerance: largest difference allowed, as a share of the output's largest magnitude; None: what verify
    holds an exact rewrite to. names: of the models, for messages. One model is in ONNX Runtime at a time.
    Raises BadInput where a model cannot be loaded or ends the guard, the first does not run on the inputs,
    or they have no output in common.
    """
    allowed = Tolerance(tolerance)
    pairs = paired_outputs(one, two)
    gaps = interface_gaps(one, two)
    for item in inputs[:1]:
        require_survivable(one, item.feeds, names[0])
        require_survivable(two, inputs_for(one, two, item.feeds), names[1])
    reference = list(_told(listeners, _reference(one, inputs, allowed, names[0]), 0, 2 * len(inputs)))
    found: dict[str, OutputGap] = {}
    telling: list[int] = []
    failure = ""
    session = load_session(two, names[1])
    runs = _told(listeners, zip(inputs, reference, strict=True), len(inputs), 2 * len(inputs))
    for number, (item, (expected, noise)) in enumerate(runs, start=1):
        try:
            actual = session.run(inputs_for(one, two, item.feeds))
        except Exception as error:  # whatever ONNX Runtime throws
            failure = f"{names[1]} does not run on inputs {number} ({item.shapes}): {said(error)}"
            telling.append(number)
            break
        for name, other in pairs:
            fresh = _compared(name, other, number, (expected[name], actual[other]), noise[name], allowed)
            found[name] = _worse(found.get(name), fresh)
            telling += [] if fresh.same else [number]
    first = telling[0] if telling else 1
    return Comparison(tuple(inputs), gaps, tuple(found.values()), tolerance, failure, first)


def _told(listeners: Listeners, items: Iterable[Item], begun: int, total: int) -> Iterator[Item]:
    """The items; behind each of them listeners hear how many runs are done."""
    for done, item in enumerate(items, start=begun + 1):
        yield item
        emit(listeners, Progress("compare", done, total))


def _reference(
    model: ir.Model, inputs: Sequence[Inputs], allowed: Tolerance, name: str
) -> Iterator[tuple[dict[str, Array], dict[str, float]]]:
    """What the first model makes of each of the inputs, and how far that moves by itself."""
    session = load_session(model, name)
    for number, item in enumerate(inputs, start=1):
        try:
            outputs = own_copies(session.run(item.feeds))
        except Exception as error:  # whatever ONNX Runtime throws
            raise BadInput(f"{name} does not run on inputs {number} ({item.shapes}): {said(error)}") from None
        yield (
            outputs,
            _noise(session, item.feeds, outputs) if allowed.wants_noise else dict.fromkeys(outputs, 0.0),
        )


def own_copies(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """What a session computed, in memory of its own: as it comes, an output keeps its arena alive."""
    return {name: np.array(array) for name, array in arrays.items()}


def _noise(session: Session, feeds: Mapping[str, Array], outputs: Mapping[str, Array]) -> dict[str, float]:
    moved = session.run({name: nudged(array) for name, array in feeds.items()})
    return {name: own_noise(array, moved[name]) for name, array in outputs.items()}


def _compared(
    name: str, other: str, number: int, arrays: tuple[Array, Array], noise: float, allowed: Tolerance
) -> OutputGap:
    expected, actual = arrays
    found = gap(expected, actual)
    limit = allowed.limit(found, noise)
    same = within(found, limit) and found.dtypes[0] == found.dtypes[1]
    return OutputGap(name, other, number, found, limit, noise, same, top1_agreement(expected, actual))


def _worse(known: OutputGap | None, fresh: OutputGap) -> OutputGap:
    """The statistics of the worse of two runs; top-1 is counted over both."""
    if known is None:
        return fresh
    worse = fresh if fresh.excess > known.excess or (known.same and not fresh.same) else known
    return replace(worse, top1=_added(known.top1, fresh.top1))


def _added(one: tuple[int, int] | None, two: tuple[int, int] | None) -> tuple[int, int] | None:
    return one and two and (one[0] + two[0], one[1] + two[1])


def _over(found: Gap, limit: float) -> float:
    if found.max_rel == 0:
        return 0.0
    return found.max_rel / limit if limit else float("inf")
