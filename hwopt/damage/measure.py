"""What a lossy rewrite does to a model's output, on samples that did not fit its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import onnx_ir as ir

from hwopt.accuracy import (
    Drop,
    Head,
    Metric,
    class_scores,
    divergence,
    drop_over_folds,
    expected_drop,
    paired_drop,
    relative_error,
    right,
)
from hwopt.calibration.data import Labels
from hwopt.nodes import Array
from hwopt.repair.effort import FULL, QUICK, Effort
from hwopt.repair.frontier import start_cut
from hwopt.repair.reference import Reference
from hwopt.repair.sequence import repair
from hwopt.resolution import seen_by
from hwopt.runtime import Session, batch_of, part, with_outputs
from hwopt.threads import one_blas_thread
from hwopt.trace import Listeners, Progress, emit

KL = "kl"
RELATIVE = "relative_error"
TOP1 = "top1"
FLOAT = "fp32"
FOLDS_AT_ONCE = 2
PRICE_FOLDS = ((1, 2, 3), 0)  # fit on these folds, evaluate on that one


@dataclass(frozen=True)
class Damage:
    """The difference between a base and a changed model.

    kind: "kl" (mean over samples, nats) or "relative_error" (mean of |a-b|/|b|);
    divergence: in that unit; agreement: share of equal top-1, None for no classifier;
    before, after, drop: accuracy where labels or a metric are there; metric: its name;
    expected_drop: what the base's own probabilities expect of the drop in top-1 (less noisy);
    per_fold: divergence on each held-out fold; precision: of the changed model; against: of the
    base; beside: the same change seen in other precisions.
    """

    kind: str
    divergence: float
    agreement: float | None
    metric: str | None
    before: float | None
    after: float | None
    drop: Drop | None
    samples: int
    per_fold: tuple[float, ...]
    expected_drop: Drop | None = None
    precision: str = FLOAT
    against: str = FLOAT
    beside: tuple[Damage, ...] = ()


class Form(Protocol):
    """Another form of fitted models, which is judged beside them: their int8 form, say."""

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds that it is judged on."""

    def outputs(self, fitted: ir.Model, fold: int) -> Mapping[str, Array]:
        """The form's outputs on the judged samples of a fold that it was not made with."""

    def judge(self, outputs: Sequence[Mapping[str, Array]]) -> tuple[Damage, ...]:
        """What these outputs, one mapping per fold, say."""


Finish = Callable[[ir.Model, Sequence[int]], ir.Model]  # a fitted model, the folds that it may learn from


def cross_fitted(
    reference: Reference,
    changed: ir.Model,
    *,
    seed: int,
    metric: Metric | None = None,
    effort: Effort = FULL,
    folds: Sequence[int] | None = None,
    finish: Finish | None = None,
    form: Form | None = None,
    listeners: Listeners = (),
) -> Damage:
    """The damage of a changed model repaired once per fold without that fold, measured on it.

    Folds know nothing of one another and are repaired two at a time. folds: those to judge on,
    all where None. finish: what is done to a repaired model before it is judged. form: judged
    beside it, on those of its folds that are among `folds`.
    """
    reference = seen_by(reference, changed)
    every = range(len(reference.calibration.folds))
    judged = list(every) if folds is None else list(folds)

    def held_out(fold: int) -> tuple[Mapping[str, Array], Mapping[str, Array] | None]:
        others = [other for other in every if other != fold]
        fitted = repair(reference, changed, others, seed=seed, effort=effort)
        if finish is not None:
            fitted = finish(fitted, others)
        formed = form.outputs(fitted, fold) if form is not None and fold in form.folds else None
        return outputs_of(reference, fitted, reference.judged[fold]), formed

    assert reference.cuts  # recorded once, before there are threads
    at_once = FOLDS_AT_ONCE if finish is None else 1  # PyTorch's settings are those of the process
    with one_blas_thread(), ThreadPoolExecutor(at_once) as pool, _given_up_on_ctrl_c(reference):
        outputs = []
        for done, output in enumerate(pool.map(held_out, judged), start=1):
            outputs.append(output)
            emit(listeners, Progress("folds", done, len(judged)))
    found = compare(reference, [own for own, _ in outputs], [reference.judged[f] for f in judged], metric)
    if form is None or any(fold not in judged for fold in form.folds):
        return found
    return replace(found, beside=form.judge([formed for _, formed in outputs if formed is not None]))


@contextmanager
def _given_up_on_ctrl_c(reference: Reference) -> Iterator[None]:
    """Tells the fits of other threads that nobody waits for them: they take minutes."""
    try:
        yield
    except KeyboardInterrupt:
        reference.given_up.set()
        raise


def price_damage(reference: Reference, changed: ir.Model, *, seed: int, effort: Effort = QUICK) -> Damage:
    """A cheap estimate of the damage: one repair on a few folds with less effort, one fold to judge it."""
    train, test = PRICE_FOLDS
    reference = seen_by(reference, changed)
    fitted = repair(reference, changed, train, seed=seed, effort=effort)
    recorded = set(reference.originals)
    samples = tuple(i for i in reference.judged[test] if i in recorded)
    return compare(reference, [outputs_of(reference, fitted, samples)], [samples], None)


def measured(reference: Reference, changed: ir.Model, *, metric: Metric | None = None) -> Damage:
    """The damage of a model as it is, over all samples: for rewrites that fitted nothing."""
    every = tuple(sorted(i for fold in reference.judged for i in fold))
    return compare(reference, [outputs_of(reference, changed, every)], [every], metric)


def outputs_of(reference: Reference, model: ir.Model, samples: Sequence[int]) -> dict[str, Array]:
    """The outputs of a changed model, computed from where it departs from the base."""
    names = [str(v.name) for v in model.graph.outputs]
    size = batch_of(model)
    recorded = set(reference.recorded)
    cut = start_cut(reference, model) if all(i in recorded for i in samples) else None
    session: Session | None = None
    parts: dict[str, list[Array]] = {name: [] for name in names}
    for begin in range(0, len(samples), size):
        chosen = samples[begin : begin + size]
        feeds = reference.at(cut, chosen) if cut else reference.feeds(chosen)
        if session is None:
            piece = part(model, feeds, names) if cut else with_outputs(model, names)
            session = Session(piece, reference.threads)
        for _, values in session.batches(feeds, size):
            for name in names:
                parts[name].append(values[name])
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def compare(
    reference: Reference,
    outputs: Sequence[Mapping[str, Array]],
    samples: Sequence[Sequence[int]],
    metric: Metric | None,
    base: Sequence[Mapping[str, Array]] | None = None,
) -> Damage:
    """The damage from the changed outputs of several sets of samples.

    base: what they are compared with; None: what the base model says.
    """
    labels = reference.calibration.labels
    head = class_scores(reference.base, labels is not None)
    before = [reference.outputs(chosen) for chosen in samples] if base is None else base
    errors = [_errors(old, new, head) for old, new in zip(before, outputs, strict=True)]
    known = [None if labels is None else labels[list(chosen)] for chosen in samples]
    accuracy = _accuracy(before, outputs, known, head, metric)
    return Damage(
        kind=RELATIVE if head is None else KL,
        divergence=float(np.concatenate(errors).mean()),
        agreement=None if head is None else _agreement(before, outputs, head),
        metric=accuracy.metric,
        before=accuracy.before,
        after=accuracy.after,
        drop=accuracy.drop,
        samples=sum(len(chosen) for chosen in samples),
        per_fold=tuple(float(error.mean()) for error in errors),
        expected_drop=_expected(before, outputs, known, head) if metric is None else None,
    )


def _errors(before: Mapping[str, Array], after: Mapping[str, Array], head: Head | None) -> Array:
    if head is None:
        return relative_error(before, after)
    return divergence(before[head.output], after[head.output], head)


def _agreement(
    before: Sequence[Mapping[str, Array]], after: Sequence[Mapping[str, Array]], head: Head
) -> float:
    old = np.concatenate([values[head.output].argmax(axis=1) for values in before])
    new = np.concatenate([values[head.output].argmax(axis=1) for values in after])
    return float((old == new).mean())


def _expected(
    before: Sequence[Mapping[str, Array]],
    after: Sequence[Mapping[str, Array]],
    labels: Sequence[Labels | None],
    head: Head | None,
) -> Drop | None:
    """The expected drop over all sets of samples; None without class scores and labels."""
    known = [label for label in labels if label is not None]
    if head is None or len(known) < len(labels):
        return None
    old = np.concatenate([values[head.output] for values in before])
    new = np.concatenate([values[head.output] for values in after])
    return expected_drop(old, new, np.concatenate(known), head.softmax)


@dataclass(frozen=True)
class _Accuracy:
    metric: str | None = None
    before: float | None = None
    after: float | None = None
    drop: Drop | None = None


def _accuracy(
    before: Sequence[Mapping[str, Array]],
    after: Sequence[Mapping[str, Array]],
    labels: Sequence[Labels | None],
    head: Head | None,
    metric: Metric | None,
) -> _Accuracy:
    """Accuracy before and after by the user's metric, else top-1 where there are labels."""
    if metric is not None:
        old = [metric(values, known) for values, known in zip(before, labels, strict=True)]
        new = [metric(values, known) for values, known in zip(after, labels, strict=True)]
        name = getattr(metric, "__name__", "metric")
        return _Accuracy(name, float(np.mean(old)), float(np.mean(new)), drop_over_folds(old, new))
    if head is None or any(known is None for known in labels):
        return _Accuracy()
    pairs = [(values, known) for values, known in zip(before, labels, strict=True) if known is not None]
    old_right = np.concatenate([right(values[head.output], known) for values, known in pairs])
    pairs = [(values, known) for values, known in zip(after, labels, strict=True) if known is not None]
    new_right = np.concatenate([right(values[head.output], known) for values, known in pairs])
    drop = paired_drop(old_right, new_right)
    return _Accuracy(TOP1, float(old_right.mean()), float(new_right.mean()), drop)
