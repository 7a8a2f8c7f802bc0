"""Trusts nobody: runs the input and the result side by side and compares what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import onnx_ir as ir

from hwopt.errors import RewriteFailed
from hwopt.gaps import BATCHES, EXACT_TOLERANCE, OWN_NOISE, Difference, compare, keep_worst, nudged
from hwopt.guard.client import RUNTIME, Died, NotRun, Run, Serial, runs
from hwopt.guard.endings import out_of_memory
from hwopt.guard.limits import memory_limit
from hwopt.inputs import fills, random_feeds
from hwopt.ir import interface
from hwopt.ir.save import MAX_FILE_BYTES, tensor_bytes
from hwopt.nodes import Array
from hwopt.runtime import serialised
from hwopt.trace import CheckFailed, Listeners, emit
from hwopt.verify_segments import HOW, differences_by_segments
from hwopt.wording import shorten

__all__ = [
    "BATCHES",
    "EXACT_TOLERANCE",
    "OWN_NOISE",
    "Difference",
    "Sample",
    "compare",
    "differences",
    "differences_from",
    "expected_of",
    "how_compared",
    "nudged",
    "require_exact",
    "require_same_interface",
    "require_survivable",
    "runs_whole",
    "same_message",
]
WHOLE = "whole models, on seeded inputs"
WHOLE_UP_TO = MAX_FILE_BYTES  # bytes of weights: what one ONNX message holds


@dataclass(frozen=True)
class Sample:
    """Inputs of a model and what it gives for them. noise: how far each output moves by itself."""

    feeds: Mapping[str, Array]
    outputs: Mapping[str, Array]
    noise: tuple[float, ...]


def differences(
    one: ir.Model, two: ir.Model, input_shapes: Mapping[str, tuple[int, ...]], seed: int
) -> tuple[Difference, ...] | str:
    """Compares all outputs on seeded inputs, at two batch sizes where the batch is free.

    Models above `WHOLE_UP_TO` go stretch by stretch (`verify_segments`). A text instead of differences
    says why ONNX Runtime could not run the reference.
    """
    if not runs_whole(one, two):
        return differences_by_segments(one, two, input_shapes, seed)
    samples = expected_of(one, input_shapes, seed)
    return samples if isinstance(samples, str) else differences_from(samples, two)


def runs_whole(*models: ir.Model) -> bool:
    """Whether models are light enough to be run as a whole."""
    return all(tensor_bytes(model) <= WHOLE_UP_TO for model in models)


def same_message(one: ir.Model, two: ir.Model) -> bool:
    """Whether ONNX Runtime is given the same bytes for both, so that they cannot but give the same.

    False, too, where some of the weights would be read from files.
    """
    return runs_whole(one, two) and (known := _digest(one)) is not None and known == _digest(two)


def _digest(model: ir.Model) -> str | None:
    """Of the whole message, which is not kept: two of them may not fit into memory."""
    serial = serialised(model)
    return None if serial.outside else sha256(serial.data).hexdigest()


def how_compared(*models: ir.Model) -> str:
    """How `differences` goes about it, for the report."""
    return WHOLE if runs_whole(*models) else HOW


def expected_of(
    model: ir.Model, input_shapes: Mapping[str, tuple[int, ...]], seed: int
) -> tuple[Sample, ...] | str:
    """What the model gives on seeded inputs, for `differences_from`; a text: why it does not run.

    It runs in the guard. Raises BadInput where ONNX Runtime does not live through it.
    """
    serial, problem = serialised(model), ""
    for fill in fills(model):
        feeds = [random_feeds(model, input_shapes, seed + batch, batch, fill) for batch in BATCHES]
        moved = [{name: nudged(array) for name, array in one.items()} for one in feeds]
        found = runs(serial, [*feeds, *moved])
        if isinstance(found, NotRun):
            return f"ONNX Runtime cannot load the model: {_said(found, serial)}"
        if not isinstance(found[0], NotRun):
            return _samples(feeds, found)
        problem = problem or _said(found[0], serial)
    return f"ONNX Runtime cannot run the model: {problem}"


def require_survivable(model: ir.Model, feeds: Mapping[str, Array], name: str = "the model") -> None:
    """Runs a model in the guard once, before this process runs it (on calibration data, say).

    Raises BadInput, which begins with the name, where ONNX Runtime does not live through it. That it
    cannot run it is said by whoever needs it to.
    """
    try:
        serial = serialised(model)
        found = runs(serial, [feeds])
        for one in [found] if isinstance(found, NotRun) else found:
            if isinstance(one, NotRun):
                _affordable(one, serial)
    except Died as error:
        raise Died(error.what, name) from None


def _samples(feeds: Sequence[Mapping[str, Array]], found: Sequence[Run]) -> tuple[Sample, ...]:
    """found: what came of the feeds, then of the nudged ones.

    Not every model with a free batch axis runs at more than one sample.
    """
    whole = zip(feeds, found[: len(feeds)], found[len(feeds) :], strict=True)
    return tuple(_sample(given, came, again) for given, came, again in whole if not isinstance(came, NotRun))


def _sample(feeds: Mapping[str, Array], outputs: Mapping[str, Array], moved: Run) -> Sample:
    """moved: what came of nudged feeds; no noise is known where that did not run."""
    noise = [] if isinstance(moved, NotRun) else compare(outputs, moved)
    return Sample(feeds, outputs, tuple(item.max_rel for item in noise) or (0.0,) * len(outputs))


def _affordable(found: NotRun, serial: Serial) -> NotRun:
    """A refusal that is not one of memory."""
    if found.memory:
        raise Died(out_of_memory(RUNTIME, memory_limit(serial.size)))
    return found


def _said(found: NotRun, serial: Serial) -> str:
    """A refusal in words; as `_affordable` raises."""
    return shorten(_affordable(found, serial).reason, 200)


def differences_from(samples: Sequence[Sample], two: ir.Model) -> tuple[Difference, ...]:
    """The largest difference of each output of another model, run in the guard.

    Raises RewriteFailed where it does not run.
    """
    try:
        found = runs(serialised(two), [sample.feeds for sample in samples])
    except Died as error:
        raise RewriteFailed(f"the result cannot be verified: {error.what}") from None
    worst: dict[str, Difference] = {}
    for sample, one in zip(samples, [found] if isinstance(found, NotRun) else found, strict=False):
        if isinstance(one, NotRun):
            raise RewriteFailed(f"the result does not run: {shorten(one.reason, 200)}")
        keep_worst(worst, compare(sample.outputs, one), sample.noise)
    return tuple(worst.values())


def require_exact(found: tuple[Difference, ...] | str, what: str, listeners: Listeners = ()) -> None:
    """Raises RewriteFailed where an output differs by more than float rounding explains.

    what: was done to the model. Listeners hear of every such output.
    """
    wrong = [] if isinstance(found, str) else [item for item in found if not item.exact]
    for item in wrong:
        emit(listeners, CheckFailed("verify", f"output '{item.output}'", f"{what} {_how_far(item)}"))
    if wrong:
        raise RewriteFailed(
            f"{what} changed output '{wrong[0].output}' by {wrong[0].max_rel:.3g} of its largest value, "
            "though every step says it is exact "
            f"(limit {EXACT_TOLERANCE:g}, own noise {wrong[0].noise:.3g})"
        )


def overflow(found: Sequence[Difference]) -> str:
    """Why differences prove nothing, "" where they do: all that are too large are where the input overflows.

    Close to the largest number, rounding alone decides between that number and infinity.
    """
    wrong = [item for item in found if not item.exact]
    if not wrong or not all(item.overflows for item in wrong):
        return ""
    return f"output '{wrong[0].output}' of the input itself holds infinities or NaN"


def _how_far(item: Difference) -> str:
    """A difference against what is allowed."""
    allowed = EXACT_TOLERANCE + OWN_NOISE * item.noise
    return f"changed it by {item.max_rel:.3g} of its largest value, {allowed:.3g} is allowed"


def require_same_interface(one: ir.Model, two: ir.Model, listeners: Listeners = ()) -> None:
    """Raises RewriteFailed where names, types, shapes, axes, metadata or opset differ."""
    if interface(one) != interface(two):
        reason = "names, types, shapes, metadata or opset"
        emit(listeners, CheckFailed("interface", "the model", f"{reason} changed"))
        raise RewriteFailed(f"the interface of the model changed: {reason}")
