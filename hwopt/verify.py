"""Trusts nobody: runs the input and the result side by side and compares what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from hwopt.errors import RewriteFailed
from hwopt.inputs import random_feeds
from hwopt.ir import interface
from hwopt.nodes import Array
from hwopt.runtime import Session
from hwopt.trace import CheckFailed, Listeners, emit

EXACT_TOLERANCE = 1e-4  # of the largest magnitude in the reference output
# Where a model amplifies float rounding, no rewrite can be closer than the model is to itself.
OWN_NOISE = 4.0
BATCHES = (1, 3)  # a rewrite that only holds for batch 1 shows at 3


@dataclass(frozen=True)
class Difference:
    """The largest difference of one output over all samples.

    max_rel: over the output's largest magnitude. noise: how far, in the same measure, the
    reference moves by itself when every input moves by one unit in its last place.
    """

    output: str
    max_abs: float
    max_rel: float
    noise: float = 0.0

    @property
    def exact(self) -> bool:
        """Whether float rounding explains the difference."""
        return self.max_rel <= EXACT_TOLERANCE + OWN_NOISE * self.noise


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

    A text instead of differences says why ONNX Runtime could not run the reference.
    """
    samples = expected_of(one, input_shapes, seed)
    return samples if isinstance(samples, str) else differences_from(samples, two)


def expected_of(
    model: ir.Model, input_shapes: Mapping[str, tuple[int, ...]], seed: int
) -> tuple[Sample, ...] | str:
    """What the model gives on seeded inputs, for `differences_from`; a text: why it does not run."""
    try:
        session = Session(model)
    except Exception as error:
        return f"ONNX Runtime cannot load the model: {_line(error)}"
    samples = list[Sample]()
    for batch in BATCHES:
        feeds = random_feeds(model, input_shapes, seed + batch, batch)
        try:
            outputs = session.run(feeds)
        except Exception as error:
            if batch > 1:
                break  # not every model with a free batch axis runs at more than one sample
            return f"ONNX Runtime cannot run the model: {_line(error)}"
        noise = compare(outputs, session.run({name: nudged(array) for name, array in feeds.items()}))
        samples.append(Sample(feeds, outputs, tuple(item.max_rel for item in noise)))
    return tuple(samples)


def differences_from(samples: Sequence[Sample], two: ir.Model) -> tuple[Difference, ...]:
    """The largest difference of each output of another model. Raises where it does not run."""
    other = Session(two)
    worst: dict[str, Difference] = {}
    for sample in samples:
        found = compare(sample.outputs, other.run(sample.feeds))
        _keep_worst(worst, [replace(d, noise=n) for d, n in zip(found, sample.noise, strict=True)])
    return tuple(worst.values())


def nudged(array: Array) -> Array:
    """The same inputs, each moved by one unit in its last place."""
    floating = np.issubdtype(array.dtype, np.floating)
    return np.asarray(np.nextafter(array, np.asarray(np.inf, array.dtype))) if floating else array


def _keep_worst(worst: dict[str, Difference], found: Sequence[Difference]) -> None:
    for item in found:
        if item.output not in worst or worst[item.output].max_rel < item.max_rel:
            worst[item.output] = item


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def compare(expected: Mapping[str, Array], actual: Mapping[str, Array]) -> list[Difference]:
    """Differences by output. Equal infinities and NaN in the same place count as equal."""
    return [_difference(name, np.asarray(expected[name]), np.asarray(actual[name])) for name in expected]


def _difference(name: str, expected: Array, actual: Array) -> Difference:
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        return Difference(name, float("inf"), float("inf"))
    if not np.issubdtype(expected.dtype, np.floating):
        same = bool(np.array_equal(expected, actual))
        return Difference(name, 0.0 if same else float("inf"), 0.0 if same else float("inf"))
    left, right = expected.astype(np.float64), actual.astype(np.float64)
    alike = (left == right) | (np.isnan(left) & np.isnan(right))
    with np.errstate(invalid="ignore"):  # infinity minus infinity is settled by `alike`
        gap = np.where(alike, 0.0, np.abs(left - right))
    largest = float(np.nanmax(np.abs(np.where(np.isfinite(left), left, 0.0)), initial=0.0))
    worst = float(np.max(np.nan_to_num(gap, nan=np.inf, posinf=np.inf), initial=0.0))
    return Difference(name, worst, worst / largest if largest else worst)


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
