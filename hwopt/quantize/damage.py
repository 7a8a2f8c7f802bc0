"""What int8 does to a model's output, before and after it was changed.

A model's int8 form takes its ranges from the folds that fitted the model's weights and is judged
on another. It is run as ONNX defines it, values rounded to int8 between operators and products
taken in float: what an integer accelerator computes, without the saturation that some processors
add.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np
import onnx_ir as ir

from hwopt.accuracy import Metric
from hwopt.damage.measure import FLOAT, Damage, compare
from hwopt.nodes import Array
from hwopt.quantize.write import judged_form
from hwopt.repair.reference import Reference
from hwopt.resolution import seen_by
from hwopt.runtime import Session, batch_of

INT8 = "int8"
INPUT_INT8 = "int8 input"
VERSION = 2  # to be raised with every change of what an int8 form is
AS_DEFINED = {
    "session.disable_quant_qdq": "1"
}  # no integer kernels in the place of float ones between Q and DQ


class BaseForms:
    """Outputs of the base's int8 forms, one per fold, made once."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._lock = Lock()
        self._known: dict[int, Mapping[str, Array]] = {}

    def outputs(self, fold: int) -> Mapping[str, Array]:
        """On the judged samples of a fold; ranges come from the others."""
        with self._lock:
            if fold not in self._known:
                self._known[fold] = form_outputs(self._reference, self._reference.base, fold)
            return self._known[fold]


@dataclass(frozen=True)
class Int8:
    """The int8 forms of models made from the base, as a `damage.Form`.

    folds: those that forms are judged on.
    """

    reference: Reference
    folds: tuple[int, ...]
    metric: Metric | None
    base: BaseForms

    @property
    def identity(self) -> str:
        """What decides its figures, beside the model and the data."""
        return f"int8 {VERSION} on folds {self.folds}"

    def outputs(self, fitted: ir.Model, fold: int) -> Mapping[str, Array]:
        """What the model's int8 form says on a fold's judged samples; ranges come from the other folds."""
        return form_outputs(self.reference, fitted, fold)

    def judge(self, outputs: Sequence[Mapping[str, Array]]) -> tuple[Damage, ...]:
        """Three figures: int8 form of the model against the base in fp32, against the base in int8,
        and the base in int8 against itself in fp32.

        outputs: of the model's int8 form, on each of the folds.
        """
        base = [self.base.outputs(fold) for fold in self.folds]
        samples = [self.reference.judged[fold] for fold in self.folds]
        result = compare(self.reference, outputs, samples, self.metric)
        beside = compare(self.reference, outputs, samples, self.metric, base)
        before = compare(self.reference, base, samples, self.metric)
        return (
            replace(result, precision=INT8, against=FLOAT),
            replace(beside, precision=INT8, against=INT8),
            replace(before, precision=INPUT_INT8, against=FLOAT),
        )

    def of_base(self) -> tuple[Damage, ...]:
        """The three figures for the base itself."""
        return self.judge([self.base.outputs(fold) for fold in self.folds])

    def of_model(self, changed: ir.Model) -> tuple[Damage, ...]:
        """The three figures for a model that fitted no weights."""
        return self.judge([self.outputs(changed, fold) for fold in self.folds])


def form_outputs(reference: Reference, model: ir.Model, fold: int) -> Mapping[str, Array]:
    """Outputs of a model's int8 form on a fold's judged samples; its ranges come from the other folds."""
    reference = seen_by(reference, model)
    calibration = reference.calibration
    others = [other for other in range(len(calibration.folds)) if other != fold]
    form = judged_form(model, calibration, calibration.samples(others))
    session, size = Session(form, reference.threads, AS_DEFINED), batch_of(form)
    samples = reference.judged[fold]
    parts: list[Mapping[str, Array]] = []
    for begin in range(0, len(samples), size):
        feeds = calibration.batch(samples[begin : begin + size])
        parts.extend(values for _, values in session.batches(feeds, size))
    return {name: np.concatenate([part[name] for part in parts]) for name in session.outputs}


def open_int8(reference: Reference, folds: Sequence[int], metric: Metric | None = None) -> Int8:
    """The int8 forms, judged on these folds. Raises BadInput where the base cannot be quantised."""
    base = BaseForms(reference)
    base.outputs(folds[0])
    return Int8(reference, tuple(folds), metric, base)
