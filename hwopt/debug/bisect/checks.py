"""What a bisection asks of a model: good, bad, or no answer. The built-in check compares numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import onnx
import onnx_ir as ir

from hwopt.debug.compare.inputs import Inputs
from hwopt.debug.compare.stats import Gap, gap
from hwopt.debug.compare.tolerance import Tolerance, own_noise, within
from hwopt.errors import BadInput, RewriteFailed
from hwopt.ir import model_bytes
from hwopt.ir.checker import CHECK_FAILED
from hwopt.nodes import Array
from hwopt.resolution import changed_sizes, with_sizes
from hwopt.runtime import Feeds, Session
from hwopt.verify import nudged, require_same_interface, require_survivable
from hwopt.wording import said

CRASH, REFUSED, INVALID, NUMERIC, DROP, COMMAND = "crash", "refused", "invalid", "numeric", "drop", "command"


class Verdict(StrEnum):
    """What a check says. SKIP: it cannot tell."""

    GOOD = "good"
    BAD = "bad"
    SKIP = "skip"


@dataclass(frozen=True)
class Mismatch:
    """One output that differs by more than its limit. inputs: on what; noise: of the reference by itself."""

    output: str
    inputs: str
    gap: Gap
    limit: float
    noise: float

    def __str__(self) -> str:
        found = self.gap
        if found.shapes[0] != found.shapes[1]:
            return f"output '{self.output}' has shape {found.shapes[1]}, not {found.shapes[0]}"
        appeared = sum(found.nan) + sum(found.inf)
        share = f"{found.different:,} of {found.elements:,} numbers differ"
        if appeared and found.max_abs == float("inf"):
            where = f"at {found.at}: {found.one:g} became {found.two:g}"
            return f"output '{self.output}': {share}, some are not finite, {where}"
        return (
            f"output '{self.output}': {share}, by up to {found.max_abs:.3g}, which is {found.max_rel:.3g} of "
            f"its largest value (limit {self.limit:.3g})"
        )


@dataclass(frozen=True)
class Finding:
    """What a check found.

    kind: "" where it is good, else "crash" (a pass raised), "refused" (a step cannot be written there),
    "invalid" (no valid model, or another interface), "numeric", "drop" or "command". reason: one line.
    step, cause: of a crash or a refusal: at which step of the plan, and the class of what was raised.
    """

    verdict: Verdict
    kind: str = ""
    reason: str = ""
    mismatches: tuple[Mismatch, ...] = ()
    step: int = 0
    cause: str = ""

    @property
    def bad(self) -> bool:
        return self.verdict == Verdict.BAD

    def like(self, other: Finding) -> bool:
        """Whether this is the same kind of failure as another one."""
        return (self.verdict, self.kind, self.cause) == (other.verdict, other.kind, other.cause)


GOOD = Finding(Verdict.GOOD)
Check = Callable[[ir.Model], Finding]


@dataclass(frozen=True, eq=False)
class _Sample:
    """Inputs, what the reference makes of them, and how far each output moves by itself."""

    inputs: Inputs
    expected: Mapping[str, Array]
    noise: Mapping[str, float]


class NumericCheck:
    """A model computes what its source computes, on some inputs; a valid model with the same interface."""

    def __init__(self, source: ir.Model, inputs: Sequence[Inputs], tolerance: Tolerance) -> None:
        """Raises BadInput where ONNX Runtime does not run the source on them, or not survive it."""
        self._source = source
        self.tolerance = tolerance
        for one in inputs[:1]:
            require_survivable(source, one.feeds)
        try:
            session = Session(source)
            self._samples = [_sample(session, one, tolerance) for one in inputs]
        except Exception as error:  # whatever ONNX Runtime throws
            raise BadInput(
                f"ONNX Runtime does not run the model itself: {said(error)}; give a --check"
            ) from None

    def __call__(self, model: ir.Model) -> Finding:
        """Good, or what is wrong: the interface, the model itself, or the first inputs that show it."""
        return self.looked_at(model)[0]

    def looked_at(self, model: ir.Model) -> tuple[Finding, Feeds]:
        """The finding, and the inputs that show it; the first ones where all is good."""
        first = self._samples[0].inputs.feeds
        if changed_sizes(self._source, model):
            reason = "an input has another size: numbers cannot be compared; give --max-drop or --check"
            return Finding(Verdict.SKIP, NUMERIC, reason), first
        if complaint := invalid(self._source, model):
            return Finding(Verdict.BAD, INVALID, complaint), first
        try:
            session = Session(model)
        except Exception as error:
            return _invalid(f"ONNX Runtime cannot load it: {said(error)}"), first
        for sample in self._samples:
            found = self._compared(session, sample)
            if found.bad:
                return found, sample.inputs.feeds
        return GOOD, first

    def _compared(self, session: Session, sample: _Sample) -> Finding:
        try:
            actual = session.run(sample.inputs.feeds)
        except Exception as error:
            return _invalid(f"ONNX Runtime cannot run it: {said(error)}")
        wrong = [found for name in sample.expected if (found := self._mismatch(sample, name, actual[name]))]
        if not wrong:
            return GOOD
        worst = max(wrong, key=lambda found: found.gap.max_rel)
        return Finding(Verdict.BAD, NUMERIC, str(worst), tuple(wrong))

    def _mismatch(self, sample: _Sample, name: str, actual: Array) -> Mismatch | None:
        expected, noise = sample.expected[name], sample.noise[name]
        found = gap(expected, actual)
        limit = self.tolerance.limit(found, noise)
        if within(found, limit) and expected.dtype == actual.dtype:
            return None
        return Mismatch(name, f"{sample.inputs.name} ({sample.inputs.shapes})", found, limit, noise)


def _sample(session: Session, inputs: Inputs, tolerance: Tolerance) -> _Sample:
    expected = session.run(inputs.feeds)
    noise = dict.fromkeys(expected, 0.0)
    if tolerance.wants_noise:
        moved = session.run({name: nudged(array) for name, array in inputs.feeds.items()})
        noise = {name: own_noise(expected[name], moved[name]) for name in expected}
    return _Sample(inputs, expected, noise)


def _invalid(reason: str) -> Finding:
    return Finding(Verdict.BAD, INVALID, reason)


def invalid(source: ir.Model, model: ir.Model) -> str:
    """Why a model made of the source is none that can be delivered; "" where it is."""
    try:
        require_same_interface(with_sizes(source, changed_sizes(source, model)), model)
    except RewriteFailed as error:
        return str(error)
    if CHECK_FAILED in source.graph.meta:
        return ""  # so was the source
    try:
        onnx.checker.check_model(model_bytes(model), full_check=True)
    except BadInput:
        return ""  # too large for one message
    except Exception as error:  # ValidationError, or whatever the C++ side throws
        return f"it is no valid ONNX model: {said(error)}"
    return ""
